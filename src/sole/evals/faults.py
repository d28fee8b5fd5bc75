"""What a served reward model survives: ``python -m sole.evals.faults``.

Each fault is done to a real ``sole serve``. It is survived when the answer is the refusal that it
should be (or there is nobody left to answer), and the server judges the same frame afterwards as
before. The last fault kills the server itself while ``sole rl`` trains on it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image
from pydantic import Field
from rich.table import Table

from sole.client import RemoteRewardModel
from sole.config import Config, parse_config
from sole.console import progress_bar, run_module, stdout
from sole.errors import SoleError
from sole.evals.figures import Figure, record_figures
from sole.evals.serving import serve

TASK = "open the drawer"
_PATIENCE_S = 180.0


class FaultsConfig(Config):
    """Do to a sole serve what breaks servers, and count what it survives."""

    model: str = "nano"
    """What is served."""
    sessions: int = Field(1000, gt=0)
    """Sessions that are open at the same time."""
    film_frames: int = Field(10_000, gt=600)
    """Frames of the film that is too long."""
    episodes: int = Field(16, ge=4)
    """Training episodes of the run during which the server is killed."""
    figures: Path | None = None
    """Record faults.tried and faults.survived in this figures file."""


class Broken(Exception):  # noqa: N818  an outcome, not a fault of this program
    """The server did not do what it should."""


def main(argv: Sequence[str]) -> int:
    """Try everything, print, record; 1 if anything was not survived."""
    config = parse_config(FaultsConfig, argv, "python -m sole.evals.faults")
    outcomes = try_all(config)
    table = Table("fault", "outcome", title=f"faults of {config.model}")
    for name, complaint in outcomes.items():
        table.add_row(name, complaint or "survived")
    stdout.print(table)
    n_survived = sum(complaint is None for complaint in outcomes.values())
    stdout.print(f"{n_survived} of {len(outcomes)} survived")
    if config.figures:
        figures = [
            Figure("faults.tried", float(len(outcomes)), "faults"),
            Figure("faults.survived", float(n_survived), "faults"),
        ]
        record_figures(config.figures, figures, " ".join(["python -m sole.evals.faults", *argv]))
    return int(n_survived < len(outcomes))


def try_all(config: FaultsConfig) -> dict[str, str | None]:
    """Each fault, and what was wrong; None where it was survived."""
    outcomes: dict[str, str | None] = {}
    with progress_bar("faults", total=len(_requests(config)) + 2) as advance:
        with serve(config.model) as (url, _), _client(url) as http:
            usual = _judged(http)
            for name, do in _requests(config).items():
                outcomes[name] = _outcome(lambda do=do: do(http, url), http, usual)
                advance(1)
        for name, kill in (
            ("server killed during a session", _kill_during_session),
            ("server killed during sole rl", _kill_during_training),
        ):
            outcomes[name] = _said(lambda kill=kill: kill(config))
            advance(1)
    return outcomes


def _outcome(do: Callable[[], None], http: httpx.Client, usual: float) -> str | None:
    complaint = _said(do)
    if complaint is None:
        complaint = _said(lambda: _expect(_judged(http) == usual, "judges otherwise afterwards"))
    return complaint


def _said(do: Callable[[], None]) -> str | None:
    try:
        do()
    except (Broken, SoleError, httpx.HTTPError, OSError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0][:120]
    return None


def _requests(config: FaultsConfig) -> dict[str, Callable[[httpx.Client, str], None]]:
    jpeg, png = _picture("JPEG"), _picture("PNG")
    return {
        "client killed mid-upload": _leave_mid_upload,
        "half JPEG": _refused(jpeg[: len(jpeg) // 2], "image/jpeg", 422),
        "half PNG": _refused(png[: len(png) // 2], "image/png", 422),
        "wrong content type": _refused(png, "text/plain", 415),
        "PNG that says it is a JPEG": _refused(png, "image/jpeg", 415),
        "1e6 x 1e6 image header": _refused(_huge_header(), "image/png", 413),
        "zip bomb": _refused(_zip_bomb(), "image/png", 422),
        "random bytes": _refused(np.random.default_rng(0).bytes(5000), "image/png", 415),
        "body that is no multipart": _no_multipart,
        "body larger than allowed": _too_large,
        "film that is too long": lambda http, _: _long_film(http, config.film_frames),
        "many parallel sessions": lambda http, _: _many_sessions(http, config.sessions),
        "unknown session": _unknown_session,
        "two answers lost": _lost_answers,
    }


def _client(url: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=64)
    return httpx.Client(base_url=url, timeout=_PATIENCE_S, trust_env=False, limits=limits)


def _expect(fine: bool, complaint: str) -> None:
    if not fine:
        raise Broken(complaint)


def _status(reply: httpx.Response, *wanted: int) -> httpx.Response:
    _expect(reply.status_code in wanted, f"{reply.status_code}: {reply.text[:80]}")
    if reply.status_code >= 400:
        said = reply.json().get("error")
        _expect(bool(said) and "\n" not in said, "the refusal is not one line")
    return reply


def _picture(kind: str, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _open(http: httpx.Client) -> str:
    reply = _status(http.post("/v1/sessions", json={"task": TASK}), 201)
    return f"/v1/sessions/{reply.json()['session_id']}"


def _step(http: httpx.Client, session: str, data: bytes, kind: str = "image/png", **headers: str):
    file = ("file", data, kind)
    return http.post(f"{session}/step", files=[("external", file)], headers=headers)


def _judged(http: httpx.Client) -> float:
    """Progress of one fixed frame after another: whether the server still does its work."""
    session = _open(http)
    for seed in (1, 2):
        reply = _status(_step(http, session, _picture("PNG", seed)), 200)
    _status(http.delete(session), 204)
    return reply.json()["progress"]


def _refused(data: bytes, kind: str, status: int) -> Callable[[httpx.Client, str], None]:
    """A bad picture in a step and in a whole episode; the session goes on afterwards."""

    def do(http: httpx.Client, url: str) -> None:
        session = _open(http)
        _status(_step(http, session, data, kind), status)
        good = _status(_step(http, session, _picture("PNG")), 200)
        _expect(good.json()["index"] == 0, "a refused picture counted as a frame")
        asked = json.dumps({"episodes": [{"task": TASK}]})
        files = [("request", (None, asked)), ("external", ("file", data, kind))]
        _status(http.post("/v1/score", files=files), status)  # type: ignore[arg-type]

    return do


def _leave_mid_upload(http: httpx.Client, url: str) -> None:
    head = (
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'Content-Disposition: form-data; name="external"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    line = socket.create_connection((where.hostname, where.port))
    line.sendall(head + bytes(100_000))
    # No good-bye: what a killed process leaves behind.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
    end = time.monotonic() + 30
    while "sole_gone_total 0" in http.get("/metrics").text:
        _expect(time.monotonic() < end, "the server still waits for the client that has gone")
        time.sleep(0.05)
    _expect("sole_busy_scores 0" in http.get("/metrics").text, "its place is still taken")


def _huge_header() -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\x10IDAT" + bytes(20)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + head + end


def _zip_bomb() -> bytes:
    text = b"zTXtc\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    whole = _picture("PNG")
    return whole[:33] + chunk + whole[33:]


def _no_multipart(http: httpx.Client, url: str) -> None:
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    _status(http.post("/v1/score", content=b"--y\r\n", headers=broken), 400, 422)
    _status(http.post("/v1/score", json={"episodes": []}), 415)


def _too_large(http: httpx.Client, url: str) -> None:
    limit = http.get("/v1/model").json()["limits"]["max_body_bytes"]
    file = ("file", bytes(limit + 1), "image/png")
    _status(http.post("/v1/score", files=[("external", file)]), 413)


def _long_film(http: httpx.Client, n_frames: int) -> None:
    asked = json.dumps({"episodes": [{"task": TASK}]})
    film = ("file", _film(n_frames), "video/mp4")
    files = [("request", (None, asked)), ("external", film)]
    _status(http.post("/v1/score", files=files), 413)  # type: ignore[arg-type]


def _film(n_frames: int) -> bytes:
    """A film whose frames are all the same encoded picture, so that it is quickly made."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", 30, options={"tune": "zerolatency"})
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            (packet,) = stream.encode(black.reformat(format="yuv420p"))
            for t in range(n_frames):
                again = av.Packet(bytes(packet))
                again.stream, again.pts, again.dts = stream, t, t
                again.time_base, again.is_keyframe = Fraction(1, 30), True
                container.mux(again)
        return path.read_bytes()


