"""Prompts as the JSON of an OpenAI-compatible endpoint, and its replies as ours."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sole.models.backend import Generated, Prompt

TOP_LOGPROBS = 20
"""The most that OpenAI gives, and what vLLM allows by default."""


def write_messages_json(prompt: Prompt) -> list[dict[str, Any]]:
    """The messages with their pictures inside, as lossless PNG data addresses."""
    pictures = iter(prompt.images)
    return [
        {"role": m["role"], "content": [_part(part, pictures) for part in m["content"]]}
        for m in prompt.messages
    ]


def picture_address(picture: np.ndarray) -> str:
    """A picture as ``data:image/png;base64,...``.

    Example:
        >>> picture_address(np.zeros((1, 1, 3), np.uint8))[:26]
        'data:image/png;base64,iVBO'
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def read_reply(body: Mapping[str, Any]) -> Generated:
    """The words of a chat completion; one without words is an error that says why."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        words = message.get("content")
        why = choice.get("finish_reason")
        n_tokens = int((body.get("usage") or {}).get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return Generated("", error="the endpoint's answer is no chat completion")
    if isinstance(words, list):  # Some endpoints answer in parts.
        words = "".join(p.get("text") or "" for p in words if isinstance(p, Mapping))
    if not isinstance(words, str) or not words.strip():
        refusal = message.get("refusal")
        reason = f"it refused: {refusal}" if refusal else f"it ended with {why}"
        return Generated("", n_tokens, f"the reply has no words ({reason})")
    return Generated(words, n_tokens)


def read_first_token(body: Mapping[str, Any], candidates: Sequence[str]) -> list[float] | None:
    """Log-probability of each candidate as the first token; None if there are no probabilities.

    Tokens that differ in blanks only, such as ``True`` and `` True``, count together. NaN for a
    candidate that is not among the likeliest tokens.

    Example:
        >>> top = [{"token": "True", "logprob": -1.0}, {"token": "No", "logprob": -2.0}]
        >>> body = {"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}
        >>> read_first_token(body, ["True", "False"])
        [-1.0, nan]
    """
    try:
        tops = body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        known = [(str(top["token"]).strip(), float(top["logprob"])) for top in tops]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return [_total([x for token, x in known if token == word.strip()]) for word in candidates]


def read_error(body: Any, status: int, secret: str | None = None) -> tuple[str, str | None]:
    """What an endpoint says is wrong, on one short line, and the parameter it names.

    Args:
        body: Its JSON, or None.
        status: Of the answer.
        secret: What must not be repeated.
    """
    error = body.get("error", body) if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        said = str(error.get("message") or "no reason given")
        parameter = error.get("param")
    else:
        said, parameter = str(error or "no reason given"), None
    if secret:  # Before it is cut, or half of it might stay.
        said = said.replace(secret, "***")
    words = "".join(c for c in " ".join(said.split()) if c.isprintable())
    return f"{status}: {words[:200]}", parameter if isinstance(parameter, str) else None


def _part(part: Mapping[str, Any], pictures: Any) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    return {"type": "image_url", "image_url": {"url": picture_address(next(pictures))}}


def _total(logprobs: Sequence[float]) -> float:
    """Logarithm of the summed probabilities; NaN for none."""
    if not logprobs:
        return math.nan
    highest = max(logprobs)
    if highest == -math.inf:
        return highest
    return highest + math.log(sum(math.exp(x - highest) for x in logprobs))
