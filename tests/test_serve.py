"""sole serve over real HTTP: what it answers, what it refuses, and what it survives."""

import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import httpx
import numpy as np
import pytest
from fastapi import HTTPException
from serving import SECRET, client, file, picture_bytes, serving, until
from tiny import make_tiny_nano

from sole.client import RemoteRewardModel
from sole.data.episode import StepScore, make_example_episode
from sole.data.video import read_video, write_video
from sole.errors import ConfigError, ServerError, VideoError
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import Constant, Oracle, Ramp
from sole.rewarders.sole import load_sole
from sole.serve import command
from sole.serve.config import ServeConfig, read_token
from sole.serve.pictures import Upload, decode_moment

TASK = "push the puck to the goal"
PNG, JPEG = "image/png", "image/jpeg"


class Gated:
    """A model that answers when its gate is open; counts how often it was stepped."""

    model_id, views = "gated", ()

    def __init__(self):
        self.costs, self.gate, self.n_steps = CostCounters(), threading.Event(), 0

    def start(self, task):
        return self

    def step(self, views):
        assert self.gate.wait(20)
        self.n_steps += 1
        return StepScore(float(self.n_steps))


class Broken(Gated):
    def step(self, views):
        raise RuntimeError("the weights\nmelted")


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return str(make_tiny_nano(tmp_path_factory.mktemp("nano")))


@pytest.fixture(scope="module")
def ramp():
    with serving(Ramp(), max_body_mb=10, max_frames=8, max_episodes=2) as running:
        yield running


@pytest.fixture(scope="module")
def guarded():
    with serving(Ramp(), token=SECRET) as running:
        yield running


@pytest.fixture
def http(ramp):
    with client(ramp) as session:
        yield session


def opened(http, **asked):
    reply = http.post("/v1/sessions", json={"task": TASK, **asked})
    assert reply.status_code == 201, reply.text
    return f"/v1/sessions/{reply.json()['session_id']}"


def refused(reply, status, *words):
    assert reply.status_code == status, reply.text
    message = reply.json()["error"]
    assert "\n" not in message
    assert all(word in message for word in words), message


def score(http, *files, request=None, **kwargs):
    asked = json.dumps({"episodes": [{"task": TASK}]} if request is None else request)
    return http.post("/v1/score", files=[("request", (None, asked)), *files], **kwargs)


def test_scores_over_http_are_those_in_process_to_the_last_bit(nano):
    episodes = [make_example_episode(n, 24, seed=n, truth=False) for n in (5, 3)]
    local = load_sole(nano)
    with serving(load_sole(nano)) as running, RemoteRewardModel(running.url) as remote:
        assert remote.score(episodes) == local.score(episodes)
        assert remote.model_id == local.model_id


def test_steps_over_http_are_those_in_process_to_the_last_bit(nano):
    episode = make_example_episode(4, 24, truth=False)
    moments = [{n: v[t] for n, v in episode.views.items()} for t in range(4)]
    here = load_sole(nano, think=True).start(TASK)
    with serving(load_sole(nano)) as running, RemoteRewardModel(running.url) as remote:
        there = remote.thinking().start(TASK)
        assert [there.step(m) for m in moments] == [here.step(m) for m in moments]


def slow_down(model):
    """Let a batch take so long that the other clients' steps arrive meanwhile."""
    judge = model.step_sessions

    def slowly(sessions, views):
        time.sleep(0.05)
        return judge(sessions, views)

    model.step_sessions = slowly


def test_sessions_of_many_clients_are_judged_in_few_batches_as_one_by_one(nano):
    episodes = [make_example_episode(4, 24, seed=k, truth=False) for k in range(6)]
    local = load_sole(nano)

    def run(episode):
        with RemoteRewardModel(running.url) as remote, remote.start(TASK) as session:
            frames = ({n: v[t] for n, v in episode.views.items()} for t in range(4))
            return [session.step(frame).progress for frame in frames]

    with serving(load_sole(nano)) as running, ThreadPoolExecutor(6) as pool:
        slow_down(running.service.usual)
        together = list(pool.map(run, episodes))
        counts = running.service.batcher.counts
    one_by_one = [local.score([e])[0].judged_progress for e in episodes]
    np.testing.assert_allclose(together, one_by_one, atol=0.01)
    assert counts.jobs == 24
    assert counts.batches <= 16


