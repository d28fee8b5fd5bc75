"""What happens to every request: its body is limited, and it is counted."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sole.serve.metrics import RequestCounts
from sole.serve.refusal import refusal

# Clients may send any word as method; each would be a line of the metrics for ever.
_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS"})


class LimitBody:
    """Refuse bodies above a size: at once when the header says so, else while they come.

    Args:
        app: What reads the body.
        max_bytes: Largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; whoever reads too much of it gets an HTTPException 413."""
        announced, read = _content_length(scope), 0

        async def limited() -> Message:
            nonlocal read
            message = {} if announced > self._max_bytes else await receive()
            read += len(message.get("body", b""))
            if max(announced, read) > self._max_bytes:
                raise refusal(413, f"the body: expected at most {self._max_bytes} bytes")
            return message

        await self._app(scope, limited if scope["type"] == "http" else receive, send)


class CountRequests:
    """Count every answer by its route's pattern and status.

    Args:
        app: What answers.
        counts: Where to count.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts):
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unknown")
                seconds = time.perf_counter() - began
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._counts.add(method, route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, counted)


def _content_length(scope: Scope) -> int:
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
