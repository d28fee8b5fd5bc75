# pyright: reportMissingImports=false
"""Settings of a SOLE reward model inside LeRobot."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.configs.rewards import RewardModelConfig


@RewardModelConfig.register_subclass("sole")
@dataclass
class SoleConfig(RewardModelConfig):
    """Who judges, and where a batch holds what is judged.

    Args:
        model: Address of a ``sole serve`` (its token is read from SOLE_TOKEN), or any name that
            ``sole score --model`` takes where ``sole-rewards[local]`` is installed.
        external_key: The camera that sees the scene.
        wrist_key: The camera on the wrist; None for none.
        task: The instruction where a batch holds none.
        think: With reasoning (slower).
        reward: ``progress``: progress / 100, in [-1, 1]; ``success``: the success probability.
    """

    model: str = "http://127.0.0.1:8000"
    external_key: str | None = "observation.images.top"
    wrist_key: str | None = None
    task: str | None = None
    think: bool = False
    reward: str = "progress"

    def __post_init__(self) -> None:
        """Check what can be checked without a batch."""
        self.device = self.device or "cpu"  # nothing of it is a tensor of ours
        super().__post_init__()
        if self.reward not in {"progress", "success"}:
            raise ValueError(f"sole: expected reward progress or success, got {self.reward!r}")
        if self.external_key is None and self.wrist_key is None:
            raise ValueError("sole: expected external_key, wrist_key or both")
