"""Whatever a user has recorded, as one stream of episodes: LeRobot v3 or v2, or files of video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sole.data import layout
from sole.data.episode import VIEW_NAMES, Episode
from sole.data.lerobot_reader import open_dataset, read_episodes
from sole.data.lerobot_v2 import open_v2, read_v2_episodes
from sole.data.readers import read_episode
from sole.data.video import MAX_SIDE_PX
from sole.errors import ConfigError, DataError

VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mov", ".mkv", ".gif")


@dataclass(frozen=True)
class EpisodeSource:
    """A place that episodes come from.

    Attributes:
        path: As the user named it.
        kind: ``lerobot-v3``, ``lerobot-v2`` or ``video``.
        rows: What is known of each episode without decoding it: ``tasks``, and where our own
            writer made it ``suite``, ``env_name``, ``policy``.
        read: Starts reading; the indices of the episodes wanted may be given, else all come.
    """

    path: Path
    kind: str
    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    read: Callable[..., Iterator[Episode]] = field(repr=False)


def open_source(
    path: Path | str,
    *,
    task: str | None = None,
    cameras: Mapping[str, str] | None = None,
    side_by_side: bool = False,
    max_side_px: int = MAX_SIDE_PX,
) -> EpisodeSource:
    """Find out what lies at ``path`` and how to read it.

    Args:
        path: A LeRobot dataset, a folder of videos (one episode each), or anything that
            :func:`sole.data.readers.read_episode` reads as one episode.
        task: The sentence of video files; datasets have their own.
        cameras: Which camera of a dataset is which view; ``observation.images.`` may be left out.
        side_by_side: Videos hold both views, external on the left.
        max_side_px: Larger frames of videos and of v2 datasets are shrunk to this longest side.

    Raises:
        DataError: If it is a damaged dataset, or there is nothing.
        ConfigError: If ``task`` is missing for videos or given for a dataset.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not (path / layout.INFO_PATH).is_file():
        return _videos(path, task, side_by_side, max_side_px)
    if task is not None:
        raise ConfigError("--task: a dataset has its own sentences; leave it out")
    version = str(layout.read_json(path / layout.INFO_PATH).get("codebase_version"))
    if version.startswith("v2."):
        info = open_v2(path)
        keys = _cameras(path, info.cameras, cameras)

        def read_v2(indices: Sequence[int] | None = None) -> Iterator[Episode]:
            rows = info.episodes if indices is None else tuple(info.episodes[i] for i in indices)
            return read_v2_episodes(replace(info, episodes=rows), keys, max_side_px=max_side_px)

        return EpisodeSource(path, "lerobot-v2", info.episodes, read_v2)
    found = open_dataset(path)
    keys = _cameras(path, found.cameras, cameras)

    def read_v3(indices: Sequence[int] | None = None) -> Iterator[Episode]:
        return read_episodes(path, indices, cameras=keys)

    return EpisodeSource(path, "lerobot-v3", found.episodes, read_v3)


def _cameras(path: Path, found: tuple[str, ...], given: Mapping[str, str] | None) -> dict[str, str]:
    """Camera by view: as given, or those with our own names."""
    if not given:
        keys = {name: layout.IMAGE_PREFIX + name for name in VIEW_NAMES}
        keys = {name: key for name, key in keys.items() if key in found}
    else:
        keys = {n: k if k in found else layout.IMAGE_PREFIX + k for n, k in given.items()}
    wrong = [key for key in keys.values() if key not in found]
    if wrong or not keys:
        raise DataError(
            f"{path}: cameras {list(found)}; say which is which with --external and --wrist"
            + (f" (got {wrong[0]!r})" if wrong else "")
        )
    return keys


def _videos(path: Path, task: str | None, side_by_side: bool, max_side_px: int) -> EpisodeSource:
    if task is None or not task.strip():
        raise ConfigError(
            f'{path}: no LeRobot dataset; if it holds videos, say what they show: --task "..."'
        )
    films = [path]
    if path.is_dir():
        films = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES) or films
    which = "both" if side_by_side else "external"

    def read(indices: Sequence[int] | None = None) -> Iterator[Episode]:
        for film in films if indices is None else [films[i] for i in indices]:
            yield read_episode(task, **{which: film}, max_side_px=max_side_px)  # type: ignore[arg-type]

    return EpisodeSource(path, "video", tuple({"tasks": [task.strip()]} for _ in films), read)
