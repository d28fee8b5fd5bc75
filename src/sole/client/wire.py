"""Frames as they travel (PNG, so that not one pixel changes), and scores as they come back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from PIL import Image

from sole.client.calls import Part
from sole.data.episode import Episode, EpisodeScore, StepScore, check_frames
from sole.errors import ServerError

_STEP_FIELDS = tuple(f.name for f in fields(StepScore))
_FAST_COMPRESSION = 1
# What multipart adds to a part, with room to spare.
_PART_OVERHEAD_BYTES = 300


@dataclass(frozen=True)
class Card:
    """What a client needs to know of the server's model."""

    model_id: str
    models: Mapping[str, str]
    views: tuple[str, ...]
    known_views: tuple[str, ...]
    settings: Mapping[str, float]
    limits: Mapping[str, int]
    success_thresholds: Mapping[str, float] = field(default_factory=dict)
    needs_whole_episode: bool = False

    @classmethod
    def read(cls, body: Any) -> Card:
        """Take it from the model card.

        Raises:
            ServerError: If this is no model card: another server's answer.
        """
        try:
            views, known = tuple(body["views"]), tuple(body["known_views"])
            settings, limits = dict(body["settings"]), dict(body["limits"])
            # Servers of an earlier version do not say these two.
            thresholds = dict(body.get("success_thresholds", {}))
            whole = bool(body.get("needs_whole_episode", False))
            return cls(
                body["model_id"], dict(body["models"]), views, known, settings, limits, thresholds,
                whole,
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ServerError("the answer is no model card; expected a `sole serve`") from error

    def check_views(self, names: Sequence[str]) -> None:
        """Raise ValueError unless the model can judge an episode with these views."""
        lacking = [name for name in self.views if name not in names]
        if lacking or not set(names) & set(self.known_views):
            wanted = lacking or self.known_views
            raise ValueError(f"expected a view named {' or '.join(wanted)}, got {tuple(names)}")


def png(picture: np.ndarray, what: str) -> bytes:
    """Encode one uint8 RGB picture ``(H, W, 3)`` without loss.

    Raises:
        ValueError: For anything else.
    """
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        shape = getattr(picture, "shape", type(picture).__name__)
        raise ValueError(f"{what}: expected one uint8 RGB picture (H, W, 3), got {shape}")
    check_frames(picture[None], what)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=_FAST_COMPRESSION)
    return file.getvalue()


def moment_parts(views: Mapping[str, np.ndarray]) -> list[Part]:
    """The parts of a step: one picture for each view."""
    return [_picture_part(name, png(picture, f"view {name}")) for name, picture in views.items()]


def score_batches(
    episodes: Sequence[Episode], think: bool | None, limits: Mapping[str, int]
) -> Iterator[tuple[int, list[Part]]]:
    """Requests of as many episodes as the server takes at once.

    Yields:
        The number of episodes, and the parts that describe and hold them.
    """
    n_most, room = limits["max_episodes"], limits["max_body_bytes"]
    pixels = limits["max_request_px"]
    batch: list[tuple[Episode, list[list[Part]]]] = []
    used_bytes = used_px = 0
    for episode in episodes:
        parts = [_view_parts(name, frames) for name, frames in episode.views.items()]
        n_bytes = sum(len(p[1][1]) + _PART_OVERHEAD_BYTES for view in parts for p in view)
        n_px = sum(frames[..., 0].size for frames in episode.views.values())
        too_much = used_bytes + n_bytes > 0.95 * room or used_px + n_px > pixels
        if batch and (len(batch) == n_most or too_much):
            yield len(batch), _score_parts(batch, think)
            batch, used_bytes, used_px = [], 0, 0
        batch.append((episode, parts))
        used_bytes, used_px = used_bytes + n_bytes, used_px + n_px
    if batch:
        yield len(batch), _score_parts(batch, think)


def read_step(body: Any) -> StepScore:
    """Take a score from the server's JSON.

    Raises:
        ServerError: If it is none.
    """
    try:
        return StepScore(**{name: body[name] for name in _STEP_FIELDS})
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(f"the server's answer is no score ({error!r})") from error


def read_episode_score(body: Any, model_id: str) -> EpisodeScore:
    """Take an episode's score from the server's JSON.

    Raises:
        ServerError: If it is none.
    """
    try:
        steps, task = body["steps"], body["task"]
    except (KeyError, TypeError) as error:
        raise ServerError(f"the server's answer is no score ({error!r})") from error
    return EpisodeScore(tuple(read_step(step) for step in steps), model_id, task)


def _view_parts(name: str, frames: np.ndarray) -> list[Part]:
    return [_picture_part(name, png(frame, f"view {name}")) for frame in frames]


def _score_parts(
    batch: Sequence[tuple[Episode, list[list[Part]]]], think: bool | None
) -> list[Part]:
    asked = []
    files: list[Part] = []
    for i, (episode, views) in enumerate(batch):
        names = {name: f"{i}.{name}" for name in episode.views}
        asked.append({"task": episode.task, "views": names})
        files += [(f"{i}.{name}", file) for view in views for name, file in view]
    request = json.dumps({"episodes": asked, "think": think}).encode()
    return [("request", (None, request, "application/json")), *files]


def _picture_part(name: str, data: bytes) -> Part:
    return name, (f"{name}.png", data, "image/png")
