"""Control rewarders, the contract check, and loading a reward model by its name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.data.episode import EpisodeScore, StepScore, make_example_episode
from sole.errors import ConfigError, ModelError
from sole.rewarders.base import RewardModel
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.rewarders.load import load_reward_model


def episodes():
    return [make_example_episode(n, size_px=8, seed=n) for n in (1, 6, 4)]


@pytest.mark.parametrize(
    ("model", "session"),
    [
        (Ramp(), "runs"),
        (Constant(-20), "equals_score"),
        (RandomWalk(3), "equals_score"),
        (Oracle(), "refused"),
    ],
)
def test_every_control_keeps_the_contract(model, session):
    assert isinstance(model, RewardModel)
    check_reward_model(model, episodes(), session=session)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30))
def test_a_ramp_rises_from_0_to_100_whatever_the_length(n):
    progress = Ramp().score([make_example_episode(n, size_px=2)])[0].judged_progress
    assert progress[0] == 0
    assert np.all(np.diff(progress) > 0)
    assert n == 1 or progress[-1] == 100


def test_a_ramp_session_reaches_100_at_its_expected_length_and_stays():
    frame = {"external": np.zeros((4, 4, 3), np.uint8)}
    session = Ramp(expected_steps=3).start("t")
    assert [session.step(frame).progress for _ in range(5)] == [0, 50, 100, 100, 100]


def test_a_walk_depends_on_pixels_instruction_and_seed():
    episode = make_example_episode(8, size_px=8)
    other_pixels = make_example_episode(8, size_px=8, seed=1)
    walks = [
        RandomWalk(0).score([episode])[0].judged_progress.tolist(),
        RandomWalk(1).score([episode])[0].judged_progress.tolist(),
        RandomWalk(0).score([other_pixels])[0].judged_progress.tolist(),
        RandomWalk(0).score([replace(episode, task="lift the cup")])[0].judged_progress.tolist(),
    ]
    assert len({tuple(walk) for walk in walks}) == 4


def test_the_oracle_says_what_is_true():
    episode = make_example_episode(5)
    score = Oracle().score([episode])[0]
    np.testing.assert_array_equal(score.judged_progress, episode.truth.true_progress)
    np.testing.assert_array_equal(score.judged_success, episode.truth.true_success)


def test_the_oracle_refuses_an_episode_without_truth():
    with pytest.raises(ValueError, match="truth"):
        Oracle().score([make_example_episode(3, truth=False)])


class Faulty(Constant):
    """Keeps the contract but for the one thing a test overrides."""

    def __init__(self, value=30):
        super().__init__(value)


class TooShort(Faulty):
    def _steps(self, episode):
        return super()._steps(episode)[: max(1, episode.n_frames - 1)]


class NotZeroAtFirst(Faulty):
    def _steps(self, episode):
        return tuple(StepScore(30.0) for _ in range(episode.n_frames))


class MoodDependent(Faulty):
    def _steps(self, episode):
        self.value += 1
        return super()._steps(episode)


class OrderDependent(Faulty):
    def score(self, episodes):
        scores = super().score(episodes)
        for index, score in enumerate(scores):
            steps = [*score.steps[:-1], StepScore(float(index) if len(score.steps) > 1 else 0.0)]
            scores[index] = EpisodeScore(tuple(steps), self.model_id)
        return scores


class NeedsWristButTakesAnything(Faulty):
    views = ("wrist",)


class CountsNothing(Faulty):
    def score(self, episodes):
        return [EpisodeScore(self._steps(e), self.model_id) for e in episodes]


class AcceptsAnyFrame(Faulty):
    def start(self, task):
        class Session:
            n = 0

            def step(self, views):
                self.n += 1
                return StepScore(0.0 if self.n == 1 else 30.0)

        return Session()


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (TooShort(), "frames"),
        (NotZeroAtFirst(), "frame 0"),
        (MoodDependent(), "scored again"),
        (OrderDependent(), "in another order"),
        (NeedsWristButTakesAnything(), "missing view wrist"),
        (CountsNothing(), "counted"),
        (AcceptsAnyFrame(), "frames as floats"),
        (Ramp(9), "session and score"),
        (Oracle(), "oracle"),
    ],
)
def test_a_broken_model_is_found_out(model, complaint):
    with pytest.raises((AssertionError, ValueError), match=complaint):
        check_reward_model(model, episodes()[1:])


def test_the_check_wants_two_episodes():
    with pytest.raises(ValueError, match="at least 2"):
        check_reward_model(Ramp(), episodes()[:1])


@pytest.mark.parametrize("name", ["ramp", "random", "constant:50", "constant:-3.5", "oracle"])
def test_a_control_loads_by_its_name(name):
    model = load_reward_model(name, think="auto", every=2, seed=0)
    assert model.model_id.startswith(name.split(":")[0])


def test_a_misspelt_model_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"did you mean random\?.*nano, ramp, random"):
        load_reward_model("randon")


@pytest.mark.parametrize("name", ["constant", "constant:lots", "constant:101", "constant:nan"])
def test_a_constant_needs_a_percentage(name):
    with pytest.raises(ConfigError, match=r"\[-100, 100\]"):
        load_reward_model(name)


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no such folder"):
        load_reward_model("runs/no/such")


def test_an_unknown_way_of_thinking_is_refused():
    with pytest.raises(ConfigError, match="always, fast, auto"):
        load_reward_model("ramp", think="never")


def make_folder(folder):
    (folder / "config.json").write_text('{"model_type": "sole_nano"}')
    (folder / "model.safetensors").touch()
    return str(folder)


def test_nano_and_folders_are_given_to_the_loader_of_the_real_model(tmp_path, monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return Constant(0.0)

    monkeypatch.setattr("sole.rewarders.sole.load_sole", load)
    folder = make_folder(tmp_path)
    load_reward_model("nano", think=True, every=2)
    load_reward_model(folder, from_zero_weight=0.0)
    assert asked == [
        ("nano", {"think": True, "every": 2}),
        (folder, {"think": False, "every": 1, "from_zero_weight": 0.0}),
    ]


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match=r"no config\.json in this folder"):
        load_reward_model(str(tmp_path))


def test_a_checkpoint_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    def broken(name, **options):
        raise RuntimeError("sizes differ\nand a long report")

    monkeypatch.setattr("sole.rewarders.sole.load_sole", broken)
    with pytest.raises(ModelError, match=r"cannot be loaded \(sizes differ\)$"):
        load_reward_model(make_folder(tmp_path))
