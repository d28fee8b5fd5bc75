"""Control videos: what they are made of, and that they tell honest judges from clever ones."""

import numpy as np
import pytest

from sole.data.episode import Episode, EpisodeScore, StepScore, Truth, make_example_episode
from sole.evals.controls import control_metrics, control_videos, other_sentences, paraphrase
from sole.evals.labelled import judge
from sole.evals.process import process_metrics
from sole.evals.quality import QualityConfig, measure
from sole.evals.result import Row
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk

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
    videos = control_videos(EXPERTS[0], {e.env_name: e.task for e in EXPERTS})
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
    assert oracle["vroc_expert"] == pytest.approx(-1.0)
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
    others = other_sentences(EXPERTS[0], {e.env_name: e.task for e in EXPERTS})
    assert len(others) == len(set(others)) >= 3
    assert EXPERTS[0].task not in others


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
