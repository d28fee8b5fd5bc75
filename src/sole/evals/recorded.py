"""Recordings without truth, taken for what demonstrations mostly are: successes from start to end.

Their progress is time. A ramp is perfect against that, so the metrics against the truth say little
by themselves here, and the control videos (frozen, reversed, mistold ..) say the rest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sole.console import stderr
from sole.data.episode import Episode, Truth
from sole.data.sources import open_source
from sole.errors import DataError
from sole.evals.labelled import task_name

_LEAST_FRAMES = 3


def recorded_successes(
    path: Path, n_frames: int, *, task: str | None, external: str | None, wrist: str | None
) -> list[Episode]:
    """Every episode of a recording, at up to ``n_frames`` evenly spaced frames.

    Args:
        path: A LeRobot dataset (v2 or v3), a folder of videos, or one video.
        n_frames: More frames than this are thinned out, the first and the last kept.
        task: What videos show; datasets have their own sentences.
        external: The dataset's camera that stands still, where it has another name.
        wrist: The dataset's camera on the wrist, likewise.

    Raises:
        ConfigError: If a task is missing for videos, or given for a dataset.
        DataError: If there is no episode, one has a truth of its own, or one is shorter than three
            frames.
    """
    named = {"external": external, "wrist": wrist}
    cameras = {view: camera for view, camera in named.items() if camera is not None}
    source = open_source(path, task=task, cameras=cameras)
    made = [_as_success(path, k, e, n_frames) for k, e in enumerate(source.read())]
    if not made:
        raise DataError(f"{path}: holds no episode")
    stderr.print(
        f"{path}: no truth; all {len(made)} episodes are taken for successes whose progress is "
        "time. A ramp is perfect against that: read the controls beside it",
        markup=False,
        soft_wrap=True,
    )
    return made


def _as_success(path: Path, number: int, episode: Episode, n_frames: int) -> Episode:
    if episode.truth is not None:
        raise DataError(f"{path}: episode {number} has a truth of its own; give the data to --data")
    if episode.n_frames < _LEAST_FRAMES:
        raise DataError(
            f"{path}: episode {number} has {episode.n_frames} frames; expected {_LEAST_FRAMES} or "
            "more"
        )
    kept = np.linspace(0, episode.n_frames - 1, min(n_frames, episode.n_frames)).round()
    shown = episode.subset(kept.astype(int))
    progress = np.linspace(0.0, 100.0, shown.n_frames, dtype=np.float32)
    return replace(
        shown,
        truth=Truth(progress, progress >= 100.0),
        env_name=task_name(episode.task),
        policy="expert",
        seed=number,
    )
