"""Where a reward model's pictures come from in an environment that is not ours.

A view is named after what the model was trained on: ``external`` (also written ``front``), which
looks at the scene, or ``wrist``. Its source is one of:

- ``KEY``: that key of a dict observation, a uint8 picture ``(H, W, 3)`` or ``(3, H, W)``;
  ``KEY/KEY`` looks into a dict inside it;
- ``render``: what ``env.render()`` returns (make the env with ``render_mode="rgb_array"``);
- ``render:CAMERA``: what the env's own method ``render_camera("CAMERA")`` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from sole.data.episode import EXTERNAL, VIEW_NAMES
from sole.errors import ConfigError

_RENDER = "render"


def parse_views(text: str) -> dict[str, str]:
    """Read ``NAME=SOURCE,NAME=SOURCE``.

    Raises:
        ConfigError: If it is not of this form, or names no view.

    Example:
        >>> parse_views("front=render,wrist=hand_camera")
        {'external': 'render', 'wrist': 'hand_camera'}
    """
    views: dict[str, str] = {}
    for part in text.split(","):
        name, equals, source = (piece.strip() for piece in part.partition("="))
        name = EXTERNAL if name == "front" else name
        if not equals or not source or name not in VIEW_NAMES or name in views:
            raise ConfigError(
                f"views: expected front=SOURCE, wrist=SOURCE or both, got {text!r}; a SOURCE is a "
                "key of the observation, render, or render:CAMERA"
            )
        views[name] = source
    return views


def take_views(
    env: gymnasium.Env[Any, Any], observation: Any, sources: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The present moment as a reward model sees it: uint8 RGB ``(H, W, 3)`` by view name.

    Raises:
        ConfigError: If a source is missing or gives no picture.
    """
    return {
        name: _picture(_raw(env, observation, source), f"view {name}={source}")
        for name, source in sources.items()
    }


def _raw(env: gymnasium.Env[Any, Any], observation: Any, source: str) -> Any:
    if source == _RENDER:
        return env.render()
    if source.startswith(f"{_RENDER}:"):
        render_camera = getattr(env.unwrapped, "render_camera", None)
        if render_camera is None:
            raise ConfigError(f"view {source}: the env has no method render_camera(name)")
        return render_camera(source.partition(":")[2])
    return _look_up(observation, source)


def _look_up(observation: Any, source: str) -> Any:
    if isinstance(observation, Mapping):
        if source in observation:
            return observation[source]
        outer, slash, inner = source.partition("/")
        if slash and isinstance(observation.get(outer), Mapping):
            return _look_up(observation[outer], inner)
    there = ", ".join(observation) if isinstance(observation, Mapping) else "no dict"
    raise ConfigError(f"view {source}: no such key in the observation ({there}), nor render")


def _picture(raw: Any, what: str) -> np.ndarray:
    picture = np.asarray(raw) if raw is not None else np.zeros(0)
    if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] != 3:
        picture = picture.transpose(1, 2, 0)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        got = "nothing" if raw is None else f"{picture.dtype} {picture.shape}"
        raise ConfigError(
            f"{what}: expected a uint8 RGB picture (H, W, 3), got {got}"
            + ("; make the env with render_mode='rgb_array'" if raw is None else "")
        )
    return np.array(picture)  # simulators reuse their buffers
