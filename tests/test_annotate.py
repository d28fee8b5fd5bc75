"""``sole annotate``: what was judged lies beside LeRobot's own frame index."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot_v2_files import write_v2

from sole.annotate import AnnotateConfig, annotate, read_annotations
from sole.cli import main
from sole.data.episode import EpisodeScore, StepScore, make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ConfigError
from sole.progress.weights import rabc_weights

LENGTHS = (6, 9, 5, 7)


def recorded(number: int, n_frames: int):
    return replace(make_example_episode(n_frames, 32, seed=number), task=f"do {number}")


@pytest.fixture
def dataset(tmp_path):
    with EpisodeWriter(tmp_path / "set", 10.0) as writer:
        for number, n_frames in enumerate(LENGTHS):
            writer.add(recorded(number, n_frames))
    return tmp_path / "set"


def test_every_frame_of_the_dataset_has_a_row_under_its_own_index(dataset):
    table = read_annotations(annotate(AnnotateConfig(dataset=dataset, model="ramp")))
    rows = table.to_pylist()
    assert [r["index"] for r in rows] == list(range(sum(LENGTHS)))
    third = [r for r in rows if r["episode_index"] == 2]
    assert [r["index"] for r in third] == [15, 16, 17, 18, 19]
    assert [r["progress_sparse"] for r in third] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert third[-1]["judged_progress"] == 100
    assert not list(dataset.glob(".*parts"))


def test_a_range_keeps_the_indices_of_the_whole_dataset(dataset, tmp_path):
    out = tmp_path / "some.parquet"
    annotate(AnnotateConfig(dataset=dataset, model="ramp", episodes="1:3", out=out))
    rows = read_annotations(out).to_pylist()
    assert [r["episode_index"] for r in rows] == [1] * 9 + [2] * 5
    assert [r["index"] for r in rows] == list(range(6, 20))


def test_long_episodes_are_judged_at_some_frames_and_interpolated_between(dataset):
    table = annotate(AnnotateConfig(dataset=dataset, model="ramp", max_frames=3))
    rows = [r for r in read_annotations(table).to_pylist() if r["episode_index"] == 1]
    assert [r["frame_index"] for r in rows if r["scored"]] == [0, 4, 8]
    assert [r["judged_progress"] for r in rows] == pytest.approx(np.linspace(0, 100, 9))


class Failing:
    """Judges two episodes, then fails; knows what it was asked."""

    model_id = "failing"

    def __init__(self, n_good: int):
        self.n_good, self.asked = n_good, []

    def score(self, episodes):
        for episode in episodes:
            if len(self.asked) == self.n_good:
                raise KeyboardInterrupt
            self.asked.append(episode.task)
        return [EpisodeScore((StepScore(5.0),) * e.n_frames, self.model_id) for e in episodes]


def test_a_stopped_run_goes_on_where_it_was(dataset, monkeypatch):
    judges = [Failing(2), Failing(9)]
    made = iter(judges)
    monkeypatch.setattr("sole.annotate.load_reward_model", lambda *a, **k: next(made))
    config = AnnotateConfig(dataset=dataset, batch=1)
    with pytest.raises(KeyboardInterrupt):
        annotate(config)
    assert not (dataset / "sole_progress.parquet").exists()
    annotate(config.model_copy(update={"batch": 2}))
    assert judges[1].asked == ["do 2", "do 3"]
    assert len(read_annotations(dataset / "sole_progress.parquet")) == sum(LENGTHS)


def test_parts_of_other_settings_are_not_mixed(dataset, monkeypatch):
    monkeypatch.setattr("sole.annotate.load_reward_model", lambda *a, **k: Failing(1))
    with pytest.raises(KeyboardInterrupt):
        annotate(AnnotateConfig(dataset=dataset, batch=1))
    with pytest.raises(ConfigError, match="other settings"):
        annotate(AnnotateConfig(dataset=dataset, batch=1, think="always"))


def test_frames_that_could_not_be_read_are_null_and_say_why(dataset, monkeypatch):
    class Mute(Failing):
        def score(self, episodes):
            lost = StepScore(None, error="no number")
            return [
                EpisodeScore((StepScore(0.0), *[lost] * (e.n_frames - 1)), "mute") for e in episodes
            ]

    monkeypatch.setattr("sole.annotate.load_reward_model", lambda *a, **k: Mute(0))
    rows = read_annotations(annotate(AnnotateConfig(dataset=dataset))).to_pylist()
    assert rows[1]["progress_sparse"] is None
    assert rows[1]["rabc_weight"] is None
    assert rows[1]["error"] == "no number"


def test_an_older_dataset_is_judged_under_the_sentence_and_camera_that_are_named(tmp_path):
    old = write_v2(tmp_path / "old", [recorded(0, 6), recorded(1, 8)])
    config = AnnotateConfig(dataset=old, model="ramp", external="top", task="open it")
    rows = read_annotations(annotate(config)).to_pylist()
    assert [r["index"] for r in rows] == list(range(14))


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--episodes", "3"], "FIRST:END"), (["--episodes", "9:"], "no episodes"),
     (["--external", "nowhere"], "nowhere")],
)  # fmt: skip
def test_wrong_settings_are_one_line(dataset, capsys, flags, said):
    assert main(["annotate", str(dataset), "--model", "ramp", *flags]) in (1, 2)
    assert said in capsys.readouterr().err


def test_a_film_is_no_dataset(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    assert main(["annotate", str(tmp_path / "x"), "--model", "ramp"]) == 2


def test_what_trainers_read_are_plain_floats_in_the_unit_interval(dataset):
    table = pq.read_table(annotate(AnnotateConfig(dataset=dataset, model="random")))
    for name in ("progress_sparse", "progress_dense", "rabc_weight"):
        column = table[name].to_numpy()
        assert column.dtype == np.float32
        assert column.min() >= 0
        assert column.max() <= 1


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=20), min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_weights_are_shares_and_losing_progress_weighs_nothing(curves, chunk_steps):
    episodes = [np.array(c) for c in curves]
    for progress, weights in zip(
        episodes, rabc_weights(episodes, chunk_steps=chunk_steps), strict=True
    ):
        later = progress[np.minimum(np.arange(len(progress)) + chunk_steps, len(progress) - 1)]
        assert np.all((weights >= 0) & (weights <= 1))
        assert np.all(weights[later < progress] == 0)
        assert np.all(weights[later > progress + 0.0101] == 1)


def test_unknown_progress_has_no_weight_and_no_chunk_is_refused():
    (weights,) = rabc_weights([np.array([0.0, np.nan, 0.5])], chunk_steps=1)
    assert np.isnan(weights[:2]).all()
    with pytest.raises(ValueError, match="at least 1"):
        rabc_weights([], chunk_steps=0)
