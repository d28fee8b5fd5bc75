"""Pages, overlays and pictures: whole, self-contained, escaped, and refusing damaged runs."""

import html.parser
import json
import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from sole.cli import main
from sole.data.episode import Episode, EpisodeScore, StepScore, make_example_episode
from sole.data.video import read_video
from sole.errors import ConfigError, DataError
from sole.report.chart import Axis, Series, line_chart, ticks
from sole.report.overlay import overlay_frames, wrapped, write_overlay
from sole.report.page import write_score_page
from sole.report.player import safe_json
from sole.report.run_data import read_run, rolling_mean
from sole.report.training import write_training_picture, write_training_report

EVIL = 'push </script><script>alert(1)</script> & "quote"'
_VOID = {"meta", "img", "input", "br", "link", "wbr"}


def make_score(episode, text="The gripper moves.", failing=()):
    steps = [
        StepScore(None, error="no number", reasoning=text)
        if t in failing
        else StepScore(10.0 * t, 0.1, text, uncertainty=4.0)
        for t in range(episode.n_frames)
    ]
    return EpisodeScore(tuple(steps), "model/1", episode.task)


class _Page(html.parser.HTMLParser):
    """What a browser would find: open elements, texts of scripts, addresses."""

    def __init__(self, text):
        super().__init__()
        self.text, self.stack, self.addresses, self.scripts = text, [], [], []
        self.players = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.players += tag == "section" and named.get("class") == "player"
        self.addresses += [named[k] for k in ("src", "href") if named.get(k)]
        if tag not in _VOID:
            self.stack.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        """A shape of an inline SVG: closes itself."""

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] += data


def check_page(path, n_players):
    """Assert that the page is well formed and loads nothing; return it."""
    page = _Page(path.read_text())
    assert page.stack == []
    assert page.addresses == []
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert page.players == n_players
    assert len(page.scripts) == n_players + 1
    assert not list(path.parent.glob(".*"))
    return page


def test_a_score_page_is_one_well_formed_file_with_all_frames(tmp_path):
    episodes = [make_example_episode(4), make_example_episode(3, truth=False)]
    write_score_page(
        tmp_path / "p.html", episodes, [make_score(e) for e in episodes], "Two attempts"
    )
    page = check_page(tmp_path / "p.html", n_players=2)
    data = json.loads(page.scripts[0])
    assert {name: len(frames) for name, frames in data["frames"].items()} == {
        "external": 4,
        "wrist": 4,
    }
    assert data["steps"][3] == {
        "p": 30.0, "true": 95.0, "success": 0.1, "spread": 4.0, "time": 0.3,
        "text": "The gripper moves.", "error": None,
    }  # fmt: skip
    assert json.loads(page.scripts[1])["steps"][0]["true"] is None
    assert "prefers-color-scheme: dark" in page.text


def test_no_text_of_a_user_or_model_becomes_markup(tmp_path):
    episode = replace(make_example_episode(3), task=EVIL)
    write_score_page(tmp_path / "p.html", [episode], [make_score(episode, EVIL)], EVIL)
    page = check_page(tmp_path / "p.html", n_players=1)
    assert "<script>alert" not in page.text
    assert json.loads(page.scripts[0])["steps"][0]["text"] == EVIL


def test_frames_without_an_answer_are_shown_as_such(tmp_path):
    episode = make_example_episode(3)
    write_score_page(tmp_path / "p.html", [episode], [make_score(episode, failing={1, 2})], "x")
    steps = json.loads(check_page(tmp_path / "p.html", 1).scripts[0])["steps"]
    assert [s["p"] for s in steps] == [0.0, None, None]
    assert steps[1]["error"] == "no number"


def test_a_page_wants_one_step_per_frame(tmp_path):
    score = make_score(make_example_episode(2))
    with pytest.raises(ValueError, match="one step per frame"):
        write_score_page(tmp_path / "p.html", [make_example_episode(3)], [score], "x")
    with pytest.raises(ValueError, match="at least one"):
        write_score_page(tmp_path / "p.html", [], [], "x")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_json_in_a_page_survives_and_cannot_end_its_element(text):
    written = safe_json({"text": text})
    assert "<" not in written
    assert json.loads(written) == {"text": text}


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_rising_and_inside_the_range(low, span):
    found = ticks(low, low + span)
    assert found == sorted(set(found))
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= t <= low + span + slack for t in found)
    assert len(found) <= 12


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12),
    st.text(alphabet="ab<>&\"'"),
)
def test_a_chart_is_well_formed_and_its_lines_stay_inside(values, label):
    x, y = np.arange(len(values), dtype=float), np.array(values, dtype=float)
    series = [Series(label, x, y, "judged"), Series("b", x, y, "true", dots=True)]
    text = line_chart(series, Axis(label, 0, 10), Axis("y", 0, 1), title=label, cursor=True)
    root = ElementTree.fromstring(text)
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx")) <= 480
        assert 0 <= float(circle.get("cy")) <= 230
    assert "nan" not in "".join(p.get("d", "") for p in root.iter("path"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), max_size=20),
    st.integers(1, 6),
)
def test_a_rolling_mean_ignores_what_is_missing(values, window):
    smooth = rolling_mean(np.array(values), window)
    for k, value in enumerate(smooth):
        known = [v for v in values[max(0, k - window + 1) : k + 1] if v == v]
        assert np.isnan(value) if not known else value == pytest.approx(np.mean(known))


