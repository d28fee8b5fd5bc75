"""Recorded clips with a curve beside them: reading their layout, and the numbers."""

import json

import numpy as np
import pytest

from sole.cli import main
from sole.data.clips import read_clip_folder, read_clips
from sole.data.episode import EpisodeScore, StepScore
from sole.data.scores import read_scores, write_scores
from sole.data.video import write_video
from sole.errors import DataError
from sole.evals.clips import clips_row
from sole.review.recorded import run_clips_report
from sole.rewarders.controls import Constant

GOOD = [0, 20, 60, 100, 100]
BAD = [0, 10, 30, 20, 5]


def make_clip(folder, progress, *, wide=True, beside=False, task="lift the cube"):
    folder.mkdir(parents=True)
    width = 128 if wide else 64
    frames = np.random.default_rng(len(progress)).integers(
        0, 255, (len(progress), 64, width, 3), dtype=np.uint8
    )
    video = folder.with_name(folder.name + ".mp4") if beside else folder / "clip.mp4"
    write_video(video, frames, fps=2)
    about = {"task description": task, "ground-truth rewards": progress}
    (folder / "data.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def clips(tmp_path):
    make_clip(tmp_path / "lift" / "success" / "14", GOOD, beside=True)
    make_clip(tmp_path / "lift" / "failure" / "00", BAD)
    return tmp_path


def test_clips_are_found_at_any_depth_with_both_views_and_their_truth(clips):
    failed, lifted = read_clips(clips)
    assert failed.env_name == "clips/lift/failure/00"
    assert lifted.env_name == "clips/lift/success/14"
    assert lifted.task == "lift the cube"
    assert set(lifted.views) == {"external", "wrist"}
    assert lifted.views["wrist"].shape == (5, 64, 64, 3)
    assert lifted.truth.true_progress.tolist() == GOOD
    assert lifted.truth.true_success.tolist() == [False, False, False, True, True]
    assert not failed.truth.any_success


def test_a_video_that_is_not_twice_as_wide_is_one_view(tmp_path):
    clip = read_clip_folder(make_clip(tmp_path / "c", GOOD, wide=False))
    assert set(clip.views) == {"external"}


def test_the_authors_own_plot_is_not_the_video(tmp_path):
    folder = make_clip(tmp_path / "c", GOOD)
    write_video(folder / "plot.mp4", np.zeros((3, 32, 32, 3), np.uint8), fps=2)
    assert read_clip_folder(folder).n_frames == 5


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"ground-truth rewards": GOOD}, "task description"),
        ({"task description": "x", "ground-truth rewards": [0, 101]}, "0 to 100"),
        ({"task description": "x", "ground-truth rewards": [0, True]}, "0 to 100"),
        ({"task description": "x", "ground-truth rewards": GOOD[:4]}, "5 frames"),
        ([1], "task description"),
    ],
)
def test_a_clip_that_is_not_as_described_is_one_clear_line(tmp_path, broken, said):
    folder = make_clip(tmp_path / "c", GOOD)
    (folder / "data.json").write_text(json.dumps(broken))
    with pytest.raises(DataError, match=said):
        read_clip_folder(folder)


def test_two_videos_or_none_are_refused(tmp_path):
    folder = make_clip(tmp_path / "c", GOOD)
    write_video(folder / "other.mp4", np.zeros((3, 32, 32, 3), np.uint8), fps=2)
    with pytest.raises(DataError, match="expected one video"):
        read_clip_folder(folder)
    for path in folder.glob("*.mp4"):
        path.unlink()
    with pytest.raises(DataError, match="found none"):
        read_clip_folder(folder)


def test_a_folder_without_clips_is_bad_input(tmp_path, capsys):
    assert main(["eval", "clips", str(tmp_path)]) == 2
    assert "no data.json" in capsys.readouterr().err


def scored(curve) -> EpisodeScore:
    return EpisodeScore(tuple(StepScore(float(v)) for v in curve), "m")


