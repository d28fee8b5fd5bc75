"""Recordings without truth: taken for successes, measured beside the controls, never for more."""

import json
from dataclasses import replace

import numpy as np
import pytest
from lerobot_v2_files import write_v2
from test_report import check_page

from sole.cli import main
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.data.video import write_video
from sole.errors import ConfigError, DataError
from sole.evals.recorded import recorded_successes

PLAIN = {"task": None, "external": None, "wrist": None}


def videos(folder, n=2, n_frames=40):
    folder.mkdir()
    for k in range(n):
        frames = np.random.default_rng(k).integers(0, 255, (n_frames, 32, 32, 3), dtype=np.uint8)
        write_video(folder / f"{k}.mp4", frames, fps=10)
    return folder


def test_a_long_recording_is_thinned_out_between_its_ends(tmp_path, capsys):
    found = recorded_successes(videos(tmp_path / "v"), 5, **{**PLAIN, "task": "Lift the cube."})
    assert [e.n_frames for e in found] == [5, 5]
    assert found[0].truth
    assert found[0].truth.true_progress.tolist() == [0, 25, 50, 75, 100]
    assert found[0].truth.true_success.tolist() == [False] * 4 + [True]
    assert (found[1].env_name, found[1].policy) == ("recorded/lift-the-cube", "expert")
    assert "taken for successes whose progress is time" in capsys.readouterr().err


def test_a_dataset_of_others_is_read_by_the_names_of_its_cameras(tmp_path):
    write_v2(tmp_path / "d", [make_example_episode(6, 32, truth=False)])
    found = recorded_successes(tmp_path / "d", 4, **{**PLAIN, "external": "top"})
    assert set(found[0].views) == {"external"}


def test_what_has_a_truth_of_its_own_is_sent_to_data(tmp_path):
    with EpisodeWriter(tmp_path / "set", 10.0) as writer:
        writer.add(make_example_episode(4, 16))
    with pytest.raises(DataError, match="--data"):
        recorded_successes(tmp_path / "set", 4, **PLAIN)


def test_two_frames_are_no_recording(tmp_path):
    with pytest.raises(DataError, match="has 2 frames"):
        recorded_successes(videos(tmp_path / "v", 1, 2), 5, **{**PLAIN, "task": "x"})
    with pytest.raises(ConfigError, match="--task"):
        recorded_successes(tmp_path / "v", 5, **PLAIN)


def test_a_ramp_is_perfect_on_them_and_the_controls_find_it_out(tmp_path, capsys):
    folder, out = videos(tmp_path / "v"), tmp_path / "r.json"
    argv = ["--recorded", str(folder), "--task", "lift it", "--n-frames", "6", "--model", "ramp"]
    assert main(["eval", "quality", *argv, "--no-controls", "--out", str(out)]) == 0
    summary = json.loads(out.read_text())["rows"][0]["summary"]
    value = {name: number["value"] for name, number in summary.items()}
    assert (value["voc_expert"], value["mae"]) == (pytest.approx(1.0), 0.0)
    assert (value["static_rise"], value["voc_reversed"]) == (100.0, pytest.approx(1.0))
    assert value["headline"] is value["auc"] is value["auc_task"] is None
    capsys.readouterr()
    assert main(["report", "quality", str(out), "--worst", "1"]) == 0
    assert "taken for successes" in check_page(out.with_suffix(".html"), n_players=1).text


def test_clips_of_a_recording_are_its_own_frames(tmp_path):
    folder, out = videos(tmp_path / "v"), tmp_path / "r.json"
    argv = ["--recorded", str(folder), "--task", "lift it", "--n-frames", "6", "--model", "random"]
    assert main(["eval", "quality", *argv, "--no-controls", "--out", str(out)]) == 0
    folder.rename(tmp_path / "moved")
    moved = ["--data", str(tmp_path / "moved")]
    assert main(["report", "quality", str(out), "--worst", "1", *moved]) == 0
    check_page(out.with_suffix(".html"), n_players=2)


@pytest.mark.parametrize(
    "flags",
    [["--recorded", "r", "--data", "d"], ["--recorded", "r", "--tasks", "metaworld/push"],
     ["--task", "lift it"], ["--wrist", "hand"]],
)  # fmt: skip
def test_two_sources_or_half_of_one_are_refused(flags, capsys):
    assert main(["eval", "quality", "--model", "ramp", *flags]) == 2
    assert "--recorded" in capsys.readouterr().err


def test_tasks_without_a_name_are_told_apart_by_their_sentences(tmp_path, capsys):
    with EpisodeWriter(tmp_path / "set", 10.0) as writer:
        for k, task in enumerate(["lift it", "push it", "lift it"]):
            writer.add(replace(make_example_episode(6, 16, seed=k), task=task, env_name=""))
    argv = ["--data", str(tmp_path / "set"), "--model", "oracle", "--no-controls", "--json"]
    assert main(["eval", "quality", *argv]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert set(row["per_task"]) == {"recorded/lift-it", "recorded/push-it"}
    assert row["summary"]["mae"]["low"] == 0.0
