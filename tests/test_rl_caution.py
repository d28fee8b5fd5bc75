"""Against a reward that is optimised too far: caution, gates, copies, a jury, choice, plateau."""

import dataclasses
import json

import numpy as np
import pytest
from fake_env import PointEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rl import PixelJudge, comparable, config, points

from sole.config import parse_config
from sole.data.episode import EpisodeScore, StepScore, make_example_episode
from sole.errors import ConfigError, ModelError
from sole.progress.caution import gate, lower_bound, uncertainties
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant, Ramp, RandomWalk
from sole.rewarders.ensemble import EnsembleRewardModel, agree, altered
from sole.rl.choice import JudgedEvaluation, best_judged, has_plateaued
from sole.rl.config import RlConfig
from sole.rl.envs import roll_out
from sole.rl.judge import Judge
from sole.rl.make import make_model
from sole.rl.train import train

QUICK = settings(max_examples=50, deadline=None)
CURVES = st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 80)), min_size=1, max_size=20)


class Unsure(Constant):
    """Says 50 percent with a spread that grows with time, and nothing at all at frame 3."""

    def __init__(self, fails: bool = False):
        super().__init__(50.0)
        self._fails = fails

    def score(self, episodes):
        return [EpisodeScore(tuple(map(self._step, range(e.n_frames))), "u") for e in episodes]

    def _step(self, t):
        if self._fails and t == 3:
            return StepScore(None, error="no number")
        return StepScore(50.0 if t else 0.0, 0.5, uncertainty=10.0 * t)


def still(every: int = 2):
    return roll_out([PointEnv()], [1], lambda o: np.zeros((len(o), 2)), every=every)


@QUICK
@given(CURVES, st.floats(0, 5))
def test_caution_never_raises_progress_and_stays_in_range(curve, caution):
    progress, unsure = np.array(curve).T
    lowered = lower_bound(progress, unsure, caution)
    assert np.all(lowered <= progress)
    assert np.all(lowered >= -100)
    np.testing.assert_array_equal(lower_bound(progress, unsure, 0.0), progress)


@QUICK
@given(CURVES, st.floats(0.1, 80))
def test_the_gate_passes_certain_moments_and_holds_the_last_one_otherwise(curve, width):
    progress, unsure = np.array(curve).T
    held, last = gate(progress, unsure, width), 0.0
    for value, spread, got in zip(progress, unsure, held, strict=True):
        last = value if spread <= width else last
        assert got == last


@pytest.mark.parametrize(
    ("unsure", "caution"), [([1.0], 1.0), ([-1.0, 0.0], 1.0), ([1.0, 1.0], -0.1)]
)
def test_caution_refuses_what_makes_no_sense(unsure, caution):
    with pytest.raises(ValueError, match="caution"):
        lower_bound(np.zeros(2), np.array(unsure), caution)


def test_caution_takes_the_uncertainty_off_the_reward():
    judgement = Judge(Unsure(), caution=1.0)(still())[0]
    np.testing.assert_allclose(judgement.judged_progress[::2], [0, 40, 30, 20, 10, 0])
    assert judgement.rewards is not None
    np.testing.assert_allclose(judgement.rewards[1::2], [0.4, 0.3, 0.2, 0.1, 0.0], atol=1e-6)


def test_a_gated_moment_keeps_the_last_certain_progress():
    judgement = Judge(Unsure(), caution=1.0, gate_points=25.0)(still())[0]
    np.testing.assert_allclose(judgement.judged_progress[::2], [0, 40, 30, 30, 30, 30])


def test_a_failed_moment_is_as_uncertain_as_the_one_before():
    judgement = Judge(Unsure(fails=True), caution=1.0)(still())[0]
    np.testing.assert_allclose(judgement.judged_progress[::2], [0, 40, 30, 30, 10, 0])


def test_a_model_without_uncertainty_cannot_be_taken_with_caution():
    with pytest.raises(ModelError, match="gives no uncertainty"):
        Judge(Constant(50.0), caution=1.0)(still())


def test_uncertainty_is_not_asked_for_where_nothing_needs_it():
    assert Judge(Constant(50.0))(still())[0].rewards is not None
    with pytest.raises(ModelError, match="--copies 2"):
        uncertainties(EpisodeScore((StepScore(0.0),), "m"))


@pytest.mark.parametrize("copy", range(1, 9))
def test_copies_are_small_distinct_and_the_same_for_all_moments(copy):
    frames = np.random.default_rng(0).integers(0, 256, (3, 50, 50, 3), dtype=np.uint8)
    made = altered(frames, copy)
    assert made.shape == frames.shape
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[1], altered(frames[1], copy))
    others = [altered(frames, k) for k in range(9) if k != copy]
    assert not any(np.array_equal(made, other) for other in others)


def test_the_first_copy_is_the_film_itself():
    frames = make_example_episode(2).views["wrist"]
    assert altered(frames, 0) is frames


def test_members_that_agree_are_certain_and_others_are_not():
    assert agree([StepScore(30.0)] * 3).uncertainty == 0.0
    assert agree([StepScore(0.0), StepScore(100.0)]).uncertainty == 50.0


def test_a_member_that_fails_is_left_out_and_if_all_fail_so_does_the_ensemble():
    bad = StepScore(None, error="no number")
    assert agree([bad, StepScore(30.0, 0.5)]).progress == 30.0
    assert agree([bad, bad]).error == "no number"


def test_an_ensemble_keeps_the_contract_of_a_reward_model():
    films = [make_example_episode(4), make_example_episode(6, seed=1)]
    check_reward_model(EnsembleRewardModel([RandomWalk(0), RandomWalk(1)], copies=3), films)


