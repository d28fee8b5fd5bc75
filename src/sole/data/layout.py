"""How an episode lies in a LeRobot v3 dataset: paths, features, columns, and the way back.

Field names are those of ``lerobot`` (``datasets/dataset_metadata.py``, ``dataset_writer.py``,
codebase version v3.0); what is ours has its own columns, and ``meta/sole.json`` says which record
version wrote them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sole.data.episode import RECORD_VERSION, Episode, Facts, Truth
from sole.errors import DataError

CODEBASE_VERSION = "v3.0"
CHUNK_FILES = 1000
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
SOLE_PATH = "meta/sole.json"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{_FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{_FILE}.mp4"
EPISODES_PATH = f"meta/episodes/{_FILE}.parquet"
IMAGE_PREFIX = "observation.images."
ACTION = "action"
STATE = "observation.state"
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
TRUTH = {"true_progress": "float32", "true_success": "bool", "facts": "string"}
Feature = dict[str, Any]


def part_numbers(part: int) -> dict[str, int]:
    """Return the chunk and file index of the part-th file.

    Example:
        >>> part_numbers(1002)
        {'chunk_index': 1, 'file_index': 2}
    """
    return {"chunk_index": part // CHUNK_FILES, "file_index": part % CHUNK_FILES}


def features_of(episode: Episode, fps: float) -> dict[str, Feature]:
    """Describe every column as ``info.json`` does; the first episode of a dataset decides.

    Raises:
        DataError: If actions or proprio are not ``(T, N)`` with N >= 1.
    """
    features: dict[str, Feature] = {}
    for name, frames in sorted(episode.views.items()):
        features[IMAGE_PREFIX + name] = _video_feature(frames.shape[1:3], fps)
    for key, rows in ((ACTION, episode.actions), (STATE, episode.proprio)):
        if rows is None:
            continue
        if rows.ndim != 2 or rows.shape[1] < 1:
            raise DataError(f"{key}: expected an array (T, N) with N >= 1, got {rows.shape}")
        features[key] = {"dtype": "float32", "shape": [rows.shape[1]], "names": None}
    for key, kind in {**TRUTH, **COUNTERS}.items():
        features[key] = {"dtype": kind, "shape": [1], "names": None}
    return features


def _video_feature(size: Sequence[int], fps: float) -> Feature:
    height, width = (int(side) + int(side) % 2 for side in size)  # as padded in the file
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info}


def sizes_of(episode: Episode) -> dict[str, list[int]]:
    """Return ``{view: [height_px, width_px]}`` before padding to even."""
    return {name: [int(n) for n in frames.shape[1:3]] for name, frames in episode.views.items()}


def frame_table(
    episode: Episode, features: Mapping[str, Feature], counters: Mapping[str, np.ndarray]
) -> pa.Table:
    """Lay an episode out as rows, one per frame; what the episode lacks becomes NaN or ''."""
    n_frames = episode.n_frames
    columns: dict[str, pa.Array] = {}
    for key, rows in ((ACTION, episode.actions), (STATE, episode.proprio)):
        if key in features:
            columns[key] = _vectors(rows, n_frames, features[key]["shape"][0])
    truth = episode.truth
    nothing = np.full(n_frames, np.nan)
    progress = nothing if truth is None else truth.true_progress
    success = np.zeros(n_frames, bool) if truth is None else truth.true_success
    facts = [_to_json(f) for f in truth.facts] if truth and truth.facts else [""] * n_frames
    columns["true_progress"] = pa.array(np.asarray(progress, np.float32))
    columns["true_success"] = pa.array(np.asarray(success, bool))
    columns["facts"] = pa.array(facts, pa.string())
    for key, kind in COUNTERS.items():
        columns[key] = pa.array(np.asarray(counters[key], kind))
    return pa.table(columns)


def _vectors(rows: np.ndarray | None, n_frames: int, width: int) -> pa.Array:
    values = np.full((n_frames, width), np.nan) if rows is None else rows
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    # LeRobot stores a feature of shape (1,) as a plain number, not as a list of one.
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"extra, facts: {type(value).__name__} cannot be written as JSON")


def episode_notes(episode: Episode) -> dict[str, Any]:
    """Return our columns of the per-episode table."""
    truth = episode.truth
    return {
        "suite": episode.suite,
        "env_name": episode.env_name,
        "policy": episode.policy,
        "seed": int(episode.seed),
        "extra": _to_json(episode.extra),
        "has_action": episode.actions is not None,
        "has_state": episode.proprio is not None,
        "has_truth": truth is not None,
        "has_facts": truth is not None and len(truth.facts) > 0,
    }


def episode_from(
    row: Mapping[str, Any], table: pa.Table, views: Mapping[str, np.ndarray], fps: float
) -> Episode:
    """Make the record again from its row of the episode table, its frames' rows and pictures."""
    extra = json.loads(row.get("extra") or "{}")
    tasks = list(row["tasks"])
    return Episode(
        task=tasks[0] if tasks else "",
        views=views,
        fps=fps,
        actions=_rows(table, ACTION, known=row.get("has_action", True)),
        proprio=_rows(table, STATE, known=row.get("has_state", True)),
        truth=truth_from(row, table),
        suite=row.get("suite") or "",
        env_name=row.get("env_name") or "",
        policy=row.get("policy") or "",
        seed=row.get("seed") or 0,
        extra=extra,
    )