def test_a_rolling_mean_wants_a_window():
    with pytest.raises(ValueError, match="window"):
        rolling_mean(np.zeros(3), 0)


def test_an_overlay_has_every_frame_and_even_sides(tmp_path):
    episode = make_example_episode(5, size_px=31)
    write_overlay(tmp_path / "o.mp4", episode, make_score(episode, failing={2}))
    frames, fps = read_video(tmp_path / "o.mp4", max_side_px=2000)
    assert len(frames) == 5
    assert fps == pytest.approx(10.0)
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert frames.shape[1] > 256


def test_an_overlay_of_a_slow_film_does_not_crawl(tmp_path):
    episode = replace(make_example_episode(3), fps=0.2)
    write_overlay(tmp_path / "o.mp4", episode, make_score(episode))
    assert read_video(tmp_path / "o.mp4")[1] == pytest.approx(4.0)


def test_the_curve_of_an_overlay_grows_with_time():
    still = np.zeros((4, 64, 64, 3), np.uint8)
    episode = Episode("push", {"external": still})
    coloured = [int(np.sum(np.all(f == (240, 161, 78), -1))) for f in
                overlay_frames(episode, make_score(episode, ""))]  # fmt: skip
    assert coloured[0] < coloured[1] < coloured[3]


@pytest.mark.parametrize(("width", "height"), [(1, 300), (300, 1), (640, 480), (8, 8)])
def test_an_overlay_takes_any_shape_of_view(width, height):
    episode = Episode(EVIL * 5, {"wrist": np.zeros((2, height, width, 3), np.uint8)})
    frames = list(overlay_frames(episode, make_score(episode, "word " * 300 + "x" * 500)))
    assert len({f.shape for f in frames}) == 1
    assert all(side <= 2000 for side in frames[0].shape)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 4))
def test_wrapped_lines_fit(text, max_lines):
    font = ImageFont.load_default(15)
    lines = wrapped(text, font, 120, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(font.getlength(line) <= 120 for line in lines)


TASK = "close the <faucet>"


def write_rollout(folder, name, episode):
    made = make_example_episode(5, seed=episode)
    np.savez_compressed(
        folder / f"{name}.npz",
        **made.views,
        true_progress=made.truth.true_progress,
        true_success=made.truth.true_success,
        judged_progress=np.array([0, 20, np.nan, 60, 80], np.float32),
    )
    words = ["start", "moves", "", "closer", "almost"]
    notes = {"task": TASK, "reasoning": words, "episode": episode, "step": 50 * episode}
    (folder / f"{name}.json").write_text(json.dumps(notes))


def write_run(folder, n_rounds=20, rollouts=("start", "middle", "end")):
    (folder / "rollouts").mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"env": "metaworld/faucet-close", "reward": "nano", "seed": 3})
    )
    lines = []
    for k in range(1, n_rounds + 1):
        common = {"step": 400 * k, "episode": 8 * k, "wall_s": 1000.0 + 30.0 * k}
        lines.append(
            common | {"kind": "episodes", "judged_success": min(1.0, k / n_rounds + 0.1),
                      "true_success": k / n_rounds, "judged_progress_final": 50.0,
                      "true_progress_final": 40.0, "reward_model_seconds": 2.5}
        )  # fmt: skip
        if k % 10 == 0:
            rate = k / n_rounds
            lines.append(
                common | {"kind": "eval", "true_success": rate,
                          "true_success_low": rate - 0.1, "true_success_high": rate,
                          "held_success": rate, "judged_success": rate,
                          "judged_progress_final": 90.0, "n_episodes": 20}
            )  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for k, name in enumerate(rollouts):
        write_rollout(folder / "rollouts", name, 80 * k)
    return folder


def test_a_training_report_says_what_was_learned_and_shows_it(tmp_path):
    (tmp_path / "out").mkdir()
    write_training_report(write_run(tmp_path / "run"), tmp_path / "out" / "r.html")
    page = check_page(tmp_path / "out" / "r.html", n_players=3)
    assert "close the &lt;faucet&gt;" in page.text
    assert "<b>100%</b>true success over 20 evaluation episodes (95%: 90% to 100%)" in page.text
    assert "<b>10</b>minutes" in page.text
    assert "what nano said" in page.text
    assert json.loads(page.scripts[2])["steps"][3]["text"] == "closer"


