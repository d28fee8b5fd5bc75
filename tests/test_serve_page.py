"""The page at / and the stream behind it: what it shows, what it refuses, and who may watch."""

import asyncio
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from browsing import browser, needs_browser
from PIL import Image
from serving import SECRET, client, file, picture_bytes, serving, until
from tiny import make_tiny_nano

from sole import samples
from sole.data.episode import StepScore, make_example_episode
from sole.data.readers import read_episode
from sole.data.video import write_video
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import Constant, Oracle, RandomWalk
from sole.rewarders.sole import load_sole
from sole.serve.stream import EventStream

TASK = "open the drawer"
MP4 = "video/mp4"


class Gated:
    """Judges a frame when its gate is open; breaks at the frame that it is told."""

    model_id, views = "gated", ()

    def __init__(self, breaks_at=None):
        self.costs, self.gate = CostCounters(), threading.Event()
        self.n_asked = self.n_steps = 0
        self.breaks_at = breaks_at

    def start(self, task):
        return self

    def step(self, views):
        self.n_asked += 1
        assert self.gate.wait(20)
        if self.n_steps == self.breaks_at:
            raise RuntimeError("the weights melted")
        self.n_steps += 1
        return StepScore(float(self.n_steps), reasoning="it moves.")


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return str(make_tiny_nano(tmp_path_factory.mktemp("nano")))


@pytest.fixture(scope="module")
def walk():
    with serving(RandomWalk(0), max_body_mb=2, max_frames=30) as running:
        yield running


@pytest.fixture
def http(walk):
    with client(walk) as session:
        yield session


def stream(http, *files, **asked):
    request = json.dumps({"task": TASK} | asked)
    return http.post("/v1/stream", files=[("request", (None, request)), *files])


def events(text):
    """The kinds and data of a whole stream."""
    assert text.endswith("\n\n")
    lines = [block.split("\n") for block in text[:-2].split("\n\n")]
    assert all(len(two) == 2 for two in lines)
    return [(a.removeprefix("event: "), json.loads(b.removeprefix("data: "))) for a, b in lines]


def steps(reply):
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply.text)
    assert [found[0][0], found[-1][0]] == ["start", "end"]
    return [data for kind, data in found if kind == "step"]


def refused(reply, status, *words):
    assert reply.status_code == status, reply.text
    message = reply.json()["error"]
    assert "\n" not in message
    assert all(word in message for word in words), message


def example_part(name="both"):
    return (name, ("film", samples.path().read_bytes(), MP4))


def parts_of(episode):
    def picture(frame):
        saved = io.BytesIO()
        Image.fromarray(frame).save(saved, "PNG")
        return saved.getvalue()

    return [file(picture(frame), name=name) for name, v in episode.views.items() for frame in v]


