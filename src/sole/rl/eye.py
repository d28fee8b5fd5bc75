"""Observations through the frozen eye of nano: pictures are encoded once and never again.

The policy then learns from vectors, for which a CPU is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from sole.errors import ConfigError
from sole.rl.envs import Observation
from sole.run import stored_model


class EyeView:
    """Turns pictures and proprioception into one vector, several environments at a time.

    Args:
        space: What :func:`~sole.rl.envs.observation_space` says of pixels.
        grid: Features are averaged within grid x grid cells of a picture.

    Raises:
        ConfigError: If there are no pictures.
    """

    def __init__(self, space: Space[Any], grid: int):
        # Imported only now: torch takes seconds, and only this kind of observation needs it here.
        from sole.rewarders.learned_net import make_eye

        if not isinstance(space, Dict):
            raise ConfigError(f"observation eye: expected pictures, got {space}")
        self._eye = make_eye("nano", grid)
        self.eye_id = f"eye-{self._eye.digest()}"
        self._views = sorted(k for k, v in space.spaces.items() if len(v.shape or ()) == 3)
        self._vectors = sorted(set(space.spaces) - set(self._views))
        size = len(self([_example(space)])[0])
        self.space = Box(-np.inf, np.inf, (size,), np.float32)

    def __call__(self, observations: Sequence[Observation]) -> list[np.ndarray]:
        """A float32 vector of each observation; all pictures are encoded in one batch."""
        pictures = [o[name].transpose(1, 2, 0) for o in observations for name in self._views]
        features = self._eye(pictures).cpu().numpy().reshape(len(observations), -1)
        return [
            np.concatenate([row, *(o[name].ravel() for name in self._vectors)]).astype(np.float32)
            for row, o in zip(features, observations, strict=True)
        ]

    def check_same(self, folder: Path) -> None:
        """Refuse to go on with a policy that saw through another eye: new weights, new numbers.

        Raises:
            ConfigError: If the run in ``folder`` was begun with another eye.
            DataError: If it does not say with which.
        """
        was = stored_model(folder, key="eye")
        if was not in (None, self.eye_id):
            raise ConfigError(
                f"run {folder}: its policy saw through {was}, and nano's is now {self.eye_id}; "
                "choose another folder"
            )


def _example(space: Dict) -> dict[str, np.ndarray]:
    return {name: np.zeros(part.shape or (), part.dtype) for name, part in space.spaces.items()}
