"""The worst cases of a calibration: failures that pass its threshold, successes that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from sole.errors import DataError, SoleError
from sole.evals.calibration import CalibrateConfig, measured_path
from sole.evals.calibration_rows import SCHEMA, rows_path
from sole.evals.labelled import labelled_data
from sole.review.clips import Clips, judged_again, pictures, refused_settings, thinking_aloud
from sole.review.saved import Measured
from sole.rewarders.beside import UNCALIBRATED

#: Kind -> what the page says of it.
KINDS = {"passed": "Failures that pass", "missed": "Successes that do not pass"}
#: Part -> what its episodes were for.
PARTS = {"check": "of those nothing was chosen on", "fit": "of those it was fitted on"}


@dataclass(frozen=True)
class Row(Measured):
    """One episode that a calibration was fitted or checked on.

    Attributes:
        part: ``fit`` or ``check``.
        highest_signal: Raw sign of success of its surest frame, in [0, 1].
        calibrated: The success probability that this means.
        passed: Whether that reaches the threshold.
    """

    part: str
    highest_signal: float
    calibrated: float
    passed: bool

    @property
    def words(self) -> str:
        """One line about it, as measured."""
        truth = "truly done" if self.true_success_ever else "truly failed"
        passes = "passes" if self.passed else "does not pass"
        return (
            f"{self.name}: {truth}, {passes}: highest success signal {self.highest_signal:.3f}, "
            f"calibrated {self.calibrated:.3f} ({PARTS[self.part]})"
        )


def read_rows(calibration: Path, found: Mapping[str, Any]) -> list[Row]:
    """The episodes beside a calibration.

    Args:
        calibration: Its file.
        found: What was measured of it, for comparison.

    Raises:
        DataError: If there are none, or they are another calibration's.
    """
    path = rows_path(calibration)
    if "config" not in found:
        raise DataError(
            f"{measured_path(calibration)}: written by a sole calibrate that kept no episodes; "
            "calibrate again"
        )
    try:
        lines = pq.read_table(path, columns=SCHEMA.names).to_pylist()
        rows = [_row(line) for line in lines]
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; sole calibrate writes it") from error
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if any(_counts(rows, part) != _measured_counts(found, part) for part in PARTS):
        raise DataError(f"{path}: does not belong to the calibration beside it; calibrate again")
    return rows


def _row(line: Mapping[str, Any]) -> Row:
    if line["part"] not in PARTS:
        raise ValueError(f"part {line['part']!r}")
    return Row(
        line["place"], line["env_name"], line["policy"], line["seed"], line["task"],
        line["true_success"], np.array(line["true_progress"], float), line["part"],
        line["highest_signal"], line["calibrated"], line["passed"],
    )  # fmt: skip


def _counts(rows: Sequence[Row], part: str) -> tuple[int, int, int]:
    """Episodes, failures that pass, successes that pass."""
    mine = [row for row in rows if row.part == part]
    passed = [row.true_success_ever for row in mine if row.passed]
    return len(mine), passed.count(False), passed.count(True)


def _measured_counts(found: Mapping[str, Any], part: str) -> tuple[int, int, int]:
    if part not in found:
        return 0, 0, 0
    one = found[part]
    return one["n_episodes"], one["fpr"]["k"], one["recall"]["k"]


def wrong_cases(rows: Sequence[Row], per_kind: int) -> dict[str, tuple[Row, ...]]:
    """Failures that pass, the highest signal first, and successes that do not, the lowest first."""
    passed = [r for r in rows if r.passed and not r.true_success_ever]
    missed = [r for r in rows if not r.passed and r.true_success_ever]
    return {
        "passed": tuple(sorted(passed, key=lambda r: -r.highest_signal)[:per_kind]),
        "missed": tuple(sorted(missed, key=lambda r: r.highest_signal)[:per_kind]),
    }


def film_wrong(
    calibration: Path, model_id: str, found: Mapping[str, Any], per_kind: int,
    moved: Mapping[str, Path | None],
) -> Clips[Row]:  # fmt: skip
    """Clips of the worst cases, judged once more with reasoning; or the reason why there are none.

    Args:
        calibration: Its file; the rows lie beside it.
        model_id: The model it is of.
        found: What was measured of it.
        per_kind: At most so many of each of :data:`KINDS`; 0 loads no model.
        moved: Settings that say where the episodes lie now; None where they lie as before.
    """
    if not per_kind:
        return Clips({}, missing="--worst 0 asked for none")
    try:
        cases = wrong_cases(read_rows(calibration, found), per_kind)
        if not any(cases.values()):
            return Clips({}, missing="no episode was judged wrong")
        return _film(_settings(calibration, found, moved), model_id, cases)
    except SoleError as error:
        return Clips({}, missing=str(error))


def _settings(
    calibration: Path, found: Mapping[str, Any], moved: Mapping[str, Path | None]
) -> CalibrateConfig:
    changes = {name: path for name, path in moved.items() if path is not None}
    try:
        return CalibrateConfig.model_validate({**found["config"], **changes})
    except ValidationError as error:
        raise refused_settings(measured_path(calibration), error) from error


def _film(config: CalibrateConfig, model_id: str, cases: Mapping[str, Sequence[Row]]) -> Clips[Row]:
    model = thinking_aloud(config, UNCALIBRATED, model_id)
    wanted = [row for part in cases.values() for row in part]
    folders = {"fit": config.data, "check": config.check_data}
    parts = {row.part for row in wanted}
    whole = {part: labelled_data(f) for part, f in folders.items() if f and part in parts}
    episodes = pictures(config, wanted, lambda row: whole.get(row.part))
    return judged_again(cases, model, episodes, config.batch)