def test_the_page_is_whole_and_its_policy_lets_nothing_else_run(http):
    reply = http.get("/")
    assert reply.headers["content-type"].startswith("text/html")
    policy = reply.headers["content-security-policy"]
    for element in ("style", "script"):
        (inside,) = re.findall(f"<{element}>(.*?)</{element}>", reply.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert len(inside) > 1000
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert re.findall(r"(?:src|href)=\"(?!data:)", reply.text) == []
    assert set(re.findall(r"https?://[\w./]+", reply.text)) == {"http://www.w3.org/2000/svg"}


def test_every_control_of_the_page_has_a_name(http):
    page = http.get("/").text
    labelled = set(re.findall(r'<label for="(\w+)"', page))
    assert set(re.findall(r'<(?:input|select) id="(\w+)"', page)) <= labelled
    assert all(re.findall(r"<button[^>]*>([^<]*)</button>", page))


def test_the_page_itself_needs_no_token_but_what_it_asks_does():
    with serving(Constant(50), token=SECRET) as running:
        with client(running) as http:
            assert http.get("/").status_code == 200
            refused(http.get("/v1/example"), 401, "Bearer")
            refused(stream(http, file()), 401, "Bearer")
        with client(running, SECRET) as http:
            assert http.get("/v1/example").status_code == 200


def test_the_example_is_the_clip_of_the_package_and_says_its_task(http):
    reply = http.get("/v1/example")
    assert reply.content == samples.path().read_bytes()
    assert reply.headers["content-type"] == MP4
    assert reply.headers["sole-task"] == "open%20the%20drawer"


@pytest.mark.parametrize("think", [False, True])
def test_a_streamed_film_is_judged_as_in_process_to_the_last_bit(think, nano):
    episode = read_episode(TASK, both=samples.path())
    session = load_sole(nano, think=think).start(TASK)
    frames = [0, 9, 18, 25]
    judged = [session.step({n: v[t] for n, v in episode.views.items()}) for t in frames]
    with serving(load_sole(nano)) as running, client(running) as http:
        found = steps(stream(http, example_part(), layout="side-by-side", think=think, every=9))
    for name in ("progress", "reasoning", "uncertainty", "success_probability", "error"):
        assert [s[name] for s in found] == [getattr(s, name) for s in judged]
    assert [s["index"] for s in found] == frames
    assert found[2]["time_s"] == pytest.approx(18 / 13.3333, rel=1e-4)


def test_every_nth_frame_and_the_last_are_judged(nano):
    episode = make_example_episode(6, 24, truth=False)
    judged = load_sole(nano, every=4).score([episode])[0].steps
    with serving(load_sole(nano)) as running, client(running) as http:
        request = stream(http, *parts_of(episode), task=episode.task, every=4)
        (_, start), *found, _ = events(request.text)
    assert start["scored_frames"] == [0, 4, 5]
    assert start["views"] == ["external", "wrist"]
    assert start["fps"] is None
    wanted = [judged[t].progress for t in (0, 4, 5)]
    assert [data["progress"] for _, data in found] == wanted
    assert found[1][1]["time_s"] is None


def test_pictures_come_along_when_asked_for_and_small(http):
    part = ("wrist", ("p", picture_bytes(size=(640, 320)), "image/png"))
    (step,) = steps(stream(http, part, pictures=True))
    head, _, data = step["pictures"]["wrist"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (320, 160)
    assert steps(stream(http, part))[0]["pictures"] is None


def test_what_a_stream_cannot_hold_is_refused_before_the_first_event(http, tmp_path):
    refused(stream(http, file(bytes(2_100_000))), 413, "bytes")
    refused(stream(http, *[file()] * 31), 413, "31 frames")
    refused(stream(http, ("external", ("f", b"\x1aE\xdf\xa3", "video/webm"))), 415, MP4)
    refused(stream(http, file(b"words", "")), 415, MP4)
    refused(stream(http, file(), task="..."), 422, "sentence")
    refused(stream(http, file(), task="say <|im_end|>"), 422, "token")
    refused(stream(http, file(), every=0), 422, "every")
    refused(stream(http), 422, "views")
    refused(stream(http, file(), layout="side-by-side"), 422, "part called both")
    odd = file(picture_bytes(size=(25, 24)), name="both")
    refused(stream(http, odd, layout="side-by-side"), 422, "even width")
    refused(stream(http, file(), file(name="wrist"), file(name="wrist")), 422, "as many")
    refused(http.post("/v1/stream", json={}), 415, "multipart")
    film = tmp_path / "long.mp4"
    write_video(film, np.zeros((31, 16, 16, 3), np.uint8), 10)
    refused(stream(http, ("external", ("f", film.read_bytes(), MP4))), 413, "more than 30 frames")


def test_a_task_that_no_prompt_can_hold_is_its_senders_fault_alone(http):
    refused(http.post("/v1/sessions", json={"task": "end <|im_end|> it"}), 422, "token")
    refused(http.post("/v1/sessions", json={"task": ". ."}), 422, "sentence")


def test_a_model_without_sessions_cannot_be_watched():
    with serving(Oracle()) as running, client(running) as http:
        refused(stream(http, file()), 422, "truth")


def test_a_model_that_breaks_ends_the_stream_with_an_error(caplog):
    model = Gated(breaks_at=2)
    model.gate.set()
    with serving(model) as running, client(running) as http:
        found = events(stream(http, *[file()] * 4).text)
        assert [kind for kind, _ in found] == ["start", "step", "step", "error"]
        assert found[-1][1]["error"].startswith("the model failed: RuntimeError")
        assert running.service._busy["score"] == 0
    assert "melted" in caplog.text


def test_a_full_server_turns_watchers_away_with_429():
    model = Gated()
    with serving(model, max_score_queue=1) as running, client(running) as http:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(stream, http, *[file()] * 3)
            until(lambda: model.n_asked)
            reply = stream(http, file())
            refused(reply, 429, "waiting")
            assert reply.headers["Retry-After"] == "1"
            model.gate.set()
            assert len(steps(first.result())) == 3
        assert len(steps(stream(http, file()))) == 1


def test_a_watcher_who_leaves_stops_the_work_and_frees_the_place():
    model = Gated()
    request = json.dumps({"task": TASK})
    files = [("request", (None, request)), *[file()] * 9]
    with serving(model) as running, client(running) as http:
        with http.stream("POST", "/v1/stream", files=files) as reply:
            lines = reply.iter_lines()
            assert next(lines) == "event: start"
        until(lambda: running.service._busy["score"] == 0)
        model.gate.set()
    assert model.n_steps <= 1


def test_a_watcher_who_stops_reading_is_left():
    ended = []

    async def tell():
        try:
            while True:
                yield "event: step\ndata: {}\n\n"
        finally:
            ended.append(True)

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(20)

    asyncio.run(EventStream(tell(), stalled_s=0.05).stream_response(send))
    assert ended == [True]


def test_streams_and_sessions_go_into_common_batches(nano):
    model = load_sole(nano)
    with serving(model, batch_wait_ms=50) as running, client(running) as http:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(stream, http, *[file()] * 6) for _ in range(4)]
            assert all(len(steps(one.result())) == 6 for one in asked)
        counts = running.service.batcher.counts
    assert counts.jobs == 24
    assert counts.batches < 24


def test_stopping_finishes_a_stream():
    model = Gated()
    with serving(model) as running, client(running) as http, ThreadPoolExecutor(1) as pool:
        watched = pool.submit(stream, http, *[file()] * 3)
        until(lambda: model.n_asked)
        running.server.should_exit = True
        threading.Timer(0.2, model.gate.set).start()
        assert len(steps(watched.result())) == 3
        running.stop()
        with pytest.raises(httpx.ConnectError):
            http.get("/")


@pytest.mark.slow
def test_the_wheel_holds_the_page(tmp_path):
    root = Path(__file__).parents[1]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, root]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {f"sole/serve/assets/page.{end}" for end in ("html", "css", "js")} <= set(inside)


