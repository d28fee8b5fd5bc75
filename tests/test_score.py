"""``sole score`` from the shell: what it prints and writes, and one clear line for bad input."""

import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sole.cli import main
from sole.data.video import read_video, write_video
from sole.errors import BadInputError
from sole.report.outputs import OutputFiles

TASK = ("--task", "open the drawer")


def film(path, n_frames=6, width=48, height=40, seed=0):
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, height, width, 3), np.uint8)
    write_video(path, frames, 10.0)
    return str(path)


@pytest.fixture
def video(tmp_path):
    return film(tmp_path / "film.mp4")


def score(*arguments, model="ramp"):
    return main(["score", *arguments, "--model", model])


def said(capsys):
    """What went to stderr, which must never hold a traceback."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def refused(capsys, *arguments, model="ramp"):
    """Run a command that must fail with exit code 2 and one line; return that line."""
    assert score(*arguments, model=model) == 2
    lines = [line for line in said(capsys).splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


def printed_json(capsys, *arguments, model="ramp"):
    assert score(*arguments, "--json", model=model) == 0
    return json.loads(capsys.readouterr().out)


def test_the_table_shows_every_frame_and_a_summary(video, capsys):
    assert score(video, *TASK) == 0
    text = capsys.readouterr().out
    assert "open the drawer" in text
    assert all(f"{percent}%" in text for percent in (0, 20, 40, 60, 80, 100))
    assert "final progress 100%" in text.splitlines()[-1]


def test_json_holds_one_step_per_frame(video, capsys):
    result = printed_json(capsys, video, *TASK)
    assert [step["progress"] for step in result["steps"]] == [0, 20, 40, 60, 80, 100]
    assert result["steps"][3]["time_s"] == pytest.approx(0.3)
    assert result["model_id"] == "ramp"


def test_two_videos_are_external_and_wrist(tmp_path, capsys):
    paths = [film(tmp_path / f"{name}.mp4", seed=k) for k, name in enumerate(("a", "b"))]
    assert printed_json(capsys, *paths, *TASK)["views"] == ["external", "wrist"]


def test_a_side_by_side_video_is_cut_in_two(video, capsys):
    result = printed_json(capsys, video, *TASK, "--layout", "side-by-side")
    assert result["views"] == ["external", "wrist"]


def test_a_long_video_is_sampled_evenly_and_says_so(tmp_path, capsys):
    long = film(tmp_path / "long.mp4", n_frames=41)
    assert score(long, *TASK, "--max-frames", "5", "--json") == 0
    captured = capsys.readouterr()
    assert "41 frames: looking at 5" in captured.err
    assert [s["frame"] for s in json.loads(captured.out)["steps"]] == [0, 10, 20, 30, 40]


def test_all_outputs_are_written_and_nothing_else(tmp_path, video, capsys):
    names = {"--out": "s.parquet", "--overlay": "o.mp4", "--html": "p.html"}
    flags = [part for flag, name in names.items() for part in (flag, str(tmp_path / name))]
    assert score(video, *TASK, *flags) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"film.mp4", *names.values()}
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column("progress").to_pylist() == [0, 20, 40, 60, 80, 100]
    assert len(read_video(tmp_path / "o.mp4")[0]) == 6


def test_a_sampled_video_fills_every_row_of_the_parquet(tmp_path):
    long = film(tmp_path / "long.mp4", n_frames=21)
    assert score(long, *TASK, "--max-frames", "5", "--out", str(tmp_path / "s.parquet")) == 0
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.num_rows == 21
    assert sum(table.column("scored").to_pylist()) == 5
    assert table.column("progress").to_pylist()[2] == pytest.approx(10.0)


def test_out_json_holds_what_json_prints(tmp_path, video, capsys):
    result = printed_json(capsys, video, *TASK, "--out", str(tmp_path / "s.json"))
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["steps"] == result["steps"]


def test_one_frame_is_0_by_definition(tmp_path, capsys):
    result = printed_json(capsys, film(tmp_path / "one.mp4", n_frames=1), *TASK)
    assert [step["progress"] for step in result["steps"]] == [0.0]


def test_one_frame_can_be_drawn_and_written(tmp_path, capsys):
    one = film(tmp_path / "one.mp4", n_frames=1)
    flags = ["--overlay", str(tmp_path / "o.mp4"), "--html", str(tmp_path / "p.html")]
    assert score(one, *TASK, *flags) == 0
    assert "one frame only" in said(capsys)


@pytest.mark.parametrize(("width", "height"), [(47, 33), (2, 2), (200, 21)])
def test_odd_and_tiny_sizes_are_handled(width, height, tmp_path):
    path = film(tmp_path / "odd.mp4", 3, width, height)
    assert score(path, *TASK, "--overlay", str(tmp_path / "o.mp4")) == 0


def test_a_4k_video_is_shrunk_while_it_is_read(tmp_path):
    path = tmp_path / "4k.mp4"
    write_video(path, np.zeros((2, 2160, 3840, 3), np.uint8), 10.0)
    assert score(str(path), *TASK) == 0


def test_a_grey_video_is_handled(tmp_path):
    path = tmp_path / "grey.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "gray"
        for value in (0, 90, 180):
            picture = np.full((32, 32), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))
    assert score(str(path), *TASK) == 0


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_folder_of_grey_or_transparent_pictures_is_handled(mode, tmp_path, capsys):
    for k in range(3):
        Image.new(mode, (40, 40), 80 * k if mode == "L" else (80 * k, 0, 0, 99)).save(
            tmp_path / f"{k}.png"
        )
    assert printed_json(capsys, str(tmp_path), *TASK)["n_frames"] == 3


def test_a_still_video_is_remarked_upon(tmp_path, capsys):
    write_video(tmp_path / "still.mp4", np.full((3, 48, 48, 3), 90, np.uint8), 10.0)
    assert score(str(tmp_path / "still.mp4"), *TASK) == 0
    assert "nothing changes" in said(capsys)


def test_a_text_file_is_no_video(tmp_path, capsys):
    path = tmp_path / "notes.mp4"
    path.write_text("these are notes, not frames\n" * 50)
    assert "notes.mp4" in refused(capsys, str(path), *TASK)


def test_an_empty_file_is_refused(tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refused(capsys, str(tmp_path / "empty.mp4"), *TASK)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_video_is_refused(share, tmp_path, video, capsys):
    whole = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(share * len(whole))])
    assert "cut.mp4" in refused(capsys, str(tmp_path / "cut.mp4"), *TASK)


def test_a_missing_file_is_refused(tmp_path, capsys):
    assert "no such file" in refused(capsys, str(tmp_path / "none.mp4"), *TASK)


def test_a_name_that_no_file_can_have_is_refused(capsys):
    assert "cannot be read" in refused(capsys, "x" * 5000 + ".mp4", *TASK)


@pytest.mark.parametrize("task", [(), ("--task", "  ")])
def test_a_missing_task_is_asked_for(task, video, capsys):
    assert "task" in refused(capsys, video, *task)


def test_no_video_is_asked_for(capsys):
    assert "no video" in refused(capsys, *TASK)


def test_three_videos_are_too_many(video, capsys):
    assert "3 files" in refused(capsys, video, video, video, *TASK)


def test_a_view_given_twice_is_refused(video, capsys):
    assert "already" in refused(capsys, video, "--external", video, *TASK)


def test_views_of_different_length_are_refused(tmp_path, video, capsys):
    other = film(tmp_path / "other.mp4", n_frames=4)
    line = refused(capsys, video, other, *TASK)
    assert "6 frames" in line
    assert "4 frames" in line


def test_an_odd_width_cannot_be_side_by_side(tmp_path, capsys):
    array = tmp_path / "odd.npy"
    np.save(array, np.zeros((2, 8, 7, 3), np.uint8))
    assert "even width" in refused(capsys, str(array), *TASK, "--layout", "side-by-side")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--out", "none/s.parquet"), "no folder"),
        (("--out", "s.csv"), "ending in .parquet or .json"),
        (("--overlay", "o.gif"), "ending in .mp4"),
        (("--html", "p.txt"), "ending in .html"),
        (("--overlay", "film.mp4"), "overwrite"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_scoring(
    flags, complaint, tmp_path, video, capsys, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("loaded a model before the outputs were checked")

    monkeypatch.setattr("sole.report.score.load_reward_model", never)
    line = refused(capsys, video, *TASK, flags[0], str(tmp_path / flags[1]))
    assert complaint in line
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_an_unknown_model_is_refused_with_the_choices(video, capsys):
    assert "did you mean random" in refused(capsys, video, *TASK, model="randm")


@pytest.mark.parametrize("model", ["randm", "no/such/folder", "gvl", "constant:x"])
def test_a_wrong_model_is_named_before_a_long_video_is_read(model, video, capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("read the video before the model was known")

    monkeypatch.setattr("sole.report.score.read_episode", never)
    assert model in refused(capsys, video, *TASK, model=model)


@pytest.mark.parametrize(
    ("name", "task"),
    [("none.mp4", "open it"), ("film.mp4", " "), ("film.mp4", "pick the <image> cube")],
)
def test_what_is_wrong_at_first_sight_is_said_before_a_model_is_loaded(
    name, task, tmp_path, video, capsys, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("loaded a model first")

    monkeypatch.setattr("sole.report.score.load_reward_model", never)
    complaint = "no such file" if name == "none.mp4" else "task"
    assert complaint in refused(capsys, str(tmp_path / name), "--task", task)


def test_the_oracle_cannot_score_a_video(video, capsys):
    assert "truth" in refused(capsys, video, *TASK, model="oracle")


def test_a_number_out_of_range_names_the_flag(video, capsys):
    try:
        code = score(video, *TASK, "--max-frames", "1")
    except SystemExit as stop:  # the flag parser ends the process by itself
        code = stop.code
    assert code == 2
    assert "max_frames" in said(capsys)


def test_a_failure_while_writing_leaves_older_outputs_and_no_others(tmp_path, video, monkeypatch):
    (tmp_path / "s.json").write_text("older")

    def breaks(*_, **__):
        raise BadInputError("disk full")

    monkeypatch.setattr("sole.report.page.write_score_page", breaks)
    flags = ["--out", str(tmp_path / "s.json"), "--html", str(tmp_path / "p.html")]
    assert score(video, *TASK, *flags) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"film.mp4", "s.json"}
    assert (tmp_path / "s.json").read_text() == "older"


def test_output_files_disappear_with_an_interrupted_block(tmp_path):
    def interrupted():
        with OutputFiles() as files:
            files.temporary(tmp_path / "a.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


class _Faulty:
    """A reward model without an answer at the frames named."""

    model_id, views = "faulty", ()

    def __init__(self, failing):
        self.failing, self.t = failing, -1

    def start(self, task):
        return self

    def step(self, views):
        from sole.data.episode import StepScore

        self.t += 1
        if self.t in self.failing:
            return StepScore(None, error="the reply [b]broke[/b]")
        return StepScore(10.0 * self.t, reasoning="<b>[red]moves[/red]", uncertainty=3.0)


@pytest.mark.parametrize(("failing", "code"), [({2}, 0), (set(range(1, 9)), 1)])
def test_failed_frames_are_shown_and_only_a_full_failure_is_an_error(
    failing, code, tmp_path, video, capsys, monkeypatch
):
    monkeypatch.setattr("sole.report.score.load_reward_model", lambda *_, **__: _Faulty(failing))
    flags = ["--html", str(tmp_path / "p.html"), "--overlay", str(tmp_path / "o.mp4")]
    assert score(video, *TASK, *flags, model="nano") == code
    text = capsys.readouterr().out
    assert "no answer" in text
    assert "[b]broke[/b]" in text
    assert f"{len(failing & set(range(6)))} without an answer" in text
    assert ("no progress could be read" in text) == (code == 1)


def test_every_asks_only_for_some_frames_and_the_last(video, capsys, monkeypatch):
    model = _Faulty(set())
    monkeypatch.setattr("sole.report.score.load_reward_model", lambda *_, **__: model)
    steps = printed_json(capsys, video, *TASK, "--every", "2", model="nano")["steps"]
    assert [s["frame"] for s in steps if s["scored"]] == [0, 2, 4, 5]
    assert steps[1]["progress"] == pytest.approx(5.0)


@pytest.mark.parametrize(("flags", "think"), [((), True), (("--no-think",), False)])
def test_the_model_thinks_unless_told_not_to(flags, think, video, monkeypatch):
    asked = []

    def load(name, **options):
        asked.append(options["think"])
        return _Faulty(set())

    monkeypatch.setattr("sole.report.score.load_reward_model", load)
    assert score(video, *TASK, *flags, model="nano") == 0
    assert asked == [think]
