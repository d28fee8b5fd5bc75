"""A calibration that is named for one way of judging, where both ways are needed."""

import json

import pytest
from fake_env import PointEnv

from sole.data.episode import EpisodeScore, StepScore
from sole.evals import quality
from sole.progress.calibrate import Calibration, MonotoneMap
from sole.rewarders.beside import in_way
from sole.rewarders.calibrated import Calibrated, success_at
from sole.rewarders.controls import Constant
from sole.rewarders.ensemble import EnsembleRewardModel
from sole.rl.config import RlConfig
from sole.rl.train import train


class Talker(Constant):
    """Always says success with probability 0.6; with words it also gives a reason."""

    def __init__(self, words: bool = False):
        super().__init__(0.0)
        self.model_id, self.words = f"talker/{'think' if words else 'fast'}", words

    def thinking(self):
        return Talker(words=True)

    def fast(self):
        return Talker()

    def score(self, episodes):
        said = StepScore(10.0, 0.6, reasoning="Because." if self.words else "")
        return [
            EpisodeScore((StepScore(0.0), *[said] * (e.n_frames - 1)), self.model_id, e.task)
            for e in episodes
        ]


def calibrated(model: Talker, threshold: float = 0.8) -> Calibrated:
    same = MonotoneMap(x=(0.0, 1.0), y=(0.0, 1.0))
    wide = MonotoneMap(x=(-100.0, 100.0), y=(-100.0, 100.0))
    record = Calibration(
        model_id=model.model_id, made_from="here", signal="success_probability", success=same,
        progress=wide, success_threshold=threshold, wanted_fpr=0.1, fpr_bound=0.1, confidence=0.95,
        n_failed=40, n_successful=40,
    )  # fmt: skip
    return Calibrated(model, record)


def run(folder, model, **changes):
    settings = RlConfig(
        env="fake/point", run_dir=folder, episodes=4, n_envs=4, random_episodes=4,
        eval_episodes=2, batch_size=16, updates_per_episode=1, **changes,
    )  # fmt: skip
    return train(settings, envs=[PointEnv() for _ in range(4)], model=model)


@pytest.mark.parametrize("way", ["thinking", "fast"])
def test_a_named_calibration_holds_in_its_own_way_and_is_left_aside_in_the_other(way):
    own = calibrated(Talker(words=way == "thinking"))
    other = calibrated(Talker(words=way != "thinking"))
    assert in_way(own, way) is own
    assert in_way(other, way).model_id == Talker(words=way == "thinking").model_id
    assert in_way(Constant(1.0), way).model_id == "constant:1"


@pytest.mark.parametrize("copies", [1, 2])
def test_a_run_with_a_named_calibration_is_filmed_with_words(tmp_path, copies):
    model = calibrated(Talker())
    run(tmp_path, model if copies == 1 else EnsembleRewardModel([model], copies))
    notes = json.loads((tmp_path / "rollouts" / "end.json").read_text())
    assert notes["model_id"] == "talker/think"


def test_a_models_controls_are_read_without_words_whatever_its_calibration_is_for():
    assert quality._fast(calibrated(Talker(words=True))).model_id == "talker/fast"


def test_success_in_a_run_is_what_the_calibration_says_unless_a_setting_does(tmp_path):
    assert run(tmp_path / "a", calibrated(Talker()))["judged_success"] == 0.0
    assert json.loads((tmp_path / "a" / "data.json").read_text())["judged_success_at"] == 0.8
    assert run(tmp_path / "b", Talker())["judged_success"] == 1.0
    lower = run(tmp_path / "c", calibrated(Talker()), judged_success_at=0.6)
    assert lower["judged_success"] == 1.0


def test_an_ensemble_has_the_threshold_of_its_first_member():
    both = EnsembleRewardModel([calibrated(Talker()), Constant(50.0)])
    assert success_at(both, None) == 0.8
    assert success_at(EnsembleRewardModel([Constant(50.0)]), None) == 0.5