def _many_sessions(http: httpx.Client, n_sessions: int) -> None:
    """All open at once, each with a first frame; none is refused for good."""
    picture = _picture("PNG")

    def run(_: int) -> str:
        session = _open(http)
        for tries in range(200):
            reply = _status(_step(http, session, picture), 200, 429)
            if reply.status_code == 200:
                return session
            time.sleep(min(0.02 * (tries + 1), 1.0))
        raise Broken("a session was turned away 200 times")

    before = _n_open(http)
    with ThreadPoolExecutor(32) as pool:
        opened = list(pool.map(run, range(n_sessions)))
        n_more = _n_open(http) - before
        list(pool.map(http.delete, opened))
    _expect(n_more == n_sessions, f"{n_more} sessions are open instead of {n_sessions}")


def _n_open(http: httpx.Client) -> int:
    lines = http.get("/metrics").text.splitlines()
    return int(next(line for line in lines if line.startswith("sole_sessions ")).split()[1])


def _unknown_session(http: httpx.Client, url: str) -> None:
    _status(_step(http, "/v1/sessions/none", _picture("PNG")), 404)
    _status(http.delete("/v1/sessions/none"), 404)


def _lost_answers(http: httpx.Client, url: str) -> None:
    """Who asks again under the same id gets the same answer, and the frame counts once."""
    session = _open(http)
    again = {"Idempotency-Key": "lost"}
    replies = [_step(http, session, _picture("PNG"), **again).json() for _ in range(3)]
    _expect(replies[0] == replies[1] == replies[2], "a repeated request was judged again")
    _expect(_step(http, session, _picture("PNG")).json()["index"] == 1, "a frame was lost")


