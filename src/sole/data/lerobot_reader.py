"""Reading a LeRobot v3 dataset from disk as episodes: ours, or anybody's with its cameras named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sole.data import layout, stats
from sole.data.episode import VIEW_NAMES, Episode
from sole.data.video import read_clip
from sole.errors import DataError

_ROW_KEYS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset on disk holds, known without decoding a picture.

    Attributes:
        folder: Where it lies.
        n_episodes, n_frames: Finished ones.
        fps: Frames per second.
        tasks: The sentences, in the order of ``task_index``.
        cameras: Every video feature, such as ``observation.images.external``.
        features: As ``info.json`` has them.
        episodes: One row per episode: ``episode_index``, ``tasks``, ``length``, and if we wrote it
            ``suite``, ``env_name``, ``policy``, ``seed``; filter on these before reading.
        sizes: ``{view: [height_px, width_px]}`` before padding; empty if others wrote it.
    """

    folder: Path
    n_episodes: int
    n_frames: int
    fps: float
    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    features: Mapping[str, layout.Feature]
    episodes: tuple[Mapping[str, Any], ...] = field(repr=False)
    sizes: Mapping[str, list[int]]
    data_path: str = layout.DATA_PATH
    video_path: str = layout.VIDEO_PATH

    def episodes_hash(self) -> str:
        """The same for the same episodes, wherever they lie: of their rows, not of their files."""
        rows = json.dumps(self.episodes, sort_keys=True, default=str)
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    def episode_stats(self) -> list[stats.Stats]:
        """Read the statistics of every episode from the episode table."""
        return stats.stats_from_table(_episode_table(self.folder).slice(0, self.n_episodes))