def test_minutes_do_not_count_the_pause_before_a_resumption(tmp_path):
    folder = write_run(tmp_path / "run")
    timed = [{"step": k, "kind": "episodes", "episode": k, "true_success": 0.0, "wall_s": 9e5 * k,
              "collect_seconds": 40.0, "reward_model_seconds": 20.0} for k in (1, 2)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, timed)))
    assert read_run(folder).minutes == pytest.approx(2.0)


def test_an_unfinished_run_is_reported_as_far_as_it_came(tmp_path):
    folder = write_run(tmp_path / "run", n_rounds=1, rollouts=("start",))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "kind": "epi')
    write_training_report(folder, tmp_path / "r.html")
    check_page(tmp_path / "r.html", n_players=1)


def test_a_run_without_evaluations_or_rollouts_still_has_a_report(tmp_path):
    folder = write_run(tmp_path / "run", n_rounds=2, rollouts=())
    write_training_report(folder, tmp_path / "r.html")
    assert "metaworld/faucet-close" in check_page(tmp_path / "r.html", n_players=0).text


def without_truth(folder):
    """A run in an environment of the user's, of which nothing true is known."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    unknown = [{k: None if "true" in k or k == "held_success" else v for k, v in line.items()}
               for line in lines]  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, unknown)))
    for path in (folder / "rollouts").glob("*.npz"):
        with np.load(path) as arrays:
            kept = {k: v for k, v in arrays.items() if not k.startswith("true_")}
        np.savez_compressed(path, **kept)
    return folder


def test_a_report_claims_nothing_true_where_nothing_true_is_known(tmp_path):
    write_training_report(without_truth(write_run(tmp_path / "run")), tmp_path / "r.html")
    page = check_page(tmp_path / "r.html", n_players=3)
    assert "At the end: after 160 episodes</h3>" in page.text
    assert "nothing true is known" in page.text
    for claim in ("solved", "true success", "true, evaluated", "come from the simulator"):
        assert claim not in page.text


def test_a_run_is_shown_by_a_command(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    assert main(["report", "run", str(folder)]) == 0
    assert f"wrote {folder / 'report.html'}" in capsys.readouterr().err
    assert "after 160 episodes, not solved" in check_page(folder / "report.html", 3).text


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["none"], "none: no such folder; name the --run-dir of a sole rl"),
        (["."], "config.json: cannot be read"),
        ([".", "--html", "page.txt"], "expected a name ending in .html"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(argv, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "run", *argv]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_numbers_do_not_break_a_report(tmp_path):
    folder = write_run(tmp_path / "run", n_rounds=3)
    line = {"step": 9999, "episode": 99, "kind": "eval", "true_success": 0.5, "n_episodes": 20,
            "judged_progress_final": float("nan")}  # fmt: skip
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    write_training_report(folder, tmp_path / "r.html")
    page = check_page(tmp_path / "r.html", n_players=3)
    assert "nan%" not in page.text
    assert "NaN" not in page.text


def damage_middle_line(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], "{broken", *lines[1:]]))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "config.json").unlink(), "is it a run"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "metrics.jsonl").unlink(), "metrics.jsonl"),
        (lambda f: (f / "metrics.jsonl").write_text(""), "no episodes"),
        (damage_middle_line, "line 2"),
        (lambda f: (f / "rollouts/end.npz").write_bytes(b"PK\x03\x04"), "not a recorded roll-out"),
        (lambda f: (f / "rollouts/end.json").unlink(), "end.json"),
        (lambda f: np.savez(f / "rollouts/end.npz", external=np.zeros(3)), "not a recorded"),
    ],
    ids=["no config", "bad config", "no metrics", "empty", "bad line", "npz", "words", "arrays"],
)
def test_a_damaged_run_is_one_clear_line_and_no_page(damage, complaint, tmp_path):
    folder = write_run(tmp_path / "run", n_rounds=2)
    damage(folder)
    with pytest.raises(DataError, match=complaint):
        write_training_report(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("changed", [lambda folder: folder, without_truth])
def test_a_training_picture_is_a_png(changed, tmp_path):
    pytest.importorskip("matplotlib")
    write_training_picture(changed(write_run(tmp_path / "run")), tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    assert {p.name for p in tmp_path.iterdir()} == {"run", "p.png"}


@pytest.mark.parametrize("rollouts", [(), ("start",)])
def test_a_training_picture_leaves_out_what_a_run_lacks(rollouts, tmp_path):
    pytest.importorskip("matplotlib")
    folder = write_run(tmp_path / "run", n_rounds=1, rollouts=rollouts)
    write_training_picture(folder, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000


def test_without_matplotlib_the_picture_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ConfigError, match="pip install"):
        write_training_picture(write_run(tmp_path / "run"), tmp_path / "p.png")