def _kill_during_session(config: FaultsConfig) -> None:
    frames = [{"external": np.full((48, 48, 3), 30 * t, np.uint8)} for t in range(4)]
    with serve(config.model) as (url, pid):
        model = RemoteRewardModel(url, patience_s=_PATIENCE_S)
        whole = [step.progress for step in _steps(model, frames)]
        session = model.start(TASK)
        found = [session.step(frame).progress for frame in frames[:2]]
        os.kill(pid, signal.SIGKILL)
    with serve(config.model, port=urlsplit(url).port or 0), model, session:
        found += [session.step(frame).progress for frame in frames[2:]]
        _expect(found == whole, "the answers after the restart are others")
        _expect(session.n_recoveries == 1, f"{session.n_recoveries} recoveries, expected 1")


def _steps(model: RemoteRewardModel, frames: Sequence[dict[str, np.ndarray]]) -> list:
    with model.start(TASK) as session:
        return [session.step(frame) for frame in frames]


def _kill_during_training(config: FaultsConfig) -> None:
    """The run goes on after the restart and ends with all its episodes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serve(config.model) as (url, pid), _client(url) as http:
            process = _train(folder, url, config.episodes)
            try:
                _wait_for_episodes(http, process)
            finally:
                os.kill(pid, signal.SIGKILL)
        with serve(config.model, port=urlsplit(url).port or 0) as (url, _), _client(url) as http:
            _expect(process.wait(_PATIENCE_S) == 0, f"sole rl ended with {process.returncode}")
            _expect(_n_scored(http) > 0, "nothing was judged after the restart")
        rounds = _rounds(folder / "run")
        trained = max((found["episode"] for found in rounds), default=0)
        _expect(trained == config.episodes, f"{trained} of {config.episodes} episodes recorded")
        _expect(all(found["dropped"] == 0 for found in rounds), "episodes lost their reward")


def _train(folder: Path, url: str, episodes: int) -> subprocess.Popen:
    flags = [
        "--env", "sole.evals.square:make_square", "--task", TASK, "--views", "front=picture",
        "--reward", url,
        "--run-dir", str(folder / "run"), "--episodes", str(episodes), "--n-envs", "2",
        "--random-episodes", "2", "--updates-per-episode", "1", "--batch-size", "8",
        "--eval-episodes", "1", "--max-steps", "8", "--eval-every", str(episodes),
        "--score-every", "1",
    ]  # fmt: skip
    command = [sys.executable, "-m", "sole.cli", "rl", *flags]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def _wait_for_episodes(http: httpx.Client, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE_S
    while _n_scored(http) == 0:
        _expect(process.poll() is None, f"sole rl ended with {process.returncode}")
        _expect(time.monotonic() < end, "sole rl asks nothing")
        time.sleep(0.05)


def _n_scored(http: httpx.Client) -> float:
    return http.get("/v1/model").json()["costs"]["episodes"]


def _rounds(folder: Path) -> list[dict]:
    """What the run recorded of each round of training episodes."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "episodes"]


if __name__ == "__main__":
    run_module(main, "faults")
