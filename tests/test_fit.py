"""sole fit: labels, drawn clips, refusals, and a run that resumes exactly."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from sole import cli
from sole.data.episode import Episode, Truth, make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.data.video import write_video
from sole.errors import ConfigError
from sole.rewarders.learned_net import Vocabulary
from sole.train import fit_loop
from sole.train.fit import ClassifierConfig, RewindConfig
from sole.train.fit_data import (
    ClipSampler,
    FitEpisode,
    clip_frames,
    clip_targets,
    progress_labels,
    success_labels,
)

LABELS = np.linspace(0.0, 1.0, 8)


def seen(task="open the drawer", about="a", success=None, n_frames=8):
    done = np.linspace(0.0, 1.0, n_frames)
    success = np.zeros(n_frames, np.int8) if success is None else np.array(success, np.int8)
    features = torch.arange(float(n_frames))[:, None].half()  # each frame is its own number
    return FitEpisode(features, task, about, done, success)


def sampler(episodes, kind=RewindConfig, **settings):
    config = kind(data=("x",), out="y", **{"frames_per_episode": 8, **settings})
    return ClipSampler(episodes, Vocabulary.of(e.task for e in episodes), config)


def write(folder, episodes):
    with EpisodeWriter(folder, fps=10) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


@given(st.integers(4, 60), st.integers(0, 2**32), st.floats(0, 1))
def test_a_clip_runs_forwards_and_then_at_most_back_to_its_start(n, seed, share):
    frames = clip_frames(n, np.random.default_rng(seed), share)
    top = int(frames.argmax())
    assert frames[0] >= 0
    assert frames[top] < n
    assert top >= 2
    np.testing.assert_array_equal(np.diff(frames[: top + 1]), 1)
    np.testing.assert_array_equal(np.diff(frames[top:]), -1)
    assert frames[-1] >= frames[0]


def test_no_clip_is_rewound_unless_it_is_wanted():
    rng = np.random.default_rng(0)
    assert all((np.diff(clip_frames(9, rng, 0.0)) == 1).all() for _ in range(50))
    assert all(np.diff(clip_frames(9, rng, 1.0))[-1] == -1 for _ in range(50))


@given(st.integers(4, 40), st.integers(0, 2**32))
def test_a_clips_targets_begin_at_zero_and_fall_where_it_runs_back(n, seed):
    frames = clip_frames(n, np.random.default_rng(seed), 0.5)
    targets = clip_targets(np.linspace(0.0, 1.0, n), frames)
    assert targets[0] == 0
    assert targets.min() >= 0
    assert targets.max() <= 1
    np.testing.assert_array_equal(np.sign(np.diff(targets).round(9)), np.sign(np.diff(frames)))


def test_progress_is_the_truth_where_there_is_one_and_time_elsewhere():
    episode = make_example_episode(3)
    known = replace(episode, truth=Truth(np.array([0, -20, 60.0]), np.zeros(3, bool)))
    assert progress_labels(known).tolist() == [0.0, 0.0, 0.6]
    assert progress_labels(episode.without_truth()).tolist() == [0.0, 0.5, 1.0]


def test_success_is_the_truth_where_there_is_one_else_the_end_of_what_did_not_fail():
    episode = make_example_episode(10)
    known = replace(episode, truth=Truth(np.zeros(10, np.float32), np.arange(10) > 7))
    assert success_labels(known, True, 0.1).tolist() == [0] * 8 + [1] * 2
    blind = episode.without_truth()
    assert success_labels(blind, False, 0.2).tolist() == [0] * 5 + [-1] * 3 + [1] * 2
    assert success_labels(blind, True, 0.2).tolist() == [0] * 10


def test_a_batch_is_the_same_whenever_it_is_drawn_and_another_at_another_step():
    drawn = sampler([seen(), seen("close the box", "b")])
    one, again, other = (drawn.batch(step) for step in (3, 3, 4))
    assert torch.equal(one.features, again.features)
    assert torch.equal(one.targets, again.targets)
    assert one.features.shape != other.features.shape or not torch.equal(
        one.features, other.features
    )


def test_targets_belong_to_the_frames_they_stand_beside():
    drawn = sampler([seen()], mismatch_share=0.0, rewind_share=0.5)
    for step in range(20):
        clips = drawn.batch(step)
        first = clips.features[:, :1, 0] / 7
        wanted = (clips.features[..., 0] / 7 - first) / (1 - first)
        torch.testing.assert_close(clips.targets, wanted, atol=1e-3, rtol=0)


def test_under_another_tasks_instruction_nothing_is_ever_done():
    episodes = [seen("open the drawer", "a"), seen("close the box", "b")]
    words = Vocabulary.of(e.task for e in episodes)
    drawn = sampler(episodes, mismatch_share=1.0, rewind_share=0.0)
    blank = [float(t.max()) for step in range(5) for t in drawn.batch(step).targets]
    assert 0.2 < np.mean([b == 0 for b in blank]) < 0.8  # the other half drew its own sentence
    same = sampler([episodes[0], seen("pull the drawer", "a")], mismatch_share=1.0, rewind_share=0)
    assert (same.batch(0).targets[:, -1] > 0).all()  # a paraphrase is no mismatch
    assert len(words) == 7


def test_half_of_a_classifiers_frames_show_success_under_its_own_sentence():
    episodes = [seen(success=[0, 0, 0, 0, -1, -1, 1, 1])]
    clips = sampler(episodes, ClassifierConfig, batch=20).batch(0)
    labels, frames = clips.targets[:, 0], clips.features[:, 0, 0]
    assert labels.mean() == 0.5
    assert set(frames[labels == 1].tolist()) == {6.0, 7.0}
    assert frames[labels == 0].max() <= 3


def test_a_held_out_task_is_refused_before_anything_is_written(tmp_path, capsys):
    episode = replace(
        make_example_episode(6, 96), suite="metaworld", env_name="metaworld/door-open"
    )
    data = write(tmp_path / "data", [episode])
    assert cli.main(["fit", "rewind", "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "held out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_classifier_needs_successes_and_failures(tmp_path, capsys):
    plain = {"suite": "", "env_name": ""}
    data = write(tmp_path / "data", [replace(make_example_episode(6, 96), **plain)])
    assert cli.main(["fit", "classifier", "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "needs both" in capsys.readouterr().err


def test_a_sentence_for_datasets_is_refused(tmp_path):
    data = write(tmp_path / "data", [make_example_episode(6, 96)])
    with pytest.raises(ConfigError, match="own sentences"):
        fit_loop.train(tiny(data, tmp_path / "out", task="open the drawer"))


def test_folders_of_videos_are_learned_from(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        frames = make_example_episode(6, 96).views["external"]
        write_video(tmp_path / name / "a.mp4", frames, 10.0)
    out = fit_loop.train(
        tiny(
            tmp_path / "good", tmp_path / "out", "classifier", failed=(tmp_path / "bad",),
            task="open the drawer", held_aside=0.0, steps=1,
        )
    )  # fmt: skip
    sources = json.loads((out / "run" / "data.json").read_text())["sources"]
    assert [source["kind"] for source in sources] == ["video", "video"]
    assert "drawer" in json.loads((out / "vocabulary.json").read_text())["words"]


def test_a_folder_that_holds_something_else_or_another_run_is_left_alone(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    command = ["fit", "rewind", "--data", "nowhere", "--out", str(out)]
    assert cli.main(command) == 2
    assert "not empty" in capsys.readouterr().err
    (out / "run").mkdir()
    config = RewindConfig(data=("nowhere",), out=out, seed=1)
    (out / "run" / "config.json").write_text(config.model_dump_json())
    assert cli.main(command) == 2
    assert "another seed" in capsys.readouterr().err
    assert cli.main(["fit", "everything"]) == 2


@pytest.mark.parametrize("below", [".", "more", "run"])
def test_a_file_where_a_folder_is_to_come_is_named_before_a_picture_is_read(
    tmp_path, monkeypatch, capsys, below
):
    def never(*_):
        raise AssertionError("the data were read")

    monkeypatch.setattr(fit_loop, "read_all", never)
    file = tmp_path / ("run" if below == "run" else "file")
    file.write_text("")
    out = tmp_path if below == "run" else file / below
    assert cli.main(["fit", "rewind", "--data", "data", "--out", str(out)]) == 2
    assert f"{file} is no folder" in capsys.readouterr().err.replace("\n", " ")


def tiny(folder, out, kind="rewind", **changes):
    make = {"rewind": RewindConfig, "classifier": ClassifierConfig}[kind]
    settings = {
        "steps": 6, "frames_per_episode": 4, "grid": 1, "hidden_size": 8, "batch": 4, "threads": 1,
        "checkpoint_every": 2, "held_aside": 0.3,
    }  # fmt: skip
    return make(**{"data": (folder,), "out": out, **settings, **changes})


@pytest.mark.parametrize("kind", ["rewind", "classifier"])
def test_a_stopped_and_resumed_run_ends_like_an_unbroken_one(tmp_path, kind, monkeypatch):
    plain = {"suite": "", "env_name": "", "truth": None}
    episodes = [replace(make_example_episode(5, 96, seed=s), **plain) for s in range(4)]
    data = write(tmp_path / "data", episodes)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit_loop.train(tiny(data, whole, kind))
    real, stop = ClipSampler.batch, KeyboardInterrupt

    def stops_at_three(self, step):
        if step == 3 and self._salt == 0:
            raise stop
        return real(self, step)

    monkeypatch.setattr(ClipSampler, "batch", stops_at_three)
    with pytest.raises(KeyboardInterrupt):
        fit_loop.train(tiny(data, broken, kind))
    monkeypatch.undo()
    assert (broken / "run" / "metrics.jsonl").exists()
    assert not (broken / "config.json").exists()
    fit_loop.train(tiny(data, broken, kind))
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert _losses(whole) == _losses(broken)
    kept = {p.name for p in (whole / "run").iterdir()}
    assert kept >= {"config.json", "data.json", "git.json", "machine.json", "metrics.jsonl"}


def _losses(folder):
    lines = [
        json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[0]["kind"] == "data"
    return [(line["step"], line["kind"], line.get("loss")) for line in lines]


def test_only_views_that_every_episode_has_are_learned_from(tmp_path):
    both = make_example_episode(5, 96)
    one = Episode(both.task, {"external": both.views["external"]})
    data = write(tmp_path / "two", [replace(both, suite="", env_name="")])
    more = write(tmp_path / "one", [one])
    out = fit_loop.train(tiny(data, tmp_path / "out", data=(data, more), steps=1))
    assert json.loads((out / "config.json").read_text())["views"] == ["external"]
