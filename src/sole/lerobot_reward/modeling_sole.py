# pyright: reportMissingImports=false
"""A SOLE reward model as LeRobot's :class:`PreTrainedRewardModel`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards.pretrained import PreTrainedRewardModel
from torch import Tensor

from sole.data.episode import EXTERNAL, WRIST, Episode, StepScore
from sole.lerobot_reward.configuration_sole import SoleConfig
from sole.rewarders.base import close_session

TASK_KEY = "task"


class SoleRewardModel(PreTrainedRewardModel):
    """Judges clips whole, and single frames as running episodes.

    Args:
        config: Who judges what.
        others: What LeRobot hands to every reward model (statistics of a dataset); not used.
    """

    name = "sole"
    config_class = SoleConfig

    def __init__(self, config: SoleConfig, **others: Any):
        super().__init__(config)
        self._judge = open_judge(config)
        self._running: list[Any] = []

    def reset(self) -> None:
        """Begin new episodes: the next single frames are 0 percent."""
        for session in self._running:
            close_session(session)
        self._running = []

    @torch.no_grad()
    def compute_reward(self, batch: Mapping[str, Any]) -> Tensor:
        """The reward of the last frame of each row.

        Args:
            batch: Under the keys of the configuration pictures ``(B, C, H, W)``, one frame of B
                running episodes (:meth:`reset` begins others), or ``(B, T, C, H, W)``, clips whose
                first frame is 0 percent; float in [0, 1] or uint8. Under ``task`` a sentence, or
                one for each row.

        Returns:
            float32 ``(B,)``; NaN where the model gave no number.

        Raises:
            ValueError: If pictures or tasks are not as expected.
        """
        views = {name: _pictures(batch, key) for name, key in self._keys().items()}
        shapes = {frames.shape[:2] for frames in views.values()}
        if len(shapes) != 1 or len({frames.ndim for frames in views.values()}) != 1:
            raise ValueError(f"sole: cameras differ in rows or frames: {sorted(shapes)}")
        n_rows = next(iter(views.values())).shape[0]
        tasks = _tasks(batch.get(TASK_KEY), n_rows, self.config.task)
        clips = next(iter(views.values())).ndim == 5
        steps = self._score(views, tasks) if clips else self._step(views, tasks)
        rewards = [_reward(step, self.config.reward) for step in steps]
        return torch.tensor(rewards, dtype=torch.float32, device=self.config.device)

    def _keys(self) -> dict[str, str]:
        keys = {EXTERNAL: self.config.external_key, WRIST: self.config.wrist_key}
        return {name: key for name, key in keys.items() if key is not None}

    def _score(self, views: Mapping[str, np.ndarray], tasks: Sequence[str]) -> list[StepScore]:
        episodes = [
            Episode(task, {name: frames[row] for name, frames in views.items()})
            for row, task in enumerate(tasks)
        ]
        return [score.steps[-1] for score in self._judge.score(episodes)]

    def _step(self, views: Mapping[str, np.ndarray], tasks: Sequence[str]) -> list[StepScore]:
        if not self._running:
            self._running = [self._judge.start(task) for task in tasks]
        if len(self._running) != len(tasks):
            raise ValueError(
                f"sole: {len(self._running)} episodes are running, got {len(tasks)} frames; call "
                "reset() first"
            )
        return [
            session.step({name: frames[row] for name, frames in views.items()})
            for row, session in enumerate(self._running)
        ]

    def _save_pretrained(self, save_directory: Path) -> None:
        """Save the configuration; the weights are where ``model`` says."""
        self.config._save_pretrained(save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: RewardModelConfig | None = None,
        **others: Any,
    ) -> SoleRewardModel:
        """Open what a saved configuration names."""
        found = config or RewardModelConfig.from_pretrained(pretrained_name_or_path)
        if not isinstance(found, SoleConfig):
            raise TypeError(f"sole: expected a SoleConfig, got {type(found).__name__}")
        return cls(found)


def open_judge(config: SoleConfig) -> Any:
    """The reward model that judges: on a server, or in this process.

    Raises:
        sole.errors.SoleError: If it cannot be reached or loaded.
    """
    if config.model.startswith(("http://", "https://")):
        from sole.client import RemoteRewardModel

        model = RemoteRewardModel(config.model, os.environ.get("SOLE_TOKEN"))
        return model.thinking() if config.think else model.fast()
    from sole.rewarders.load import load_reward_model

    return load_reward_model(config.model, think=config.think)


def _pictures(batch: Mapping[str, Any], key: str) -> np.ndarray:
    """uint8 RGB ``(B, [T,] H, W, 3)``."""
    if key not in batch:
        raise ValueError(f"sole: the batch has no {key!r}; set external_key or wrist_key")
    frames = torch.as_tensor(batch[key]).detach().cpu()
    if frames.ndim not in {4, 5} or frames.shape[-3] != 3:
        raise ValueError(
            f"sole: {key}: expected (B, 3, H, W) or (B, T, 3, H, W), got {tuple(frames.shape)}"
        )
    if frames.is_floating_point():
        frames = (frames * 255.0).round().clamp(0, 255)
    elif frames.dtype != torch.uint8:
        raise ValueError(f"sole: {key}: expected float in [0, 1] or uint8, got {frames.dtype}")
    return frames.to(torch.uint8).movedim(-3, -1).contiguous().numpy()


def _tasks(told: Any, n_rows: int, usual: str | None) -> list[str]:
    told = usual if told is None else told
    tasks: list[str] = [told] * n_rows if isinstance(told, str) else list(told or ())
    if len(tasks) != n_rows or not all(isinstance(task, str) for task in tasks):
        raise ValueError(f"sole: expected a task for each of {n_rows} rows, got {told!r}")
    return tasks


def _reward(step: StepScore, kind: str) -> float:
    said = step.success_probability if kind == "success" else step.progress
    if said is None:
        return float("nan")
    return float(said) if kind == "success" else float(said) / 100.0