def test_a_video_is_scored(http, tmp_path):
    write_video(tmp_path / "film.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    reply = score(http, file((tmp_path / "film.mp4").read_bytes(), "video/mp4"))
    assert [s["progress"] for s in reply.json()["episodes"][0]["steps"]] == [0, 25, 50, 75, 100]


def test_pictures_of_several_episodes_are_scored_by_their_part_names(http):
    views = [{"external": "a"}, {"wrist": "b"}]
    request = {"episodes": [{"task": TASK, "views": v} for v in views]}
    reply = score(http, *[file(name="a")] * 2, *[file(name="b")] * 3, request=request)
    assert [len(e["steps"]) for e in reply.json()["episodes"]] == [2, 3]


def test_grey_and_transparent_pictures_are_taken(http):
    parts = [file(picture_bytes(mode="L")), file(picture_bytes(kind="JPEG"), JPEG)]
    assert score(http, *parts, file(picture_bytes(mode="RGBA"))).status_code == 200


@pytest.mark.parametrize("kind", ["", "application/octet-stream"])
def test_a_file_of_no_declared_type_is_known_by_its_first_bytes(kind, http, tmp_path):
    write_video(tmp_path / "film", np.zeros((5, 32, 32, 3), np.uint8), 10)
    for data in (picture_bytes(), picture_bytes(kind="JPEG"), (tmp_path / "film").read_bytes()):
        assert score(http, file(data, kind)).status_code == 200
    refused(score(http, file(b"words", kind)), 415, "PNG or JPEG")


def test_the_card_names_model_limits_and_costs(http):
    card = http.get("/v1/model").json()
    assert card["model_id"] == "ramp"
    assert card["limits"]["max_frames"] == 8
    assert card["costs"]["episodes"] >= 0


def test_health_ready_and_metrics_answer(http):
    assert http.get("/v1/health").json() == {"status": "alive"}
    assert http.get("/v1/ready").json() == {"status": "ready"}
    text = http.get("/metrics").text
    assert 'sole_requests_total{method="GET",route="/v1/ready",status="200"}' in text
    assert "sole_request_seconds_bucket" in text


def test_no_client_can_grow_the_metrics(http):
    before = len(http.get("/metrics").text.splitlines())
    for k in range(5):
        http.request(f"BREW{k}", f"/v1/{k}")
        http.get(f"/v1/nothing/{k}")
    assert len(http.get("/metrics").text.splitlines()) <= before + 17


def test_the_schema_describes_every_route(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/score", "/v1/sessions/{session_id}/step", "/metrics"} <= set(paths)
    assert "ScoreRequest" in http.get("/openapi.json").json()["components"]["schemas"]
    assert "multipart/form-data" in paths["/v1/score"]["post"]["requestBody"]["content"]


def bomb(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + head + check + b"\0\0\0\x10IDAT" + bytes(20)


def zip_bomb():
    """A small picture with 50 MB of text packed into 50 kB."""
    text = b"zTXtc\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    whole = picture_bytes()
    return whole[:33] + chunk + whole[33:]


@pytest.mark.parametrize(
    ("data", "kind", "status", "word"),
    [
        (picture_bytes(kind="JPEG")[:300], JPEG, 422, "cut short"),
        (picture_bytes()[:300], PNG, 422, "cut short"),
        (bomb(10**6, 10**6), PNG, 413, "too large"),
        (bomb(9000, 9000), PNG, 413, "too large"),
        (bomb(2000, 2000), PNG, 413, "2000x2000"),
        (zip_bomb(), PNG, 422, "too large"),
        (b"these are words", PNG, 415, "but it is none"),
        (picture_bytes(), JPEG, 415, "but it is none"),
        (picture_bytes(), "text/plain", 415, "text/plain"),
        (picture_bytes(kind="GIF"), "image/gif", 415, "image/gif"),
        (b"", PNG, 415, "but it is none"),
    ],
    ids=[
        "half-jpeg",
        "half-png",
        "million-px",
        "bomb-for-pillow",
        "above-our-limit",
        "zip-bomb",
        "words",
        "png-called-jpeg",
        "text",
        "gif",
        "empty",
    ],
)
def test_a_bad_picture_is_refused_in_one_line(data, kind, status, word, http):
    refused(score(http, file(data, kind)), status, word)
    session = opened(http)
    refused(http.post(f"{session}/step", files=[file(data, kind)]), status, word)
    assert http.post(f"{session}/step", files=[file()]).json()["index"] == 0


@pytest.mark.parametrize(("kind", "mime"), [("PNG", PNG), ("JPEG", JPEG)])
def test_random_damage_to_a_picture_is_a_refusal_or_harmless(kind, mime):
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(300):
        data = np.frombuffer(picture_bytes(kind=kind, size=(8, 8)), np.uint8).copy()
        data[rng.integers(8, len(data), 6)] = rng.integers(0, 256, 6)
        try:
            decode_moment([Upload("external", mime, data.tobytes())], ServeConfig())
            outcomes.add(200)
        except HTTPException as refused_as:
            outcomes.add(refused_as.status_code)
    assert 422 in outcomes
    assert outcomes <= {200, 413, 415, 422}


def long_film(path, n_frames):
    """A film whose frames are all the same encoded picture, so that it is quickly made."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", 30, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        (packet,) = stream.encode(black.reformat(format="yuv420p"))
        for t in range(n_frames):
            again = av.Packet(bytes(packet))
            again.stream, again.pts, again.dts = stream, t, t
            again.time_base, again.is_keyframe = Fraction(1, 30), True
            container.mux(again)
    return path.read_bytes()


def test_a_film_of_ten_thousand_frames_is_refused(http, tmp_path):
    film = long_film(tmp_path / "long.mp4", 10_000)
    assert score(http, file(long_film(tmp_path / "short.mp4", 8), "video/mp4")).status_code == 200
    refused(score(http, file(film, "video/mp4")), 413, "8 frames")


def test_a_film_that_is_cut_short_is_refused_without_the_servers_paths(http, tmp_path):
    write_video(tmp_path / "film.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    reply = score(http, file((tmp_path / "film.mp4").read_bytes()[:900], "video/mp4"))
    refused(reply, 422, "external")
    assert "/tmp" not in reply.text


@pytest.mark.parametrize("start", [b"", b"\0\0\0\x18ftypisom"], ids=["playlist", "marked"])
def test_a_playlist_called_mp4_opens_no_file(start, http, monkeypatch):
    opened_names, really_open = [], av.open
    monkeypatch.setattr(
        av, "open", lambda name, **k: opened_names.append(k) or really_open(name, **k)
    )
    data = start + b"ffconcat version 1.0\nfile upload.mp4\n"
    refused(score(http, file(data, "video/mp4")), 422 if start else 415, "external")
    assert all("concat" not in k["options"]["format_whitelist"] for k in opened_names)


def test_another_container_called_mp4_is_refused_by_its_reader(tmp_path):
    write_video(tmp_path / "film.mp4", np.zeros((2, 32, 32, 3), np.uint8), 10)
    with pytest.raises(VideoError, match="cannot be read"):
        read_video(tmp_path / "film.mp4", formats="matroska")
    assert len(read_video(tmp_path / "film.mp4", formats="mov,mp4")[0]) == 2


@pytest.mark.parametrize(
    ("request_part", "words"),
    [
        ({"episodes": []}, ["episodes"]),
        ({"episodes": [{"task": " "}]}, ["task"]),
        ({"episodes": [{"task": "\x1c"}]}, ["task"]),
        ({"episodes": [{"task": TASK}], "thnik": True}, ["thnik"]),
        ({"episodes": [{"task": TASK, "views": {"top": "external"}}]}, ["top"]),
        ({"episodes": [{"task": TASK, "views": {"wrist": "w"}}]}, ["no part 'w'"]),
        ([], ["request"]),
    ],
)
def test_a_wrong_request_part_is_refused_with_the_field(request_part, words, http):
    refused(score(http, file(), request=request_part), 422, *words)


def test_too_many_frames_episodes_or_bytes_are_refused(http):
    refused(score(http, *[file()] * 9), 413, "9 frames")
    many = {"episodes": [{"task": TASK}] * 3}
    refused(score(http, file(), request=many), 413, "3 episodes")
    refused(score(http, file(bytes(10_100_000))), 413, "bytes")


def test_views_of_different_length_or_size_are_refused(http):
    refused(score(http, file(), file(), file(name="wrist")), 422, "as many frames")
    refused(score(http, file(), file(picture_bytes(size=(8, 8)))), 422, "one size")


def test_a_body_of_another_type_is_refused(http):
    refused(http.post("/v1/score", json={}), 415, "multipart")
    refused(http.post("/v1/score", files=[file()]), 422, "request")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post("/v1/score", content=b"--y\r\n", headers=broken).status_code in {400, 422}
    refused(http.post(f"{opened(http)}/step", files=[("a", (None, "b"))]), 422, "pictures only")
    refused(http.post(f"{opened(http)}/step", files=[file(name="top")]), 422, "'top'")
    refused(http.post("/v1/sessions", json={"task": TASK, "think": "yes"}), 422, "think")


def test_a_session_keeps_the_views_of_its_first_frame(http):
    step, both = f"{opened(http)}/step", [file(), file(name="wrist")]
    assert http.post(step, files=both).status_code == 200
    refused(http.post(step, files=[file()]), 422, "began with external, wrist", "got external")
    assert http.post(step, files=both[::-1]).json()["index"] == 1


def test_a_first_frame_that_failed_binds_no_views():
    with serving(Broken()) as running, client(running) as http:
        step = f"{opened(http)}/step"
        for files in ([file()], [file(), file(name="wrist")]):
            refused(http.post(step, files=files), 500, "RuntimeError")


def test_an_unknown_session_says_what_to_do(http):
    refused(http.post("/v1/sessions/none/step", files=[file()]), 404, "open a new one")
    refused(http.delete("/v1/sessions/none"), 404, "no session")


def test_a_closed_session_is_gone_and_may_be_closed_again(http):
    session = opened(http)
    assert [http.delete(session).status_code for _ in range(2)] == [204, 204]
    refused(http.post(f"{session}/step", files=[file()]), 404, "was closed")


def test_an_idle_session_expires():
    with serving(Ramp(), idle_timeout_s=0.05) as running, client(running) as http:
        session = opened(http)
        until(lambda: len(running.service.sessions) == 0)
        refused(http.post(f"{session}/step", files=[file()]), 404, "expired")


def test_a_repeated_request_id_is_answered_again_without_a_step(http):
    session = opened(http)
    first, again = (
        http.post(f"{session}/step", files=[file()], headers={"Idempotency-Key": "k"})
        for _ in range(2)
    )
    assert first.json() == again.json()
    assert http.post(f"{session}/step", files=[file()]).json()["index"] == 1
    other = http.post(
        f"{session}/step", files=[file(picture_bytes(9))], headers={"Idempotency-Key": "k"}
    )
    refused(other, 422, "another request")


def test_a_repeated_opening_is_the_same_session(http):
    ask = {"json": {"task": TASK}, "headers": {"Idempotency-Key": "open-once"}}
    ids = [http.post("/v1/sessions", **ask).json()["session_id"] for _ in range(2)]
    assert ids[0] == ids[1]


def test_a_retry_while_the_first_try_is_under_way_joins_it():
    model = Gated()
    with serving(model) as running, client(running) as http, ThreadPoolExecutor(2) as pool:
        step = f"{opened(http)}/step"
        ask = {"files": [file()], "headers": {"Idempotency-Key": "once"}}
        both = [pool.submit(http.post, step, **ask) for _ in range(2)]
        until(lambda: running.service._busy["step"] == 2)
        model.gate.set()
        assert {b.result().json()["progress"] for b in both} == {1.0}
        assert model.n_steps == 1


def test_a_full_queue_turns_away_with_429_and_when_to_come_back():
    model = Gated()
    with serving(model, max_queue=2) as running, client(running) as http:
        step = f"{opened(http)}/step"
        with ThreadPoolExecutor(2) as pool:
            taken = [pool.submit(http.post, step, files=[file()]) for _ in range(2)]
            until(lambda: running.service._busy["step"] == 2)
            reply = http.post(step, files=[file()])
            refused(reply, 429, "waiting")
            assert reply.headers["Retry-After"] == "1"
            assert http.get("/v1/health").status_code == 200  # the event loop is free
            model.gate.set()
            assert [t.result().status_code for t in taken] == [200, 200]
        assert "sole_refused_total 1" in http.get("/metrics").text


def test_too_many_sessions_are_turned_away():
    with serving(Ramp(), max_sessions=1) as running, client(running) as http:
        opened(http)
        refused(http.post("/v1/sessions", json={"task": TASK}), 429, "open")


@pytest.mark.parametrize("sent", [None, "Bearer wrong", f"Basic {SECRET}", "Bearer \xe9".encode()])
def test_without_the_token_nothing_but_health_answers(sent, guarded):
    with client(guarded) as http:
        headers = {} if sent is None else {"Authorization": sent}
        for path in ("/v1/model", "/metrics"):
            refused(http.get(path, headers=headers), 401, "Bearer")
        refused(http.post("/v1/sessions", json={"task": TASK}, headers=headers), 401)
        assert http.get("/v1/health").status_code == 200
        assert http.get("/v1/ready").status_code == 200


@pytest.mark.parametrize("body", [b"{bad", b'{"task": "' + bytes(20_000)], ids=["bad", "long"])
def test_no_body_is_read_before_the_token(body, guarded):
    kind = {"Content-Type": "application/json"}
    with client(guarded) as http:
        refused(http.post("/v1/sessions", content=body, headers=kind), 401, "Bearer")


@pytest.mark.parametrize(
    ("body", "kind", "status", "word"),
    [
        (b"{bad", "application/json", 422, "JSON"),
        (b"{}", "application/json", 422, "task"),
        (b" " * 20_000, "application/json", 413, "bytes"),
        (b'{"task": "t"}', "text/plain", 415, "application/json"),
    ],
)
def test_a_wrong_body_of_a_session_is_refused_in_one_line(body, kind, status, word, http):
    refused(http.post("/v1/sessions", content=body, headers={"Content-Type": kind}), status, word)


def test_with_the_token_everything_answers(guarded):
    with client(guarded, SECRET) as http:
        assert http.get("/v1/model").status_code == 200


def test_a_model_that_breaks_is_one_line_and_the_next_step_is_judged(caplog):
    with serving(Broken()) as running, client(running) as http:
        session = opened(http)
        for _ in range(2):
            reply = http.post(f"{session}/step", files=[file()])
            refused(reply, 500, "RuntimeError: the weights")
        assert "sole_failed_jobs_total 2" in http.get("/metrics").text
    assert "melted" in caplog.text


def half_a_request(running):
    line = socket.create_connection(("127.0.0.1", running.port))
    line.sendall(
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    return line


def test_a_client_that_leaves_while_it_sends_frees_its_place(http, ramp):
    before = ramp.service.n_gone
    with half_a_request(ramp):
        until(lambda: ramp.service._busy["score"] == 1)
    until(lambda: ramp.service.n_gone == before + 1)
    assert ramp.service._busy["score"] == 0
    assert http.get("/v1/health").status_code == 200


def test_a_client_that_leaves_before_its_answer_does_not_stop_the_work():
    model = Gated()
    with serving(model) as running, client(running) as http:
        step = f"{opened(http)}/step"
        ask = {"files": [file()], "headers": {"Idempotency-Key": "mine"}}
        with pytest.raises(httpx.ReadTimeout):
            http.post(step, timeout=0.2, **ask)
        model.gate.set()
        assert http.post(step, **ask).json() == http.post(step, **ask).json()
        assert model.n_steps == 1


def test_a_body_that_does_not_come_is_given_up():
    with serving(Ramp(), upload_timeout_s=0.1) as running, half_a_request(running) as line:
        assert b" 408 " in line.recv(4000)


def test_stopping_finishes_accepted_work():
    model = Gated()
    with serving(model) as running, client(running) as http, ThreadPoolExecutor(2) as pool:
        sessions = [opened(http) for _ in range(2)]
        taken = [pool.submit(http.post, f"{s}/step", files=[file()]) for s in sessions]
        until(lambda: running.service._busy["step"] == 2)
        running.server.should_exit = True
        threading.Timer(0.3, model.gate.set).start()
        assert [t.result().status_code for t in taken] == [200, 200]
        running.stop()
        with pytest.raises(httpx.ConnectError):
            http.get("/v1/health")


def test_a_server_of_one_way_refuses_the_other(nano):
    with serving(load_sole(nano), think="fast") as running, client(running) as http:
        assert list(http.get("/v1/model").json()["models"]) == ["fast"]
        refused(http.post("/v1/sessions", json={"task": TASK, "think": True}), 422, "--think fast")


def test_a_model_without_sessions_says_so():
    with serving(Oracle()) as running, client(running) as http:
        refused(http.post("/v1/sessions", json={"task": TASK}), 422, "truth")


def test_a_missing_view_is_named():
    model = Constant(10)
    model.views = ("wrist",)
    with serving(model) as running, client(running) as http:
        refused(score(http, file()), 422, "wrist")
        refused(http.post(f"{opened(http)}/step", files=[file()]), 422, "wrist")


@pytest.mark.parametrize(
    ("host", "token", "insecure", "fine"),
    [
        ("127.0.0.1", None, False, True),
        ("::1", None, False, True),
        ("0.0.0.0", None, False, False),
        ("0.0.0.0", SECRET, False, True),
        ("0.0.0.0", None, True, True),
        ("127.0.0.1", "short", False, False),
    ],
)
def test_others_may_only_reach_a_server_with_a_token(host, token, insecure, fine, monkeypatch):
    monkeypatch.delenv("SOLE_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("SOLE_TOKEN", token)
    config = ServeConfig(host=host, insecure=insecure)
    if fine:
        assert read_token(config) == token
    else:
        with pytest.raises(ConfigError, match="token"):
            read_token(config)


def test_the_token_of_a_file_comes_before_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLE_TOKEN", SECRET)
    (tmp_path / "token").write_text("another-long-enough-secret\n")
    assert read_token(ServeConfig(token_file=tmp_path / "token")) == "another-long-enough-secret"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(ServeConfig(token_file=tmp_path / "none"))


def test_answers_are_sent_at_once_and_do_not_wait_for_an_acknowledgement():
    with (
        command.listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):  # asyncio sets TCP_NODELAY only on sockets that name their protocol
        assert accepted.proto == socket.IPPROTO_TCP


def test_a_port_that_is_taken_is_one_line(ramp):
    with pytest.raises(ServerError, match="cannot listen"):
        command.main(["--model", "ramp", "--port", str(ramp.port)])


@pytest.mark.parametrize("model", ["oracle", "http://127.0.0.1:9"])
def test_what_cannot_be_served_is_refused(model):
    with pytest.raises(ConfigError, match="cannot be served"):
        command.main(["--model", model, "--port", "0"])
