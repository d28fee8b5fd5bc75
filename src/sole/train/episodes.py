"""Episodes as trainers of nano and of larger models hold them: scaled tiles and the truth."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sole.data.episode import Episode, Facts
from sole.errors import DataError
from sole.protocol.composite import fit_tile

_ROWS = ("external", "wrist")
_NO_TILES = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class TrainingEpisode:
    """An episode as the trainer holds it: ``(T, 2, 3, 96, 96)`` uint8 tiles and its truth.

    ``seen`` says which of the two views there are; the tiles of another one are black.
    """

    tiles: np.ndarray
    task: str
    kind: str
    true_progress: np.ndarray
    facts: tuple[Facts, ...]
    policy: str = ""
    seen: tuple[bool, bool] = (True, True)


def prepare(episodes: Iterable[Episode], tile_px: int = 96) -> Iterator[TrainingEpisode]:
    """Keep what training needs of episodes that carry facts, one after the other.

    Raises:
        DataError: If an episode has no truth or no facts.
    """
    return (_prepare_one(episode, tile_px) for episode in episodes)


def keep_on_disk(episodes: Iterable[TrainingEpisode], folder: Path) -> list[TrainingEpisode]:
    """Move the tiles to a file without a name, mapped into memory: ten thousand episodes are 17 GB.

    What is often drawn stays in the page cache; the file is gone with the process, however it ends.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        kept = []
        for episode in episodes:
            kept.append((replace(episode, tiles=_NO_TILES), file.tell(), episode.tiles.shape))
            file.write(np.ascontiguousarray(episode.tiles).data)
        file.flush()
        if not kept:
            return []
        pixels = np.memmap(file, np.uint8, mode="r")
    return [
        replace(episode, tiles=pixels[start : start + math.prod(shape)].reshape(shape))
        for episode, start, shape in kept
    ]


def _prepare_one(episode: Episode, tile_px: int) -> TrainingEpisode:
    truth = episode.truth
    if truth is None or not truth.facts:
        raise DataError(
            "training needs true progress and facts, as `sole synth` writes them; an episode of "
            f"{episode.env_name or episode.task!r} has none: take `sole fit` for such recordings"
        )
    tiles = np.zeros((episode.n_frames, len(_ROWS), 3, tile_px, tile_px), np.uint8)
    for row, name in enumerate(_ROWS):
        for t, frame in enumerate(episode.views.get(name, ())):
            tiles[t, row] = fit_tile(frame, tile_px).transpose(2, 0, 1)
    return TrainingEpisode(
        tiles, episode.task, episode.env_name, truth.true_progress, truth.facts, episode.policy,
        (_ROWS[0] in episode.views, _ROWS[1] in episode.views),
    )  # fmt: skip
