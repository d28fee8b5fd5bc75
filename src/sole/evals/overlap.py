"""Whether a calibration is measured on the very episodes that it was fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sole.console import stderr
from sole.data.episode import Episode
from sole.errors import ConfigError
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated

_BYTES = 16


def refuse_overlap(fitted: Sequence[Episode], checked: Sequence[Episode]) -> None:
    """Refuse to measure a calibration on the episodes it was fitted on.

    Raises:
        ConfigError: If any episode is in both.
    """
    both = set(fingerprints(fitted)) & set(fingerprints(checked))
    if both:
        raise ConfigError(
            f"{len(both)} episodes would be fitted on and checked on; check on others"
        )


def say_fitted_on(models: Iterable[RewardModel], episodes: Sequence[Episode]) -> None:
    """Say on stderr which models' calibrations were fitted on some of these episodes.

    Records from before episodes were noted in them say nothing.
    """
    calibrated = [m for m in models if isinstance(m, Calibrated) and m.calibration.fitted_on]
    measured = set(fingerprints(episodes)) if calibrated else set()
    for model in calibrated:
        if both := measured & set(model.calibration.fitted_on):
            stderr.print(
                f"{model.model_id}: its calibration was fitted on {len(both)} of these "
                f"{len(measured)} episodes, so its numbers are too good; measure on other "
                "episodes, or with --calibration none",
                markup=False,
                soft_wrap=True,
            )


def fingerprints(episodes: Sequence[Episode]) -> list[str]:
    """Each episode's sentence and pictures as one hash: names and seeds are not always there."""
    return [_fingerprint(episode) for episode in episodes]


def _fingerprint(episode: Episode) -> str:
    pictures = hashlib.blake2b(episode.task.encode(), digest_size=_BYTES)
    for name in sorted(episode.views):
        pictures.update(np.ascontiguousarray(episode.views[name]).data)
    return pictures.hexdigest()
