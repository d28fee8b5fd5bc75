"""An OpenAI-compatible endpoint in this process whose answers a test decides."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Answer = tuple[int, dict[str, str], Any]


class FakeEndpoint:
    """Serves ``/v1/chat/completions`` on a loopback port.

    Args:
        answer: Status, headers and body (JSON-able, or bytes) for a request and its number from 0;
            None closes the connection without an answer.
    """

    def __init__(self, answer: Callable[[dict, int], Answer | None]):
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.most_at_once = self._now = 0
        lock, endpoint = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(endpoint.asked)
                    endpoint.asked.append(body)
                    endpoint.keys.append(self.headers.get("Authorization"))
                    endpoint._now += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint._now)
                found = answer(body, number) if self.path == "/v1/chat/completions" else not_found()
                with lock:
                    endpoint._now -= 1
                if found is None:
                    self.close_connection = True
                    return
                status, headers, content = found
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                with contextlib.suppress(ConnectionError):  # The test did not wait for it.
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.name = f"openai:http://{self.host}/v1#lab/judge"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def not_found() -> Answer:
    return 404, {}, {"error": {"message": "no such route"}}


def says(words: str | None, finish: str = "stop", **message) -> Answer:
    """A chat completion."""
    choice = {"message": {"content": words, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 7}
    return 200, {}, {"choices": [choice], "usage": usage}


def weighs(logprobs: dict[str, float]) -> Answer:
    """A chat completion of one token, with the likeliest tokens beside it."""
    tops = [{"token": token, "logprob": x} for token, x in logprobs.items()]
    content = [{"token": tops[0]["token"], "top_logprobs": tops}]
    return 200, {}, {"choices": [{"message": {"content": "x"}, "logprobs": {"content": content}}]}


def fails(status: int, message: str = "no", parameter: str | None = None, **headers) -> Answer:
    """An error as OpenAI writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"message": message, "param": parameter}}


def pictures_of(request: dict) -> list[np.ndarray]:
    """The pictures in a request, decoded."""
    parts = [part for message in request["messages"] for part in message["content"]]
    addresses = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    data = [base64.b64decode(a.removeprefix("data:image/png;base64,")) for a in addresses]
    return [np.array(Image.open(io.BytesIO(one))) for one in data]
