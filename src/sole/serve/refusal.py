"""How the server says no: a status, and one line with what came, what is expected, what to do."""

from __future__ import annotations

from fastapi import HTTPException

#: Seconds after which a client that was turned away may come back.
RETRY_AFTER_S = 1


def refusal(status: int, message: str) -> HTTPException:
    """The exception that becomes ``{"error": message}``; with 429 and 503 comes Retry-After."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in {429, 503} else None
    return HTTPException(status, message, headers)