def test_numbers_of_a_judge_that_is_ten_points_low(clips):
    read = list(read_clips(clips))
    low = [scored(np.asarray(curve, float) - 10.0) for curve in (BAD, GOOD)]
    row = clips_row("m", read, low, judged_at=85.0)
    assert row.numbers["mae"][0] == pytest.approx(10.0)
    assert row.numbers["episode_pearson"][0] == pytest.approx(1.0)
    assert row.numbers["pooled_spearman"][0] == pytest.approx(1.0)
    assert row.numbers["bias_success"][0] == pytest.approx(-10.0)
    assert (row.shares["success_recall"].k, row.shares["success_recall"].n) == (1, 1)
    assert row.shares["false_positives"].k == 0


def test_verb_prints_and_writes_every_model(clips, tmp_path, capsys):
    out = tmp_path / "result.json"
    assert main(["eval", "clips", str(clips), "--model", "oracle", "--out", str(out)]) == 0
    assert "pooled_spearman" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["clips"] == ["clips/lift/failure/00", "clips/lift/success/14"]
    assert found["rows"][0]["mae"]["value"] == 0.0
    assert [row["model_id"] for row in found["rows"]][1] == "ramp"


def test_no_table_is_without_a_ramp_and_chance(clips, capsys):
    assert main(["eval", "clips", str(clips), "--model", "oracle", "--no-controls", "--json"]) == 0
    said = capsys.readouterr()
    models = [row["model_id"] for row in json.loads(said.out)["rows"]]
    assert models == ["oracle", "ramp", "random:0"]
    assert "--no-controls: without constant:0; ramp and random stay" in said.err


def test_the_model_gets_the_threads_that_are_asked_for(clips, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    assert main(["eval", "clips", str(clips), "--model", "ramp", "--threads", "1", "--json"]) == 0
    assert asked == [1]
    assert json.loads(capsys.readouterr().out)["config"]["threads"] == 1


def test_one_clip_has_no_interval_that_would_look_certain(tmp_path):
    make_clip(tmp_path / "c", GOOD)
    row = clips_row("m", list(read_clips(tmp_path)), [scored(GOOD)], judged_at=85.0)
    for name in ("pooled_spearman", "episode_pearson", "mae", "bias_success"):
        assert np.isnan(row.numbers[name][1:]).all(), name


def test_what_could_not_be_read_is_counted_and_what_was_said_lies_beside(clips, monkeypatch):
    class Talker(Constant):
        def score(self, episodes):
            steps = (StepScore(0.0), StepScore(None, error="no number"),
                     *[StepScore(40.0, reasoning="It is held.")] * 3)  # fmt: skip
            return [EpisodeScore(steps, self.model_id) for _ in episodes]

    monkeypatch.setattr("sole.evals.clips.load_reward_model", lambda *_, **__: Talker(40))
    out = clips / "r.json"
    assert main(["eval", "clips", str(clips), "--no-controls", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["rows"][0]["n_errors"] == 2
    said = read_scores(clips / "r.scores.parquet")
    assert said[0].steps[1].error == "no number"
    assert main(["report", "clips", str(out), "--worst", "1"]) == 0
    assert "It is held." in out.with_suffix(".html").read_text()
    write_scores(clips / "r.scores.parquet", said[:1])
    with pytest.raises(DataError, match="does not belong to r"):
        run_clips_report([str(out)])


def test_a_calibration_of_another_model_is_refused(clips, capsys):
    flags = ["--model", "ramp", "--calibration", "missing.json"]
    assert main(["eval", "clips", str(clips), *flags]) == 2
    assert "missing.json" in capsys.readouterr().err


def test_a_folder_that_is_one_clip_is_called_by_its_own_name(tmp_path):
    (clip,) = read_clips(make_clip(tmp_path / "c", GOOD))
    assert clip.env_name == "clips/c"
