"""Reading LeRobot v2.0 and v2.1 datasets: one parquet file and one video per episode and camera.

Written by many tools and still the most common layout; we read it and write v3. Truth is unknown
there. Field names are those of ``lerobot`` before codebase version v3.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sole.data import layout
from sole.data.episode import Episode
from sole.data.video import MAX_SIDE_PX, read_video
from sole.errors import DataError

_EPISODES_PATH = "meta/episodes.jsonl"


@dataclass(frozen=True)
class V2Info:
    """What a v2 dataset holds, known without decoding a picture.

    Attributes:
        folder: Where it lies.
        fps: Frames per second.
        cameras: Every video feature, such as ``observation.images.top``.
        episodes: One row per episode: ``episode_index``, ``tasks``, ``length``.
        data_path, video_path: Templates of ``info.json``.
        chunk_episodes: Episodes per chunk folder.
    """

    folder: Path
    fps: float
    cameras: tuple[str, ...]
    episodes: tuple[Mapping[str, Any], ...] = field(repr=False)
    data_path: str
    video_path: str
    chunk_episodes: int


def open_v2(folder: Path | str) -> V2Info:
    """Read the metadata of a v2.0 or v2.1 dataset.

    Raises:
        DataError: If they are missing or garbled, or name another version.
    """
    folder = Path(folder)
    info = layout.read_json(folder / layout.INFO_PATH)
    version = str(info.get("codebase_version"))
    if not version.startswith("v2."):
        raise DataError(f"{folder}: dataset version {version}; expected v2.0 or v2.1")
    try:
        features = info["features"]
        return V2Info(
            folder=folder,
            fps=float(info["fps"]),
            cameras=tuple(k for k, feature in features.items() if feature["dtype"] == "video"),
            episodes=_rows(folder / _EPISODES_PATH),
            data_path=str(info["data_path"]),
            video_path=str(info.get("video_path") or ""),
            chunk_episodes=int(info.get("chunks_size", layout.CHUNK_FILES)),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{folder}: meta/info.json lacks or garbles {error}") from error


def _rows(path: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        lines = path.read_text().splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return tuple(
            {
                "episode_index": int(row["episode_index"]),
                "tasks": list(row["tasks"]),
                "length": int(row["length"]),
            }
            for row in sorted(rows, key=lambda row: row["episode_index"])
        )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not an episode table ({error})") from error


def read_v2_episodes(
    info: V2Info, cameras: Mapping[str, str], *, max_side_px: int = MAX_SIDE_PX
) -> Iterator[Episode]:
    """Yield the episodes one at a time; actions and proprio are float32, truth is None.

    Args:
        info: From :func:`open_v2`.
        cameras: Which video feature is which view.
        max_side_px: Larger frames are shrunk to this longest side.

    Raises:
        DataError: If a file is missing or its length differs from the episode table.
        VideoError: If a video cannot be read.
    """
    for row in info.episodes:
        names = {
            "episode_index": row["episode_index"],
            "episode_chunk": row["episode_index"] // info.chunk_episodes,
        }
        views = {
            name: read_video(
                info.folder / info.video_path.format(video_key=key, **names),
                max_side_px=max_side_px,
            )[0]
            for name, key in cameras.items()
        }
        table = layout.read_table(info.folder / info.data_path.format(**names))
        lengths = {"parquet": table.num_rows, **{name: len(v) for name, v in views.items()}}
        if set(lengths.values()) != {row["length"]}:
            raise DataError(
                f"{info.folder}: episode {row['episode_index']} should have {row['length']} "
                f"frames, found {lengths}"
            )
        yield _checked_episode(info, row, table, views)


def _checked_episode(
    info: V2Info, row: Mapping[str, Any], table: Any, views: Mapping[str, np.ndarray]
) -> Episode:
    known = {"has_truth": False, "has_facts": False}
    try:
        return layout.episode_from({**row, **known}, table, views, info.fps)
    except (KeyError, ValueError) as error:
        raise DataError(f"{info.folder}: episode {row['episode_index']}: {error}") from error
