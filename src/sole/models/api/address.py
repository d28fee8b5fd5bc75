"""``openai:http://HOST:PORT/v1#MODEL``: where a served model is and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sole.errors import ConfigError
from sole.models.setting import Range, read_setting

PREFIX = "openai:"
EXAMPLE = "openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct"
OFFICIAL_HOST = "api.openai.com"


@dataclass(frozen=True)
class Address:
    """An endpoint and one of its models.

    Attributes:
        url: Up to ``/v1``, without a slash at the end.
        model: As the endpoint calls it.
        concurrency: Requests under way at the same time.
        timeout_s: For one try of one request.
        retries: Further tries of a request that failed in passing.
    """

    url: str
    model: str
    concurrency: int = 8
    timeout_s: float = 120.0
    retries: int = 5

    @property
    def host(self) -> str:
        """Host, and port where it is said."""
        return urlsplit(self.url).netloc

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the key.

        ``OPENAI_API_KEY`` is meant for OpenAI alone and is sent nowhere else.
        """
        return "OPENAI_API_KEY" if self.host == OFFICIAL_HOST else "SOLE_API_KEY"


def parse_address(name: str) -> Address:
    """Take an address apart; ``?concurrency=16&timeout_s=300&retries=2`` may precede the ``#``.

    Raises:
        ConfigError: If it is none, or a setting is unknown or out of range.

    Example:
        >>> found = parse_address("openai:http://127.0.0.1:8000/v1?concurrency=2#lab/judge")
        >>> found.url, found.model, found.concurrency
        ('http://127.0.0.1:8000/v1', 'lab/judge', 2)
    """
    location, _, model = name.removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(location)
        good = parts.scheme in {"http", "https"} and parts.hostname and model
        parts.port  # noqa: B018 raises ValueError when it is no number
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"model {name}: expected an address and a model, such as {EXAMPLE}")
    if parts.username or parts.password:
        raise ConfigError(
            f"model openai:...@{parts.hostname}: an address holds no key; set SOLE_API_KEY instead"
        )
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    return Address(url, model, **_settings(name, settings))


def _settings(name: str, given: dict[str, str]) -> dict[str, Any]:
    ranges: dict[str, Range] = {
        "concurrency": (1, 256, int),
        "timeout_s": (0.1, 3600, float),
        "retries": (0, 20, int),
    }
    return {key: read_setting(name, key, text, ranges) for key, text in given.items()}
