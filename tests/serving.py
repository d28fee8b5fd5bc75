"""A real server in a thread of the test, on a free port of this machine."""

from __future__ import annotations

import io
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
from PIL import Image

from sole.serve.command import listen, make_server
from sole.serve.config import ServeConfig

SECRET = "a-secret-of-enough-characters"


class Running:
    """The server of :func:`serving`: its address, and how to stop it."""

    def __init__(self, server, listener):
        self.server = server
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.service = server.config.app.state.service
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        until(lambda: server.started)

    def stop(self):
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"


@contextmanager
def serving(model, token=None, port=0, **settings):
    listener = listen("127.0.0.1", port)
    running = Running(make_server(model, ServeConfig(**settings), token), listener)
    try:
        yield running
    finally:
        running.stop()


def until(happens, limit_s=20.0):
    end = time.monotonic() + limit_s
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def client(running, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=running.url, headers=headers, timeout=20, trust_env=False)


def picture_bytes(seed=0, size=(24, 24), kind="PNG", mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def file(data=None, kind="image/png", name="external"):
    return (name, ("file", picture_bytes() if data is None else data, kind))
