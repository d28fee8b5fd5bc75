"""Control videos: what they are made of, and that they tell honest judges from clever ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.data.episode import Episode, EpisodeScore, StepScore, Truth, make_example_episode
from sole.evals.controls import control_metrics, control_videos, other_sentences, paraphrase
from sole.evals.jumps import cut_clip, jump_cuts
from sole.evals.labelled import judge
from sole.evals.process import process_metrics
from sole.evals.quality import QualityConfig, measure
from sole.evals.result import Row
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.sims.registry import SUITES, task_names

CURVE = [0, 20, 45, 60, 80, 100, 100]


def expert(task: str, env_name: str, seed: int = 0) -> Episode:
    base = make_example_episode(len(CURVE), 32, seed=seed)
    true = np.asarray(CURVE, np.float32)
    return Episode(
        task=task, views=base.views, truth=Truth(true, true >= 100), env_name=env_name,
        policy="expert", seed=seed,
    )  # fmt: skip


EXPERTS = [expert(f"do {name}", f"fake/{name}", seed) for seed, name in enumerate("abcde")]


def found(model) -> dict[str, float]:
    return control_metrics(lambda videos: judge(model, videos, 4, "x"), EXPERTS)["fake/a"]


def test_videos_are_cut_at_success_and_made_of_the_frames_that_their_names_say():
    videos = control_videos(EXPERTS[0], {e.env_name: [e.task] for e in EXPERTS})
    frames = EXPERTS[0].views["external"]
    assert videos["forward"].n_frames == 6
    assert videos["slow"].n_frames == 12
    assert videos["fast"].n_frames == 4
    np.testing.assert_array_equal(videos["reversed"].views["external"], frames[5::-1])
    assert np.all(videos["static"].views["external"] == frames[0])
    assert np.all(videos["tail"].views["external"][-10:] == frames[2])
    assert not np.array_equal(videos["jitter"].views["external"], frames[:6])
    assert videos["rewound50"].truth.true_progress[-1] < 100


def test_the_oracle_passes_every_control():
    oracle = found(Oracle())
    assert oracle["shuffled_spearman"] == pytest.approx(1.0)
    assert oracle["rewind_kendall"] == pytest.approx(1.0)
    assert oracle["voc_reversed"] == pytest.approx(-1.0)
    assert oracle["confusion_gap"] == 100.0
    for name in ("static_rise", "tail_rise", "speed_shift", "jitter_shift"):
        assert oracle[name] == 0.0


def test_a_ramp_is_exposed_by_shuffling_freezing_and_rewinding():
    ramp = found(Ramp())
    assert ramp["shuffled_spearman"] < 0.9
    assert ramp["tail_rise"] > 50
    assert ramp["rewind_kendall"] == 0.0
    assert ramp["confusion_gap"] == 0.0


class _FollowsSentence:
    """Judges 90 at the end of the right task under its own wording, 10 under any other."""

    def score(self, episodes):
        return [self._one(e) for e in episodes]

    @staticmethod
    def _one(episode: Episode) -> EpisodeScore:
        said = 90.0 if episode.task == "close the door" else 10.0
        return EpisodeScore((StepScore(said),) * episode.n_frames, "follows")


def test_a_paraphrase_that_changes_the_verdict_is_seen():
    door = expert("close the door", "metaworld/door-close")
    assert paraphrase(door) not in (None, door.task)
    shifts = control_metrics(lambda videos: _FollowsSentence().score(videos), [door])
    assert shifts["metaworld/door-close"]["paraphrase_shift"] == 80.0


def test_other_sentences_are_of_other_tasks_and_different():
    others = other_sentences(EXPERTS[0], {e.env_name: [e.task] for e in EXPERTS})
    assert len(others) == len(set(others)) >= 3
    assert EXPERTS[0].task not in others


@pytest.mark.parametrize(
    ("names", "told"), [("a", []), ("ab", ["do b"]), ("abc", ["do b", "do c"])]
)
def test_another_wording_of_a_task_is_not_another_tasks_sentence(names, told):
    sentences = {f"fake/{name}": [f"do {name}"] for name in names}
    sentences["fake/a"] = ["please do a", "do a", "a again"]
    assert other_sentences(EXPERTS[0], sentences) == told
    sentences |= {f"fake/{name}": ["a again"] for name in names[1:]}
    assert other_sentences(EXPERTS[0], sentences) == []


def test_a_single_task_in_two_wordings_has_no_gap():
    episodes = [replace(EXPERTS[0], task="do it first", policy="undo"), EXPERTS[0]]
    metrics = control_metrics(lambda videos: judge(Oracle(), videos, 4, "x"), episodes)["fake/a"]
    assert "rewind_kendall" in metrics
    assert not {"instruction_gap", "confusion_gap"} & set(metrics)


def test_the_sentences_told_on_the_held_out_tasks_stay_those_of_the_recorded_numbers():
    names = [name for name in task_names("test") if name.startswith("metaworld/")]
    told = {name: SUITES["metaworld"].tasks[name.partition("/")[2]].sentence for name in names}
    assert len(names) == 17
    for place, name in enumerate(names):
        chosen = [told[names[(place + step) % 17]] for step in (8, 4, 12, 9)]
        sentences = {n: [s] for n, s in told.items()}
        assert other_sentences(expert(told[name], name), sentences) == chosen


@pytest.mark.parametrize(
    ("model", "least", "most"),
    [(Oracle(), 0.99, 1.0), (Ramp(), 0.0, 0.0), (Constant(0), 0.0, 0.0), (RandomWalk(3), 0.0, 0.5)],
)
def test_neither_ramp_nor_silence_nor_chance_wins_the_headline(model, least, most):
    failed = [_failed(e) for e in EXPERTS]
    row = measure(model, [*EXPERTS, *failed], QualityConfig())
    assert least <= row.headline()[0] <= most


def _failed(episode: Episode) -> Episode:
    true = np.array([0, 10, 30, 20, 40, 30, 5], np.float32)
    return Episode(
        task=episode.task, views=episode.views, truth=Truth(true, true >= 100),
        env_name=episode.env_name, policy="undo", seed=9,
    )  # fmt: skip


def test_headline_of_nothing_measured_is_not_a_number():
    assert np.isnan(Row("m", {"fake/a": {}}, {}).headline()[0])


def test_a_curve_that_stands_still_is_all_stagnation():
    assert process_metrics([0, 0, 0])["prm_str"] == 1.0
    assert process_metrics([0, 50, 100])["prm_ppl"] == pytest.approx(1.0)


# ---- jump cuts -------------------------------------------------------------------------------

LONG = np.minimum(np.linspace(0, 104, 21), 100).astype(np.float32)


class _Says:
    """A judge that says what a function of the episode says."""

    def __init__(self, say):
        self._say = say

    def score(self, episodes):
        said = [self._say(e) for e in episodes]
        return [EpisodeScore(tuple(StepScore(float(v)) for v in curve), "says") for curve in said]


def followed_by(model, curve=LONG) -> float:
    episode = _with_truth(expert("do a", "fake/a"), curve)
    sees_truth = isinstance(model, _Says)

    def score(videos):
        return model.score(videos) if sees_truth else judge(model, videos, 4, "x")

    return control_metrics(score, [episode])["fake/a"]["anchoring_follow"]


def _with_truth(episode: Episode, curve) -> Episode:
    true = np.asarray(curve, np.float32)
    views = make_example_episode(len(true), 16).views
    return replace(episode, views=views, truth=Truth(true, true >= 100), actions=None, proprio=None)


@settings(deadline=None)
@given(st.lists(st.floats(-20, 100), min_size=3, max_size=40))
def test_every_cut_jumps_by_more_than_thirty_points_for_two_frames_after_three(values):
    true = np.array(values)
    cuts = jump_cuts(true)
    assert len(cuts) <= 4
    assert len(set(cuts)) == len(cuts)
    for cut in cuts:
        seen = true[cut.after : cut.after + 2] - true[cut.before]
        assert cut.before >= 2
        assert cut.after != cut.before + 1
        assert len(seen) == 2
        assert np.all(seen > 30) or np.all(seen < -30)


def test_an_expert_has_two_cuts_each_way_at_different_places():
    cuts = jump_cuts(LONG)
    signs = [np.sign(LONG[c.after] - LONG[c.before]) for c in cuts]
    assert signs == [1, 1, -1, -1]
    assert len({c.before for c in cuts}) == 4


def test_a_clip_holds_the_frames_around_the_cut_and_gives_no_ramp_a_steep_rise():
    forward = _with_truth(EXPERTS[0], LONG)
    for cut in jump_cuts(LONG):
        true = cut_clip(forward, cut).truth.true_progress
        around = [*LONG[: cut.before + 1], *LONG[cut.after : cut.after + 2]]
        np.testing.assert_array_equal(true[: cut.before + 3], around)
        assert len(true) == (26 if cut.after > cut.before else cut.before + 3)


def test_the_truth_follows_every_jump_and_those_that_do_not_look_follow_none():
    assert followed_by(Oracle()) == 1.0
    assert [followed_by(Constant(c)) for c in (0, 35, 50, 100)] == [0.0] * 4
    assert followed_by(_Says(lambda e: np.arange(e.n_frames))) == 0.0
    assert followed_by(Ramp()) == 0.0


def test_a_judge_may_be_late_by_one_frame_but_not_by_two():
    def late(by):
        return _Says(lambda e: np.roll(e.truth.true_progress, by) * (np.arange(e.n_frames) >= by))

    assert followed_by(late(1)) == 1.0
    assert followed_by(late(2)) == 0.0


def test_an_expert_that_jumps_nowhere_has_no_anchoring():
    short = _with_truth(EXPERTS[0], [0, 80, 100])
    found = control_metrics(lambda videos: judge(Oracle(), videos, 4, "x"), [short])
    assert "anchoring_follow" not in found["fake/a"]


def test_paraphrases_of_every_suite_are_known():
    for name, sentence in (("robosuite/Lift", "x"), ("maniskill/PushCube", "x")):
        assert paraphrase(expert(sentence, name)) not in (None, sentence)
    assert paraphrase(expert("x", "worlds/drawer-close")) is None
    assert paraphrase(expert("x", "")) is None
