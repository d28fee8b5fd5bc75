# pyright: reportMissingImports=false
"""What LeRobot puts before and after the model: a batch dimension, and nothing."""

from __future__ import annotations

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    policy_action_to_transition,
)
from lerobot.utils.constants import (
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)

from sole.lerobot_reward.configuration_sole import SoleConfig


def make_sole_pre_post_processors(
    config: SoleConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """The two pipelines; pictures go to the model as they are, so no statistics are needed."""
    before: PolicyProcessorPipeline = PolicyProcessorPipeline(
        steps=[
            AddBatchDimensionProcessorStep(),
            DeviceProcessorStep(device=config.device or "cpu"),
        ],
        name=POLICY_PREPROCESSOR_DEFAULT_NAME,
    )
    after: PolicyProcessorPipeline = PolicyProcessorPipeline(
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME, to_transition=policy_action_to_transition
    )
    return before, after
