"""Calibrations that lie beside a model: what ``sole calibrate`` saves there is used everywhere.

A model in a folder (the shipped nano, a checkpoint, a model of ``sole fit``) keeps them under
``calibration/``, one file for each way of judging, because each way has its own numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from sole.console import stderr
from sole.progress.calibrate import Calibration
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated, load_calibration

#: As a calibration's path: the model as it is, whatever lies beside it.
UNCALIBRATED = Path("none")
FOLDER = "calibration"
_NANO = Path(__file__).parents[1] / "models" / "nano" / "weights"


def model_folder(name: str) -> Path | None:
    """The folder that a model of this name lies in, behind a method's name or not; else None.

    Example:
        >>> model_folder("ramp") is None, model_folder("nano").name
        (True, 'weights')
    """
    if name == "nano":
        return _NANO
    for place in (name, name.partition(":")[2]):
        if place and Path(place).is_dir():
            return Path(place)
    return None


def calibration_path(name: str, model_id: str) -> Path | None:
    """Where the calibration of a model in one way of judging is saved; None without a folder.

    Example:
        >>> calibration_path("nano", "nano-1/fast/z0.25/e1").name
        'nano-1_fast_z0.25_e1.json'
    """
    folder = model_folder(name)
    slug = re.sub(r"[^\w.\-]+", "_", model_id)
    return folder / FOLDER / f"{slug}.json" if folder else None


def calibrated_beside(name: str, model: RewardModel) -> RewardModel:
    """The model with what lies beside it, or as it is; it is said where nothing there fits.

    Raises:
        DataError: If a file there is no calibration.
    """
    folder = model_folder(name)
    paths = sorted((folder / FOLDER).glob("*.json")) if folder else []
    return with_records(model, {r.model_id: r for r in map(load_calibration, paths)})


def with_records(model: RewardModel, records: dict[str, Calibration]) -> RewardModel:
    """The model calibrated by the record that is of its very id.

    Args:
        model: Loaded in some way of judging.
        records: By the id of the model that they are of.
    """
    record = records.get(model.model_id)
    if record is not None:
        return BesideCalibrated(model, record, records)
    if records:
        stderr.print(
            f"not calibrated: beside the model lies what is of {', '.join(sorted(records))}, and "
            f"this is {model.model_id}", markup=False, soft_wrap=True,
        )  # fmt: skip
    return model


class BesideCalibrated(Calibrated):
    """A calibrated model that takes another record when it changes its way of judging.

    Args:
        model: The model.
        calibration: Its own record.
        records: All that lie beside it.
    """

    def __init__(
        self, model: RewardModel, calibration: Calibration, records: dict[str, Calibration]
    ):
        super().__init__(model, calibration)
        self._records = records

    def thinking(self) -> RewardModel:
        """The same model with reasoning, calibrated if there is a record of that."""
        return self._changed("thinking")

    def fast(self) -> RewardModel:
        """The same model without words, calibrated if there is a record of that."""
        return self._changed("fast")

    def _changed(self, way: str) -> RewardModel:
        change = getattr(self.model, way, None)
        return with_records(change(), self._records) if change else self


def in_way(model: RewardModel, way: Literal["thinking", "fast"]) -> RewardModel:
    """The same model judging with or without words; as it is when it knows one way only.

    A calibration that was named (``--calibration FILE``) is of one way. In the other the model is
    taken as it is; what lies beside a model is looked through for a record of that way.
    """
    if isinstance(model, Calibrated) and not isinstance(model, BesideCalibrated):
        changed = in_way(model.model, way)
        return model if changed.model_id == model.model.model_id else changed
    change = getattr(model, way, None)  # the controls have no ways
    return change() if change else model
