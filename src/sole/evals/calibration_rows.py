"""One row an episode of what a calibration was fitted and checked on, for its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sole.data.episode import Episode
from sole.evals.calibration_fit import Labelled
from sole.progress.calibrate import Calibration

#: ``highest_signal`` is the raw sign of success in [0, 1], ``calibrated`` the probability it means.
SCHEMA = pa.schema(
    [("part", pa.string()), ("place", pa.int64())]
    + [(name, pa.string()) for name in ("env_name", "policy", "task")]
    + [("seed", pa.int64()), ("true_success", pa.bool_()), ("passed", pa.bool_())]
    + [(name, pa.float64()) for name in ("highest_signal", "calibrated")]
    + [("true_progress", pa.list_(pa.float32()))]
)


def rows_path(calibration: Path) -> Path:
    """Where the rows of a calibration lie.

    Example:
        >>> rows_path(Path("runs/calibration.json")).name
        'calibration.episodes.parquet'
    """
    return calibration.with_suffix(".episodes.parquet")


def episode_rows(
    part: str, episodes: Sequence[Episode], data: Labelled, calibration: Calibration
) -> list[dict[str, Any]]:
    """Rows of :data:`SCHEMA`.

    Args:
        part: ``fit`` or ``check``.
        episodes: With truth.
        data: The same episodes, judged.
        calibration: Decides which of them pass.
    """
    calibrated = calibration.success(data.highest)
    return [
        {
            "part": part, "place": i, "env_name": episode.env_name, "policy": episode.policy,
            "task": episode.task, "seed": episode.seed, "true_success": bool(data.succeeded[i]),
            "passed": bool(calibrated[i] >= calibration.success_threshold),
            "highest_signal": float(data.highest[i]), "calibrated": float(calibrated[i]),
            "true_progress": episode.truth.true_progress.tolist() if episode.truth else None,
        }
        for i, episode in enumerate(episodes)
    ]  # fmt: skip
