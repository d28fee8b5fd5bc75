"""Settings of ``sole serve``, and what they must not be."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sole.config import Config
from sole.errors import ConfigError

TOKEN_VARIABLE = "SOLE_TOKEN"  # noqa: S105  the name of a variable, not a token
_MIN_TOKEN_CHARACTERS = 16


class ServeConfig(Config):
    """Serve a reward model over HTTP. A token is read from SOLE_TOKEN or --token-file."""

    model: str = "nano"
    """nano, a folder, a model on Hugging Face, METHOD:MODEL, an address, or a control such as ramp:
    sole models list names them all."""
    host: str = "127.0.0.1"
    """Address to listen on; one that others can reach needs a token or --insecure."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one and says which."""
    think: Literal["auto", "always", "fast"] = "auto"
    """auto: fast unless a client asks for reasoning; always or fast: whatever clients ask."""
    token_file: Path | None = None
    """A file whose first line every client must send as bearer token."""
    insecure: bool = False
    """Let anybody who can reach --host use the model without a token."""
    device: str = "auto"
    """cpu, cuda or mps; auto: nano on the cpu, other models on a GPU when there is one."""
    from_zero_weight: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the read that knows no earlier number."""
    licence: str | None = None
    """What the model card says; nano is Apache-2.0, other models state none by themselves."""
    max_batch: Annotated[int, Field(ge=1)] = 32
    """Steps, or episodes, that are judged together at most."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    """How long an idle model waits for company of a first request."""
    max_queue: Annotated[int, Field(ge=1)] = 64
    """Steps accepted and not yet answered; more are told to come back (429)."""
    max_score_queue: Annotated[int, Field(ge=1)] = 16
    """The same for requests that score whole episodes."""
    max_sessions: Annotated[int, Field(ge=1)] = 2048
    """Sessions open at the same time."""
    idle_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A session that takes no step for this long is closed."""
    upload_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """A request whose body takes longer is given up."""
    shutdown_s: Annotated[int, Field(ge=1)] = 60
    """When stopped, finish accepted work for at most this long."""
    max_body_mb: Annotated[float, Field(gt=0)] = 64.0
    """Largest body of a request."""
    max_episodes: Annotated[int, Field(ge=1)] = 16
    """Episodes in one request."""
    max_frames: Annotated[int, Field(ge=1)] = 512
    """Frames of one view of one episode."""
    max_picture_px: Annotated[int, Field(ge=1)] = 2**21
    """Pixels of one picture or video frame (width times height), read before it is decoded."""
    max_request_px: Annotated[int, Field(ge=1)] = 2**26
    """Pixels of all pictures and video frames of one request together."""
    max_side_px: Annotated[int, Field(ge=16)] = 512
    """Frames of videos are shrunk to this longest side; pictures keep their size."""

    @property
    def max_body_bytes(self) -> int:
        """``max_body_mb`` in bytes."""
        return int(self.max_body_mb * 1e6)


def read_token(config: ServeConfig) -> str | None:
    """Return the token that clients must send, or None when there is none.

    Raises:
        ConfigError: If the file cannot be read, the token is too short to be a secret, or others
            could reach the server without one.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if config.token_file is not None:
        token = _first_line(config.token_file)
    if token is not None and len(token) < _MIN_TOKEN_CHARACTERS:
        raise ConfigError(
            f"token: expected at least {_MIN_TOKEN_CHARACTERS} characters, got {len(token)}; "
            'make one with: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if token is None and not config.insecure and not is_loopback(config.host):
        raise ConfigError(
            f"host {config.host}: others can reach it, so a token is needed: set "
            f"{TOKEN_VARIABLE} or --token-file (or say --insecure if the network is trusted)"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``.

    Example:
        >>> [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "robot")]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {path}: cannot be read ({error})") from error
    return lines[0].strip() if lines else ""
