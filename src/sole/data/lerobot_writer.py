"""Writing episodes as a LeRobot v3 dataset, part by part, so that a kill loses one part at most.

A part is one data file, one video per view and one file of the episode table, all with the same
number. ``meta/info.json`` is written last and counts what is finished: whatever lies on disk beyond
its count is unfinished and is written again on resuming.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sole.data import layout, stats
from sole.data.episode import RECORD_VERSION, Episode
from sole.data.lerobot_reader import open_dataset
from sole.data.video import VideoWriter
from sole.errors import DataError
from sole.run import write_atomically

EPISODES_PER_FILE = 100
MAX_FILE_MB = 200


class EpisodeWriter:
    """Appends episodes to a dataset on disk; use as a context manager.

    Leaving the block finishes the last part, also after an error in the caller's code, because the
    episodes already added are whole; ``keep_unfinished=False`` throws it away then. All episodes
    have the same views, sizes, widths of actions and proprio, and frame rate; actions, proprio and
    truth may be missing from later ones.

    Args:
        folder: The dataset; made when absent.
        fps: Frames per second of every episode.
        episodes_per_file: A part is finished after this many episodes ...
        max_file_mb: ... or when a video of it has grown beyond this size.
        resume: Continue after the last finished part of a dataset that is already there.
        crf: H.264 quality, lower is better; 18 is visually lossless.
        keep_unfinished: Keep the part that an error ends. A caller who has its episodes elsewhere
            throws it away: only then a resumed dataset has the parts of an unbroken run.

    Raises:
        DataError: If the folder already holds a dataset and ``resume`` is False, or it holds
            another kind of dataset, or another frame rate.
    """

    def __init__(
        self,
        folder: Path | str,
        fps: float,
        *,
        episodes_per_file: int = EPISODES_PER_FILE,
        max_file_mb: float = MAX_FILE_MB,
        resume: bool = False,
        crf: int = 18,
        keep_unfinished: bool = True,
    ) -> None:
        if episodes_per_file < 1:
            raise ValueError(f"episodes_per_file: expected at least 1, got {episodes_per_file}")
        self.folder = Path(folder)
        self.fps = fps
        self.n_episodes = 0
        self.n_frames = 0
        self._episodes_per_file = episodes_per_file
        self._max_file_bytes = max_file_mb * 1e6
        self._crf = crf
        self._keep_unfinished = keep_unfinished
        self._part = 0
        self._features: dict[str, layout.Feature] = {}
        self._sizes: dict[str, list[int]] = {}
        self._tasks: dict[str, int] = {}
        self._stats: list[stats.Stats] = []
        self._clear_part()
        if (self.folder / layout.INFO_PATH).exists():
            self._continue(resume)

    def _continue(self, resume: bool) -> None:
        if not resume:
            raise DataError(f"{self.folder}: already holds a dataset; resume it or choose another")
        found = open_dataset(self.folder)
        if abs(found.fps - self.fps) > 1e-6:
            raise DataError(f"{self.folder}: has {found.fps} frames per second, not {self.fps}")
        if not found.sizes:
            raise DataError(f"{self.folder}: not written by sole, so it cannot be continued")
        self.n_episodes = found.n_episodes
        self.n_frames = found.n_frames
        self._features, self._sizes = dict(found.features), dict(found.sizes)
        self._tasks = {task: index for index, task in enumerate(found.tasks)}
        self._stats = found.episode_stats()
        last = found.episodes[-1]
        chunk, file = last["data/chunk_index"], last["data/file_index"]
        self._part = chunk * layout.CHUNK_FILES + file + 1

    def _clear_part(self) -> None:
        self._videos: dict[str, VideoWriter] = {}
        self._tables: list[pa.Table] = []
        self._rows: list[dict[str, Any]] = []

    def add(self, episode: Episode) -> int:
        """Append one episode; return its index in the dataset.

        Raises:
            DataError: If it differs from the others in views, sizes, widths or frame rate.
            VideoError: If the disk refuses.
        """
        self._check(episode)
        index = self.n_episodes
        counters = self._counters(episode)
        found = stats.episode_stats(episode, counters)
        row, table = (
            self._row(episode, found),
            layout.frame_table(episode, self._features, counters),
        )
        for name, frames in episode.views.items():
            self._video(name).write(frames)
        self._rows.append(row)
        self._tables.append(table)
        self._stats.append(found)
        self.n_episodes += 1
        self.n_frames += episode.n_frames
        if self._is_full():
            self._finish_part()
        return index

    def _check(self, episode: Episode) -> None:
        if abs(episode.fps - self.fps) > 1e-6:
            raise DataError(
                f"episode: {episode.fps:g} frames per second, the dataset {self.fps:g}; "
                "write episodes of another rate to another folder"
            )
        if not -(2**63) <= episode.seed < 2**63:
            raise DataError(f"episode: seed {episode.seed} does not fit 64 bits")
        features, sizes = layout.features_of(episode, self.fps), layout.sizes_of(episode)
        if not self._features:
            self._features, self._sizes = features, sizes
        if sizes != self._sizes:
            raise DataError(
                f"episode: views {sizes} px (H, W), but the dataset has {self._sizes}; "
                "write episodes of another kind to another folder"
            )
        for key in (layout.ACTION, layout.STATE):
            if key in features and features[key] != self._features.get(key):
                expected = self._features.get(key, {}).get("shape", "none")
                raise DataError(
                    f"episode: {key} of shape {features[key]['shape']}, the dataset {expected}"
                )

    def _counters(self, episode: Episode) -> dict[str, np.ndarray]:
        frame_index = np.arange(episode.n_frames, dtype=np.int64)
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        return {
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full_like(frame_index, self.n_episodes),
            "index": self.n_frames + frame_index,
            "task_index": np.full_like(frame_index, task_index),
        }

    def _row(self, episode: Episode, found: stats.Stats) -> dict[str, Any]:
        numbers = layout.part_numbers(self._part)
        row: dict[str, Any] = {
            "episode_index": self.n_episodes,
            "tasks": [episode.task],
            "length": episode.n_frames,
            "dataset_from_index": self.n_frames,
            "dataset_to_index": self.n_frames + episode.n_frames,
        }
        for prefix in ("data", "meta/episodes"):
            row.update({f"{prefix}/{key}": value for key, value in numbers.items()})
        for name in sorted(episode.views):
            prefix = f"videos/{layout.IMAGE_PREFIX}{name}"
            row.update({f"{prefix}/{key}": value for key, value in numbers.items()})
            start = self._video(name).n_frames
            row[f"{prefix}/from_timestamp"] = start / self.fps
            row[f"{prefix}/to_timestamp"] = (start + episode.n_frames) / self.fps
        return {**row, **layout.episode_notes(episode), **stats.stats_to_columns(found)}

    def _video(self, name: str) -> VideoWriter:
        if name not in self._videos:
            path = self._path(layout.VIDEO_PATH, video_key=layout.IMAGE_PREFIX + name)
            self._videos[name] = VideoWriter(path, self.fps, crf=self._crf)
        return self._videos[name]

    def _path(self, template: str, **names: str) -> Path:
        numbers = layout.part_numbers(self._part)
        path = self.folder / template.format(**numbers, **names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _is_full(self) -> bool:
        n_bytes = max(video.size_bytes for video in self._videos.values())
        return len(self._rows) >= self._episodes_per_file or n_bytes > self._max_file_bytes

    def _finish_part(self) -> None:
        if not self._rows:
            return
        for video in self._videos.values():
            video.close()
        _write_table(self._path(layout.DATA_PATH), pa.concat_tables(self._tables))
        _write_table(self.folder / layout.TASKS_PATH, layout.tasks_table(list(self._tasks)))
        columns = {key: None for row in self._rows for key in row}
        table = pa.table({key: [row.get(key) for row in self._rows] for key in columns})
        _write_table(self._path(layout.EPISODES_PATH), table)
        self._write_meta()
        self._part += 1
        self._clear_part()

    def _write_meta(self) -> None:
        merged = stats.merge_stats(self._stats)
        as_lists = {k: {n: v.tolist() for n, v in found.items()} for k, found in merged.items()}
        sole = {"record_version": RECORD_VERSION, "sizes": self._sizes}
        _write_json(self.folder / layout.STATS_PATH, as_lists)
        _write_json(self.folder / layout.SOLE_PATH, sole)
        _write_json(self.folder / layout.INFO_PATH, self._info())

    def _info(self) -> dict[str, Any]:
        fps = int(self.fps) if float(self.fps).is_integer() else self.fps
        return {
            "codebase_version": layout.CODEBASE_VERSION,
            "robot_type": "unknown",
            "total_episodes": self.n_episodes,
            "total_frames": self.n_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.CHUNK_FILES,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": MAX_FILE_MB,
            "fps": fps,
            "splits": {"train": f"0:{self.n_episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH,
            "features": self._features,
        }

    def close(self) -> None:
        """Finish the last part; nothing can be added afterwards to this writer's part."""
        self._finish_part()

    def abort(self) -> None:
        """Throw away the part that is being written; what is finished stays."""
        for video in self._videos.values():
            video.abort()
        self._clear_part()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or self._keep_unfinished:
            self.close()
        else:
            self.abort()


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table, temporary, compression="snappy")
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(value, indent=4))