def open_dataset(folder: Path | str) -> DatasetInfo:
    """Read a dataset's metadata and check that they fit together.

    Raises:
        DataError: If the folder is missing, no LeRobot dataset, of another version than v3, or
            its files contradict each other.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a LeRobot v3 dataset")
    if not (folder / layout.INFO_PATH).is_file():
        raise DataError(f"{folder}: no {layout.INFO_PATH} in it; expected a LeRobot v3 dataset")
    info = layout.read_json(folder / layout.INFO_PATH)
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        raise DataError(
            f"{folder}: dataset version {version}; expected v3.0: convert it with LeRobot's "
            "convert_dataset_v21_to_v30 script"
        )
    notes = layout.check_record_version(folder)
    try:
        return _dataset_info(folder, info, notes.get("sizes", {}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{folder}: meta/info.json lacks or garbles {error}") from error


def _dataset_info(
    folder: Path, info: Mapping[str, Any], sizes: Mapping[str, list[int]]
) -> DatasetInfo:
    n_episodes = int(info["total_episodes"])
    rows = _episode_rows(folder, n_episodes)
    n_frames = sum(row["length"] for row in rows)
    if n_frames != int(info["total_frames"]):
        raise DataError(
            f"{folder}: info.json counts {info['total_frames']} frames, the episodes {n_frames}"
        )
    features = info["features"]
    return DatasetInfo(
        folder=folder,
        n_episodes=n_episodes,
        n_frames=n_frames,
        fps=float(info["fps"]),
        tasks=_tasks(folder),
        cameras=tuple(key for key, feature in features.items() if feature["dtype"] == "video"),
        features=features,
        episodes=tuple(rows),
        sizes=sizes,
        data_path=str(info["data_path"]),
        video_path=str(info["video_path"]),
    )


def _episode_table(folder: Path) -> pa.Table:
    paths = sorted((folder / "meta/episodes").glob("chunk-*/file-*.parquet"))
    if not paths:
        raise DataError(f"{folder}: no episode table in meta/episodes")
    tables = [layout.read_table(path) for path in paths]
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")


def _episode_rows(folder: Path, n_episodes: int) -> list[dict[str, Any]]:
    table = _episode_table(folder)
    missing = sorted(set(_ROW_KEYS) - set(table.column_names))
    if missing:
        raise DataError(f"{folder}: the episode table lacks {missing}")
    kept = [name for name in table.column_names if not name.startswith("stats/")]
    rows = table.select(kept).slice(0, n_episodes).to_pylist()
    if [row["episode_index"] for row in rows] != list(range(n_episodes)):
        raise DataError(
            f"{folder}: info.json counts {n_episodes} episodes, the episode table {len(rows)}; "
            "a file of meta/episodes is missing or twice there"
        )
    return rows


def _tasks(folder: Path) -> tuple[str, ...]:
    table = layout.read_table(folder / layout.TASKS_PATH, ["task_index"])
    named = layout.read_table(folder / layout.TASKS_PATH)
    sentences = next((n for n in named.column_names if n != "task_index"), None)
    if sentences is None:
        raise DataError(f"{folder}: {layout.TASKS_PATH} holds no sentences")
    order = np.argsort(table["task_index"].to_numpy(), kind="stable")
    texts = named[sentences].to_pylist()
    return tuple(texts[i] for i in order)


def read_episodes(
    folder: Path | str,
    indices: Sequence[int] | None = None,
    *,
    cameras: Mapping[str, str] | None = None,
) -> Iterator[Episode]:
    """Yield episodes one at a time, decoded at full size.

    Args:
        folder: A LeRobot v3 dataset.
        indices: Which episodes, in which order; None reads all.
        cameras: Which video feature is which view, such as
            ``{"external": "observation.images.top"}``; None takes those with our own names.

    Yields:
        :class:`Episode`; actions and proprio are float32, the pictures are as H.264 left them.

    Raises:
        DataError: If the dataset is missing, of another version, inconsistent, or has no camera of
            the expected name.
    """
    info = open_dataset(folder)
    keys = _camera_keys(info, cameras)
    chosen = range(info.n_episodes) if indices is None else [int(i) for i in indices]
    outside = [i for i in chosen if not 0 <= i < info.n_episodes]
    if outside:
        raise DataError(f"{folder}: no episode {outside[0]}; it holds 0 to {info.n_episodes - 1}")
    return _episodes(info, keys, chosen)


def _camera_keys(info: DatasetInfo, cameras: Mapping[str, str] | None) -> dict[str, str]:
    own = {name: layout.IMAGE_PREFIX + name for name in VIEW_NAMES}
    if cameras is None:
        keys = {name: key for name, key in own.items() if key in info.cameras}
    else:
        keys = dict(cameras)
    wrong = [key for key in keys.values() if key not in info.cameras]
    wrong += [name for name in keys if name not in VIEW_NAMES]
    if wrong or not keys:
        raise DataError(
            f"{info.folder}: cameras {list(info.cameras)}; say which is {' and '.join(VIEW_NAMES)}"
            + (f" (got {wrong[0]!r})" if wrong else "")
        )
    return keys


def _episodes(
    info: DatasetInfo, keys: Mapping[str, str], chosen: Sequence[int]
) -> Iterator[Episode]:
    path, table = Path(), None
    for index in chosen:
        row = info.episodes[index]
        wanted = info.folder / info.data_path.format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        if table is None or wanted != path:
            path, table = wanted, layout.read_table(wanted)
        yield _episode(info, keys, row, table)


def _episode(
    info: DatasetInfo, keys: Mapping[str, str], row: Mapping[str, Any], table: pa.Table
) -> Episode:
    index = row["episode_index"]
    frames = table.filter(pc.field("episode_index") == index)
    if frames.num_rows != row["length"]:
        raise DataError(
            f"{info.folder}: episode {index} should have {row['length']} frames, "
            f"its data file has {frames.num_rows}"
        )
    try:
        views = {name: _clip(info, name, key, row) for name, key in keys.items()}
        return layout.episode_from(row, frames, views, info.fps)
    except (KeyError, ValueError) as error:
        raise DataError(f"{info.folder}: episode {index}: {error}") from error


def _clip(info: DatasetInfo, name: str, key: str, row: Mapping[str, Any]) -> np.ndarray:
    prefix = f"videos/{key}"
    path = info.folder / info.video_path.format(
        video_key=key,
        chunk_index=row[f"{prefix}/chunk_index"],
        file_index=row[f"{prefix}/file_index"],
    )
    frames = read_clip(path, row[f"{prefix}/from_timestamp"], row["length"])
    height, width = info.sizes.get(name, frames.shape[1:3])
    return np.ascontiguousarray(frames[:, :height, :width])
