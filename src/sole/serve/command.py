"""``sole serve``: a reward model for robots and training runs on other machines."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from sole.config import parse_config
from sole.console import stderr
from sole.errors import ConfigError, ServerError
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.serve.app import make_app
from sole.serve.config import ServeConfig, is_loopback, read_token
from sole.serve.memory import return_large_buffers

_BACKLOG = 2048


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop; return 0."""
    return_large_buffers()
    config = parse_config(ServeConfig, argv, "sole serve")
    token = read_token(config)
    listener = listen(config.host, config.port)
    with listener:
        model = _load(config)
        server = make_server(model, config, token)
        # SIGTERM is how a service is stopped. It may come before uvicorn listens to it, and uvicorn
        # raises it once more when accepted work is finished.
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        _announce(config, model, listener, guarded=token is not None)
        server.run(sockets=[listener])
    return 0


def make_server(
    model: RewardModel, config: ServeConfig, token: str | None = None
) -> uvicorn.Server:
    """The server, ready to run on a socket that listens."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(model, config, token),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=config.shutdown_s,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes any free one.

    Raises:
        ServerError: If the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends answers at once (TCP_NODELAY) only where it is:
    # without, every answer waits 40 ms for the client's acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"cannot listen on {host} port {port} ({error.strerror}); --port 0 takes a free one"
        ) from error
    return listener


def _load(config: ServeConfig) -> RewardModel:
    if config.model == "oracle" or config.model.startswith(("http://", "https://")):
        raise ConfigError(f"--model {config.model}: cannot be served; expected nano or a folder")
    options: dict[str, Any] = {} if config.device == "auto" else {"device": config.device}
    if config.think == "always":  # A model that cannot do otherwise is loaded only this way.
        options["think"] = "always"
    return load_reward_model(config.model, from_zero_weight=config.from_zero_weight, **options)


def _announce(
    config: ServeConfig, model: RewardModel, listener: socket.socket, *, guarded: bool
) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    port = listener.getsockname()[1]
    stderr.print(f"serving {model.model_id} at http://{host}:{port}", markup=False, soft_wrap=True)
    if not guarded and not is_loopback(config.host):
        stderr.print("warning: anybody who can reach this address can use it (--insecure)")
