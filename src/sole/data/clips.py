"""Recorded clips with a progress curve beside them, as SOLE-R1's authors publish theirs.

A clip is a folder with ``data.json`` (``task description``: a sentence; ``ground-truth rewards``:
percent 0-100, one per frame) and a video, in the folder or beside it under the folder's name.
Twice as wide as high, the left half is the external view and the right half the wrist's. Source:
the folder ``test_videos`` of the repository philipmit/sole-r1-model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.episode import Episode, Truth
from sole.data.readers import read_episode
from sole.data.video import video_size
from sole.errors import DataError

TASK_KEY, PROGRESS_KEY = "task description", "ground-truth rewards"
VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mov", ".mkv")
#: What the authors' tool draws of the same clip lies beside it.
_DRAWN = "plot"
_TWO_VIEWS = 1.8


def read_clips(folder: Path, *, success_at: float = 100.0) -> Iterator[Episode]:
    """Read every clip below a folder, in the order of their paths; each is called by its path.

    Args:
        folder: Holds clips at any depth.
        success_at: Percent from which a frame counts as truly successful.

    Raises:
        DataError: If there is none, or one is not as described.
        VideoError: If a video cannot be read.
    """
    described = sorted(folder.rglob("data.json")) if folder.is_dir() else []
    if not described:
        raise DataError(
            f"{folder}: no data.json in any folder; expected clips, each a folder with data.json "
            f"({TASK_KEY!r}, {PROGRESS_KEY!r}) and a video"
        )
    for path in described:
        clip = read_clip_folder(path.parent, success_at=success_at)
        place = path.parent.relative_to(folder).as_posix()
        yield clip if place == "." else replace(clip, env_name=f"clips/{place}")


def read_clip_folder(folder: Path, *, success_at: float = 100.0) -> Episode:
    """Read one clip; see :func:`read_clips`."""
    task, progress = _description(folder / "data.json")
    video = _video_of(folder)
    width, height = video_size(video)
    if width >= _TWO_VIEWS * height:
        episode = read_episode(task, both=video)
    else:
        episode = read_episode(task, external=video)
    if episode.n_frames != len(progress):
        raise DataError(
            f"{folder}: {len(progress)} values under {PROGRESS_KEY!r}, but the video has "
            f"{episode.n_frames} frames; expected one value per frame"
        )
    truth = Truth(progress, progress >= success_at)
    return replace(episode, truth=truth, suite="clips", env_name=f"clips/{folder.name}")


def _description(path: Path) -> tuple[str, np.ndarray]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    task = found.get(TASK_KEY) if isinstance(found, dict) else None
    values = found.get(PROGRESS_KEY) if isinstance(found, dict) else None
    if not isinstance(task, str) or not task.strip():
        raise DataError(f"{path}: expected a sentence under {TASK_KEY!r}")
    listed = values if isinstance(values, list) else []
    if len(listed) < 2 or not all(_is_percent(v) for v in listed):
        raise DataError(
            f"{path}: expected two or more percentages from 0 to 100 under {PROGRESS_KEY!r}"
        )
    return task, np.asarray(values, np.float32)


def _is_percent(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _video_of(folder: Path) -> Path:
    inside = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES]
    inside = [p for p in inside if p.stem != _DRAWN]
    beside = [folder.with_name(folder.name + suffix) for suffix in VIDEO_SUFFIXES]
    found = inside or [p for p in beside if p.is_file()]
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise DataError(
            f"{folder}: expected one video in it, or beside it as {folder.name}.mp4; found {names}"
        )
    return found[0]
