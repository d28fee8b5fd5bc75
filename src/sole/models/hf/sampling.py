"""Sampling that does not depend on which other questions share the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class SeededDraw(LogitsProcessor):
    """Adds Gumbel noise to the scores, so that the largest is a draw from their softmax.

    Each row has a generator of its own, seeded by its question: a reply depends on the question and
    the seed alone, not on the batch's order or size. It must be the last processor, and
    ``do_sample`` must be False.

    Args:
        seeds: One for each row.
    """

    def __init__(self, seeds: Sequence[int]):
        # On the CPU: the same draw whatever the device.
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """Scores plus noise; what was ruled out (``-inf``) stays so."""
        size = scores.shape[-1]
        noise = torch.stack([torch.empty(size).exponential_(generator=g) for g in self._generators])
        return scores.float() - noise.clamp_min(1e-38).log().to(scores.device)