def test_every_member_judges_every_copy_in_one_batch():
    members = [RandomWalk(0), Ramp()]
    film = make_example_episode(5)
    score = EnsembleRewardModel(members, copies=2).score([film])[0]
    assert (members[1].costs.episodes, members[1].costs.frames) == (2, 10)
    alone = members[0].score([film])[0].judged_progress
    copies = [altered(film.views[name], 1) for name in ("external", "wrist")]
    views = dict(zip(("external", "wrist"), copies, strict=True))
    copied = members[0].score([dataclasses.replace(film, views=views)])[0].judged_progress
    ramp = 25.0 * np.arange(5)
    np.testing.assert_allclose(score.judged_progress, (alone + copied + 2 * ramp) / 4, rtol=1e-5)


def test_the_costs_of_an_ensemble_are_those_of_its_members():
    ensemble = EnsembleRewardModel([Ramp(), Ramp()], copies=2)
    ensemble.score([make_example_episode(4)])
    assert [m.costs.frames for m in ensemble.members] == [2 * 4, 2 * 4]
    assert (ensemble.costs.episodes, ensemble.costs.frames) == (1, 4)


def test_flags_make_an_ensemble(tmp_path):
    flags = ["--env", "fake/point", "--run-dir", str(tmp_path), "--reward", "ramp"]
    made = make_model(parse_config(RlConfig, [*flags, "--jury", "constant:5"], "sole rl"))
    assert isinstance(made, EnsembleRewardModel)
    assert (len(made.members), len(made.copies)) == (2, 1)
    assert isinstance(make_model(parse_config(RlConfig, flags, "sole rl")), Ramp)


def test_the_oracle_sits_on_no_jury(tmp_path):
    run = config(tmp_path, reward="ramp", jury=("oracle",))
    with pytest.raises(ConfigError, match="no jury"):
        make_model(run)


def evaluation(success: float, progress: float, episode: int = 0) -> JudgedEvaluation:
    return JudgedEvaluation(success, progress, episode)


def test_judged_success_goes_before_judged_progress():
    assert best_judged([evaluation(0.2, 90, 1), evaluation(0.3, 10, 2)]).episode == 2


@pytest.mark.parametrize(
    ("progress", "patience", "stands"),
    [
        ([10], 1, False),
        ([10, 10.5], 1, True),
        ([10, 12], 1, False),
        ([10, 12, 12, 12], 2, True),
        ([10, 12, 12], 2, False),
        ([50, 40, 45], 2, True),
    ],
)
def test_a_plateau_is_no_clear_rise_over_the_best_before(progress, patience, stands):
    assert has_plateaued([evaluation(0.0, p) for p in progress], patience) == stands


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_stops_when_its_judged_outcome_stands_still(tmp_path):
    for _ in range(2):  # and stays stopped when it is called again
        train(config(tmp_path, episodes=40, plateau=2), envs=points(), model=Constant(20.0))
        assert [m["episode"] for m in lines(tmp_path) if m["kind"] == "eval"] == [8, 16, 24]
        assert [m["episode"] for m in lines(tmp_path) if m["kind"] == "episodes"][-1] == 24


class Fading(PixelJudge):
    """Likes the first evaluation's films best, whatever they show."""

    n_seen = 0

    def score(self, episodes):
        self.n_seen += len(episodes)
        level = max(90.0 - self.n_seen, 0.0)
        self.costs.model_calls += 1
        return [
            EpisodeScore((StepScore(0.0), *[StepScore(level)] * (e.n_frames - 1)), self.model_id)
            for e in episodes
        ]


def test_the_policy_that_was_judged_best_is_kept_whatever_the_truth(tmp_path):
    run = config(tmp_path, episodes=24, keep="judged")
    last = train(run, envs=points(), model=Fading(0.0))
    assert (last["episode"], last["chosen_episode"]) == (24, 8)
    policies = tmp_path / "policies"
    assert sorted(p.name for p in policies.iterdir()) == [f"step_{k:08d}" for k in (8, 16, 24)]
    evals = [m for m in lines(tmp_path) if m["kind"] == "eval"]
    assert [m.get("chosen_episode") for m in evals] == [None, None, None, 8]


def test_choosing_looks_at_nothing_true():
    line = {"judged_success": 0.5, "judged_progress_final": 40.0, "episode": 8}
    assert JudgedEvaluation.of(line) == JudgedEvaluation(0.5, 40.0, 8)


def test_a_run_that_was_killed_before_its_choice_makes_it_later(tmp_path):
    class Killed(Fading):
        def score(self, episodes):
            if self.n_seen >= 26:  # the evaluation of the kept policy
                raise KeyboardInterrupt
            return super().score(episodes)

    settings = {"episodes": 16, "keep": "judged", "checkpoint_every": 4}
    whole, broken = (config(tmp_path / name, **settings) for name in ("whole", "broken"))
    train(whole, envs=points(), model=PixelJudge(0.0))
    with pytest.raises(KeyboardInterrupt):
        train(broken, envs=points(), model=Killed(0.0))
    last = train(broken, envs=points(), model=Fading(0.0))
    assert last["chosen_episode"] in {8, 16}
    assert last.items() <= train(broken, envs=points(), model=Fading(0.0)).items()


def test_options_that_are_off_change_nothing(tmp_path):
    for name, more in (("a", {}), ("b", {"caution": 0.0, "copies": 1, "keep": "last"})):
        train(config(tmp_path / name, **more), envs=points(), model=PixelJudge(0.0))
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")
