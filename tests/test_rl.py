"""The RL loop on worlds with known answers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_env import LeakyEnv, PointEnv

from sole.data.attempts import read_attempts
from sole.data.episode import EpisodeScore, StepScore
from sole.errors import ConfigError, ModelError
from sole.rewarders.controls import Constant, Oracle, Ramp
from sole.rl.agent import Scaling
from sole.rl.config import RlConfig
from sole.rl.envs import roll_out
from sole.rl.judge import Judge
from sole.rl.record import wilson
from sole.rl.train import train
from sole.run import Run

TINY = {"n_envs": 4, "random_episodes": 8, "updates_per_episode": 4, "batch_size": 32, "threads": 1}


def config(folder: Path, **changes) -> RlConfig:
    settings = {"env": "fake/point", "episodes": 16, "eval_episodes": 4, "eval_every": 8, **TINY}
    return RlConfig(run_dir=folder, **{**settings, **changes})


class PixelJudge(Constant):
    """Judges by the distance between the red and the green pixel: pictures are all it sees."""

    def score(self, episodes):
        scores = []
        for episode in episodes:
            assert episode.truth is None, "a reward model must not be shown the truth"
            distances = [self._distance(frame) for frame in episode.views["external"]]
            steps = [
                StepScore(float(np.clip(100 * (1 - d / distances[0]), -100, 100)))
                for d in distances
            ]
            scores.append(EpisodeScore((StepScore(0.0), *steps[1:]), self.model_id, episode.task))
            self.costs.model_calls += len(steps)
        return scores

    @staticmethod
    def _distance(frame):
        places = []
        for channel in (0, 1):
            found = np.argwhere(frame[..., channel])
            places.append(found[0] if len(found) else None)
        if places[0] is None or places[1] is None:
            return 0.0
        return float(np.linalg.norm(places[0] - places[1])) + 0.1


def test_agent_never_touches_reward_or_info_of_the_simulator(tmp_path):
    envs = [LeakyEnv() for _ in range(4)]
    last = train(config(tmp_path), envs=envs, model=PixelJudge(0.0))
    assert last["n_episodes"] == 4


def test_poisoned_env_does_raise_when_touched():
    env = LeakyEnv()
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(2))
    for use in (
        lambda: reward + 1,
        lambda: float(reward),
        lambda: bool(reward),
        lambda: info["success"],
        env.own_reward,
    ):
        with pytest.raises(AssertionError, match="touched"):
            use()


class LyingEnv(PointEnv):
    """The same world with another truth and pay; drawn from no generator that a run draws from."""

    def own_reward(self):
        self.n_asked = getattr(self, "n_asked", 0) + 1
        return -1000.0 * self.n_asked

    def truth(self):
        self.n_asked = getattr(self, "n_asked", 0) + 1
        return float(37 * self.n_asked % 100), self.n_asked % 3 == 0, super().truth()[2]


@pytest.mark.parametrize("algorithm", ["sac", "ppo"])
def test_whatever_the_simulator_says_is_true_the_same_is_learned_and_kept(tmp_path, algorithm):
    settings = {"algorithm": algorithm, "keep": "judged", "random_episodes": 4}
    learned, true = [], []
    for kind in (PointEnv, LyingEnv):
        run = config(tmp_path / kind.__name__, **settings)
        last = train(run, envs=[kind() for _ in range(4)], model=PixelJudge(0.0))
        weights = run.run_dir / "checkpoints" / "step_00000016" / "policy.safetensors"
        learned.append((weights.read_bytes(), last["chosen_episode"], last["judged_success"]))
        true.append(last["true_progress_final"])
    assert learned[0] == learned[1]
    assert true[0] != true[1]


def test_rewards_are_the_judged_level_at_the_next_moment():
    rollouts = roll_out([PointEnv()], [3], lambda o: np.ones((len(o), 2)), every=1)
    judgement = Judge(Oracle(), psi=2.0, privileged=True)(rollouts)[0]
    expected = 2.0 * rollouts[0].truth.true_progress[1:] / 100
    assert judgement.rewards is not None
    np.testing.assert_allclose(judgement.rewards, expected, rtol=1e-5)


def test_rewards_between_judged_moments_are_interpolated():
    rollout = roll_out([PointEnv()], [3], lambda o: np.ones((len(o), 2)), every=5)[0]
    assert list(rollout.view_frames) == [0, 5, 10]
    judged = Judge(Oracle(), privileged=True)([rollout])[0].judged_progress
    at = rollout.truth.true_progress
    np.testing.assert_allclose(judged[2], 0.6 * at[0] + 0.4 * at[5], rtol=1e-4)


def test_the_difference_form_pays_what_a_decision_gains():
    rollout = roll_out([PointEnv()], [3], lambda o: np.ones((len(o), 2)), every=1)
    judge = Judge(Oracle(), psi=2.0, clip=50.0, privileged=True, form="difference")
    rewards = judge(rollout)[0].rewards
    p = np.clip(rollout[0].truth.true_progress, -50, 50) / 100
    assert rewards is not None
    np.testing.assert_allclose(rewards, 2 * (p[1:] - p[:-1]), atol=1e-6)


@pytest.mark.parametrize("form", ["level", "difference", "tri"])
def test_every_form_values_the_way_to_the_goal_above_the_way_back(form):
    # Five places in a row and no end: a time limit bootstraps, so values go on for ever.
    judge = Judge(Oracle(), form=form, discount=0.9)
    places = np.arange(5)
    ways = np.clip(places[:, None] + np.array([-1, 1]), 0, 4)
    steps = [StepScore(25.0 * p, success_probability=p / 4) for p in places]

    def reward(before, after):
        score = EpisodeScore((steps[before], steps[after]), "m")
        rewards = judge.judgement_of(score, np.array([0, 1]), 2).rewards
        assert rewards is not None
        return rewards[0]

    paid = np.array([[reward(p, after) for after in ways[p]] for p in places])
    worth = np.zeros((5, 2))
    for _ in range(500):
        worth = paid + 0.9 * worth.max(1)[ways]
    assert np.all(worth[:, 1] - worth[:, 0] > 0.01)


def test_the_tri_form_adds_completion_and_the_direction_between_judged_moments():
    rollout = roll_out([PointEnv()], [3], lambda o: np.ones((len(o), 2)), every=5)[0]
    judgement = Judge(Oracle(), privileged=True, form="tri")([rollout])[0]
    index, true = rollout.view_frames, rollout.truth
    way = np.repeat(np.sign(np.diff(true.true_progress[index])), 5)
    done = np.interp(np.arange(11), index, true.true_success[index])
    expected = (judgement.judged_progress[1:] / 100 + done[1:] + (way + 1) / 2) / 3
    assert judgement.rewards is not None
    np.testing.assert_allclose(judgement.rewards, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["level", "difference", "tri"])
def test_no_reward_depends_on_what_comes_after_the_next_judged_moment(form):
    # Scaled by an episode's own lowest and highest progress, all of them would.
    def rewards(last):
        steps = [StepScore(p, success_probability=abs(p) / 100) for p in (0.0, 20.0, 35.0, last)]
        score = EpisodeScore(tuple(steps), "m")
        return Judge(Constant(0.0), form=form).judgement_of(score, np.arange(0, 8, 2), 7).rewards

    np.testing.assert_array_equal(rewards(-90.0)[:4], rewards(100.0)[:4])
    assert np.all(rewards(-90.0)[4:] < rewards(100.0)[4:])


def test_the_tri_form_needs_a_probability_of_completion():
    rollout = roll_out([PointEnv()], [1], lambda o: np.zeros((len(o), 2)))
    with pytest.raises(ModelError, match="no probability of success"):
        Judge(PixelJudge(0.0), form="tri")(rollout)
    given = StepScore(0.0, success_probability=0.0)  # what asking methods say of the first frame
    mute = EpisodeScore((given, StepScore(60.0), StepScore(100.0)), "m")
    with pytest.raises(ModelError, match="no probability of success"):
        Judge(PixelJudge(0.0), form="tri").judgement_of(mute, np.arange(3), 3)


def test_failed_reads_drop_the_episode_when_asked_to():
    class Broken(Constant):
        def score(self, episodes):
            step = StepScore(None, error="no number")
            return [
                EpisodeScore((StepScore(0.0), *([step] * (e.n_frames - 1))), "broken")
                for e in episodes
            ]

    rollout = roll_out([PointEnv()], [1], lambda o: np.zeros((len(o), 2)))
    assert Judge(Broken(0.0), failure="drop_episode")(rollout)[0].rewards is None


def test_same_seed_gives_the_same_run(tmp_path):
    results = []
    for name in ("a", "b"):
        train(config(tmp_path / name), envs=[PointEnv() for _ in range(4)], model=PixelJudge(0.0))
        results.append(comparable(tmp_path / name))
    assert results[0] == results[1]


def test_pixel_observations_train(tmp_path):
    settings = {"observation": "pixels", "episodes": 8, "random_episodes": 4, "batch_size": 8}

    class Bigger(PointEnv):
        def views(self):
            return {k: np.kron(v, np.ones((3, 3, 1), np.uint8)) for k, v in super().views().items()}

    last = train(
        config(tmp_path, **settings), envs=[Bigger() for _ in range(4)], model=Constant(0.0)
    )
    assert last["episode"] == 8


@pytest.mark.slow
def test_oracle_reward_teaches_and_constant_reward_teaches_nothing(tmp_path):
    settings = {"episodes": 120, "updates_per_episode": 20, "eval_episodes": 20, "eval_every": 120}
    settings |= {"entropy_start": 0.1, "eval_deterministic": True}
    finals = {}
    for name, model in (("oracle", Oracle()), ("constant:0", Constant(0.0))):
        run = config(tmp_path / name.replace(":", ""), reward=name, **settings)
        finals[name] = train(run, envs=[PointEnv() for _ in range(4)], model=model)["true_success"]
    assert finals["oracle"] >= 0.8
    assert finals["constant:0"] <= 0.3


def test_killed_and_resumed_run_ends_like_an_unbroken_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = subprocess.Popen([sys.executable, __file__, str(broken)])
    wait_for_checkpoint(broken)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    train_points(whole)
    train_points(broken)
    assert comparable(whole) == comparable(broken)
    last = "checkpoints/step_00000024/policy.safetensors"
    assert (whole / last).read_bytes() == (broken / last).read_bytes()


def test_a_run_keeps_what_its_agent_did(tmp_path):
    train(config(tmp_path), envs=points(), model=PixelJudge(0.0))
    attempts = read_attempts(tmp_path / "attempts")
    assert [a.episode for a in attempts] == list(range(16))
    env = PointEnv()
    env.reset(seed=attempts[5].seed)
    for t, action in enumerate(attempts[5].actions):
        env.step(action)
        assert env.truth()[0] == pytest.approx(attempts[5].true_progress[t + 1], abs=1e-3)


class CountsPictures(PointEnv):
    n_rendered = 0

    def views(self):
        type(self).n_rendered += 1
        return super().views()


@pytest.mark.parametrize(("reward", "model"), [("oracle", Oracle()), ("ramp", Ramp())])
def test_who_does_not_look_is_shown_no_pictures_and_judges_the_same(
    tmp_path, monkeypatch, reward, model
):
    def run(name: str) -> tuple[list[dict], int]:
        CountsPictures.n_rendered = 0
        envs = [CountsPictures() for _ in range(4)]
        train(config(tmp_path / name, reward=reward), envs=envs, model=model)
        return comparable(tmp_path / name), CountsPictures.n_rendered

    blind, n_blind = run("blind")
    monkeypatch.setattr(Judge, "minds_pictures", property(lambda judge: True))
    seeing, n_seeing = run("seeing")
    assert blind == seeing
    n_filmed = 3 * (PointEnv().max_steps + 1)
    assert n_blind <= n_filmed < n_seeing
    films = sorted((tmp_path / "blind" / "rollouts").glob("*.npz"))
    assert films
    for film in films:
        with np.load(film) as data:
            assert max(array.max() for name, array in data.items() if array.ndim == 4) > 0


def test_a_metrics_line_cut_by_a_kill_is_left_out(tmp_path):
    train(config(tmp_path), envs=points(), model=PixelJudge(0.0))
    run = Run(tmp_path, config(tmp_path))
    whole = run.metrics()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')
    assert run.metrics() == whole


def train_points(folder: Path) -> None:
    train(
        config(folder, episodes=24, random_episodes=4, updates_per_episode=8, checkpoint_every=4),
        envs=[PointEnv() for _ in range(4)],
        model=PixelJudge(0.0),
    )


def wait_for_checkpoint(folder: Path) -> None:
    for _ in range(3000):
        if list(folder.glob("checkpoints/step_*")):
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written")


def comparable(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("wall_s", "_seconds")
    return [{k: v for k, v in line.items() if not k.endswith(timed)} for line in lines]


def points(n: int = 4) -> list[PointEnv]:
    return [PointEnv() for _ in range(n)]


def test_run_that_exceeds_its_minutes_stops_whole_and_goes_on_later(tmp_path):
    stopped = train(config(tmp_path, max_minutes=1e-9), envs=points(), model=Constant(0.0))
    assert stopped["episode"] == 4
    assert train(config(tmp_path), envs=points(), model=Constant(0.0))["episode"] == 16


def test_finished_run_can_be_made_longer(tmp_path):
    train(config(tmp_path, episodes=8), envs=points(), model=Constant(50.0))
    longer = train(config(tmp_path, episodes=16), envs=points(), model=Constant(50.0))
    assert longer["episode"] == 16


def test_a_run_that_was_made_longer_does_not_pass_for_the_short_one(tmp_path):
    for episodes in (4, 8):
        train(config(tmp_path, episodes=episodes), envs=points(), model=Constant(50.0))
    with pytest.raises(ConfigError, match=r"episodes \(was 8, now 4\)"):
        train(config(tmp_path, episodes=4), envs=points(), model=Constant(50.0))


def test_run_is_not_continued_with_other_settings(tmp_path):
    train(config(tmp_path, episodes=4), envs=points(), model=Constant(0.0))
    with pytest.raises(ConfigError, match=r"seed \(was 0, now 1\)"):
        train(config(tmp_path, episodes=4, seed=1), envs=points(), model=Constant(0.0))


def test_a_run_from_before_a_setting_existed_had_its_default(tmp_path):
    old = config(tmp_path).model_dump(mode="json", exclude={"caution"})
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"caution \(was 0.0, now 1.0\)"):
        train(config(tmp_path, caution=1.0), envs=points(), model=Constant(0.0))


def test_evaluation_is_judged_too_but_its_questions_are_not_counted(tmp_path):
    last = train(config(tmp_path, episodes=8), envs=points(), model=PixelJudge(0.0))
    assert -100 <= last["judged_progress_final"] <= 100
    counts = [m["reward_model_calls"] for m in comparable(tmp_path) if m["kind"] == "episodes"]
    pictured = 6  # of 11 moments, every second one
    assert counts == [4 * pictured, 8 * pictured]


def test_wilson_interval_contains_the_share():
    for wins in range(11):
        low, high = wilson(wins, 10)
        assert 0 <= low <= wins / 10 <= high <= 1


def test_states_far_from_the_first_ones_stay_apart():
    rng = np.random.default_rng(0)
    act = lambda seen: rng.uniform(-0.1, 0.1, (len(seen), 2))  # noqa: E731
    scaling = Scaling()
    scaling.fit(roll_out(points(4), [0, 1, 2, 3], act))
    places = [np.array([x, x, 0.7, 0.7], np.float32) for x in (0.1, 0.6, 0.7, 0.8, 0.9, 1.0)]
    seen = np.stack([scaling(place) for place in places])
    assert seen.dtype == np.float32
    assert np.all(np.diff(seen[:, 0]) > 0.5), "a goal that cannot be told from its neighbourhood"
    assert np.abs(seen).max() < 30


if __name__ == "__main__":  # the process that is killed
    train_points(Path(sys.argv[1]))
