"""Our pages in a real headless browser: no console errors, and the controls do what they say."""

import html
import re
import shutil
import subprocess

import pytest
from test_report import make_score, write_run

from sole.data.episode import make_example_episode
from sole.report.page import write_score_page
from sole.report.training import write_training_report

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser: apt install chromium")

#: Drives the first player as a person would and writes what came of it where a dump shows it.
_DRIVE = """
<script>
const seen = [], player = document.querySelector("section.player");
const find = (selector) => player.querySelector(selector);
const slider = find("input[type=range]"), words = find(".reasoning");
const state = () => [slider.value, find("output").textContent, words.textContent,
  find("img[data-view]").src.length > 100, find("img[data-view]").src];
seen.push(state());
slider.value = 2; slider.dispatchEvent(new Event("input")); seen.push(state());
document.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
seen.push(state());
player.querySelector("button").click();
setTimeout(() => {
  seen.push(state());
  const note = document.createElement("pre");
  note.id = "driven";
  const line = (s) => [s[0], s[1], s[2], s[3], s[4] === seen[0][4]].join("|");
  note.textContent = seen.map(line).join("\\n");
  document.body.append(note);
}, 1500);
</script>
"""


def drive(page, tmp_path):
    """Return (lines of the driven player's states, console messages)."""
    driven = tmp_path / "driven.html"
    driven.write_text(page.read_text().replace("</body>", _DRIVE + "</body>"))
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu",
               "--enable-logging=stderr", "--virtual-time-budget=6000",
               f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
               driven.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    note = re.search(r'<pre id="driven">(.*?)</pre>', done.stdout, re.DOTALL)
    assert note, (done.stdout[-2000:], console)
    return [line.split("|") for line in html.unescape(note.group(1)).splitlines()], console


def check_driven(states, console, last):
    assert console == []
    assert [state[0] for state in states[:3]] == ["0", "2", "3"]
    assert states[0][1].startswith("1 / ")
    assert states[1][1].startswith("3 / ")
    assert all(state[3] == "true" for state in states), "a picture is missing"
    assert states[1][4] == "false", "the picture does not follow the slider"
    assert 3 < int(states[3][0]) <= last, "play does not play"


@needs_browser
@pytest.mark.slow
def test_score_page_plays(tmp_path):
    episode = make_example_episode(10, 32, seed=1)
    path = tmp_path / "page.html"
    write_score_page(path, [episode], [make_score(episode, 'says <b>"this"</b> & that.')], "t")
    states, console = drive(path, tmp_path)
    check_driven(states, console, 9)
    assert states[1][2] == 'says <b>"this"</b> & that.'


@needs_browser
@pytest.mark.slow
def test_training_report_plays(tmp_path):
    path = tmp_path / "report.html"
    write_training_report(write_run(tmp_path / "run"), path)
    states, console = drive(path, tmp_path)
    check_driven(states, console, 100)


@needs_browser
@pytest.mark.slow
def test_a_broken_page_is_noticed(tmp_path):
    episode = make_example_episode(10, 32, seed=1)
    path = tmp_path / "page.html"
    write_score_page(path, [episode], [make_score(episode)], "t")
    path.write_text(path.read_text().replace("</head>", "<script>nothing.here()</script></head>"))
    assert any("nothing is not defined" in line for line in drive(path, tmp_path)[1])