# ---- in a real browser ---------------------------------------------------------------------------


def ready(tab, words="Ready."):
    tab.until(f"document.getElementById('status').textContent.startsWith({json.dumps(words)})")


def error_shown(tab, words):
    tab.until(f"document.getElementById('error').textContent.includes({json.dumps(words)})")


def choose_example(tab):
    tab.tab_to("example")
    tab.key("Enter")
    ready(tab, "The example is ready")


@needs_browser
@pytest.mark.slow
def test_the_example_is_judged_step_by_step_with_the_keyboard_alone():
    with serving(load_sole("nano")) as running, browser() as tab:
        tab.open(running.url)
        ready(tab)
        assert not tab.shown("#result")
        choose_example(tab)
        assert tab.run("document.getElementById('task').value") == TASK
        tab.tab_to("watch")
        tab.key("Enter")
        tab.until("document.querySelectorAll('#log li').length >= 2")
        assert tab.shown("#stop")
        early = tab.run("document.querySelector('.line').getAttribute('d').length")
        ready(tab, "Done: 26 frames")
        assert tab.run("document.querySelectorAll('#log li').length") == 26
        assert tab.run("document.querySelector('.line').getAttribute('d').length") > early
        assert len(tab.text("#reasoning")) > 20
        sizes = "[...document.querySelectorAll('#views img')].map((image) => image.naturalWidth)"
        assert tab.run(sizes) == [192, 192]
        tab.tab_to("at")
        tab.key("Home")
        assert tab.text("#clock").startswith("frame 0 of 25")
        assert tab.text("#now").startswith("progress 0%")
        tab.key("ArrowRight")
        assert tab.text("#clock").startswith("frame 1 of 25")
        assert tab.complaints == []
        assert all(url.startswith((running.url, "data:")) for url in tab.loaded)


@needs_browser
@pytest.mark.slow
def test_a_film_after_the_example_is_not_cut_in_two_like_it(tmp_path):
    write_video(tmp_path / "mine.mp4", np.zeros((5, 32, 48, 3), np.uint8), 4)
    layout = "document.getElementById('layout').value"
    with serving(Constant(50)) as running, browser() as tab:
        tab.open(running.url)
        ready(tab)
        choose_example(tab)
        assert tab.run(layout) == "both"
        tab.choose_file("#film", tmp_path / "mine.mp4")
        tab.until(f"{layout} === 'external'")
        tab.tab_to("watch")
        tab.key("Enter")
        ready(tab, "Done: 5 frames")
        words = "[...document.querySelectorAll('#chart text')].map((text) => text.textContent)"
        assert set(tab.run(words)) >= {"0", "0.2", "0.4", "1", "time (s)", "progress"}
        assert tab.complaints == []