def _rows(table: pa.Table, key: str, *, known: bool) -> np.ndarray | None:
    if not known or key not in table.column_names:
        return None
    column = table[key].combine_chunks()
    while pa.types.is_nested(column.type):
        column = column.flatten()
    values = column.to_numpy(zero_copy_only=False).astype(np.float32)
    return values.reshape(table.num_rows, -1)


def truth_from(row: Mapping[str, Any], table: pa.Table) -> Truth | None:
    """Make the truth again from an episode's row and its frames' rows; None where it has none."""
    if not row.get("has_truth", False):
        return None
    progress = table["true_progress"].to_numpy().astype(np.float32)
    success = table["true_success"].to_numpy().astype(bool)
    facts: tuple[Facts, ...] = ()
    if row.get("has_facts", False):
        facts = tuple(_facts(text) for text in table["facts"].to_pylist())
    return Truth(progress, success, facts)


def _facts(text: str) -> Facts:
    known = json.loads(text)
    if "offset_m" in known:
        known["offset_m"] = tuple(known["offset_m"])  # JSON knows no tuples
    return known


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """Lay the tasks out as LeRobot does: a pandas frame whose index is the sentence."""
    index = np.arange(len(tasks), dtype=np.int64)
    table = pa.table({"task_index": index, "task": pa.array(list(tasks), pa.string())})
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64", "int64"),
            _pandas_column("task", "unicode", "object"),
        ],
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _pandas_column(name: str, kind: str, numpy_kind: str) -> dict[str, Any]:
    types = {"pandas_type": kind, "numpy_type": numpy_kind}
    return {"name": name, "field_name": name, "metadata": None, **types}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: If the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file.

    Raises:
        DataError: If it is missing, damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
            if missing:
                raise DataError(f"{path}: expected columns {missing}, which are not there")
            return file.read(columns=list(columns) if columns else None)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise DataError(f"{path}: not a whole parquet file ({reason})") from error


def write_table(path: Path, table: pa.Table, compression: str = "snappy") -> None:
    """Write a parquet file; it appears only when it is whole.

    Raises:
        DataError: If it cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table, temporary, compression=compression)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def check_record_version(folder: Path) -> dict[str, Any]:
    """Return what ``meta/sole.json`` says, or {} for a dataset that others wrote.

    Raises:
        DataError: If a newer version of us wrote it.
    """
    if not (folder / SOLE_PATH).exists():
        return {}
    notes = read_json(folder / SOLE_PATH)
    if notes.get("record_version") != RECORD_VERSION:
        raise DataError(
            f"{folder}: record version {notes.get('record_version')}; this sole reads "
            f"{RECORD_VERSION}: install the version that wrote it, or write it again"
        )
    return notes