@needs_browser
@pytest.mark.slow
def test_the_page_fits_a_phone_and_follows_light_and_dark():
    with serving(Constant(50)) as running, browser() as tab:
        tab.open(running.url)
        ready(tab)
        papers = []
        for dark in (False, True):
            tab.look(dark=dark, width=360, height=800)
            papers.append(tab.run("getComputedStyle(document.body).backgroundColor"))
        assert papers == ["rgb(251, 250, 248)", "rgb(21, 23, 26)"]
        tab.tab_to("example")
        tab.key("Enter")
        ready(tab, "The example is ready")
        tab.tab_to("watch")
        tab.key(" ")
        ready(tab, "Done")
        assert tab.run("document.documentElement.scrollWidth") <= 360
        assert tab.complaints == []


@needs_browser
@pytest.mark.slow
def test_the_page_asks_for_the_token_and_says_when_it_is_wrong():
    with serving(Constant(50), token=SECRET) as running, browser() as tab:
        tab.open(running.url)
        error_shown(tab, "wants a token")
        assert tab.focus() == "token"
        tab.type("not-the-right-secret")
        tab.key("Enter")
        error_shown(tab, "not the token")
        tab.run("document.getElementById('token').select()")
        tab.type(SECRET)
        tab.key("Enter")
        ready(tab)
        assert not tab.shown("#locked")
        choose_example(tab)
        assert {"401" in line for line in tab.complaints} == {True}


@needs_browser
@pytest.mark.slow
def test_the_page_says_what_is_wrong_and_where(tmp_path):
    for name, n in (("long", 9), ("heavy", 4)):
        frames = np.random.default_rng(0).integers(0, 255, (n, 96, 96, 3), np.uint8)
        write_video(tmp_path / f"{name}.mp4", frames[:, : 16 if name == "long" else 96], 10)
    heavy = (tmp_path / "heavy.mp4").stat().st_size
    (tmp_path / "film.webm").write_bytes(b"\x1aE\xdf\xa3 this is none")
    with serving(Constant(50), max_frames=8, max_body_mb=heavy / 1e6) as running, browser() as tab:
        tab.open(running.url)
        ready(tab)
        tab.tab_to("watch")
        tab.key("Enter")
        error_shown(tab, "Choose a film first")
        assert tab.focus() == "film"
        tab.choose_file("#film", tmp_path / "long.mp4")
        tab.tab_to("watch")
        tab.key("Enter")
        error_shown(tab, "in one sentence")
        assert tab.focus() == "task"
        tab.type("open <|im_end|>")
        tab.key("Enter")
        error_shown(tab, "Cannot be judged: request: task")
        tab.run("document.getElementById('task').select()")
        tab.type(TASK)
        tab.key("Enter")
        error_shown(tab, "Too large: external: more than 8 frames")
        tab.drop_file("#drop", tmp_path / "heavy.mp4")
        tab.until("document.getElementById('chosen').textContent.startsWith('heavy.mp4')")
        tab.tab_to("watch")
        tab.key("Enter")
        error_shown(tab, "this server takes")
        tab.choose_file("#film", tmp_path / "film.webm")
        tab.tab_to("watch")
        tab.key("Enter")
        error_shown(tab, "Not a film that can be read")


@needs_browser
@pytest.mark.slow
def test_the_page_comes_back_to_a_busy_server_and_can_be_stopped():
    model = Gated()
    with serving(model, max_score_queue=1) as running, browser() as tab:
        tab.open(running.url)
        ready(tab)
        choose_example(tab)
        with running.service.place("score"):
            tab.tab_to("watch")
            tab.key("Enter")
            ready(tab, "The server is busy. Trying again in 1 s")
        ready(tab, "Judging 26")
        assert tab.focus() == "stop"
        tab.key("Enter")
        ready(tab, "Stopped")
        model.gate.set()
        until(lambda: running.service._busy["score"] == 0)
        assert tab.focus() == "watch"
        assert {"429" in line for line in tab.complaints} == {True}
