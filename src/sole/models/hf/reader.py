"""A vision-language model of transformers behind :class:`sole.models.base.Reader`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sole.errors import ConfigError
from sole.models.hf.loading import open_model
from sole.models.hf.network import Inputs, Network
from sole.models.hf.numbers import NumberTree
from sole.models.hf.preset_reader import Asked, PresetReader
from sole.models.hf.presets import ROBUST, check_preset
from sole.models.hf.sampling import SeededDraw


class TransformersReader(PresetReader[Inputs]):
    """Asks any image-text-to-text model: one composite picture and one prompt a question.

    The frames are kept as pictures: a composite shows three moments in one image, which is encoded
    anew for every question, so nothing is shared between questions.

    Args:
        name: ``ORGANISATION/MODEL`` on Hugging Face, or a folder of ``save_pretrained``.
        revision: Branch, tag or commit on the hub.
        preset: ``robust`` or ``published``, see :data:`sole.models.hf.presets.READINGS`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on the CPU.
        max_batch: Questions read or answered together.
        max_rows: Copies of the cache while a number is read; fewer need less memory.
        seed: Of the draws of ``published``; ``robust`` draws nothing.

    Raises:
        ConfigError: If there is no such model, preset, device or dtype.
        ModelError: If the model cannot be downloaded or loaded, or lacks a package.
    """

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        preset: str = ROBUST.name,
        device: str = "auto",
        dtype: str = "auto",
        max_batch: int = 8,
        max_rows: int = 32,
        seed: int = 0,
    ):
        if max_batch < 1 or max_rows < 1:
            raise ConfigError(f"expected max_batch and max_rows >= 1: {max_batch}, {max_rows}")
        check_preset(preset)  # Before gigabytes are read.
        opened = open_model(name, revision, device, dtype)
        self._network = Network(opened, name)
        self.model, self.processor = opened.model, opened.processor
        super().__init__(
            self._network, self._network.tokenizer, name,
            preset=preset, max_batch=max_batch, seed=seed,
        )  # fmt: skip
        self._max_rows = max_rows

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def size_mb(self) -> float:
        """Megabytes of memory that the weights take."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters()) / 1e6

    def _inputs(self, text: str, picture: np.ndarray) -> Inputs:
        return self._network.see(text, [picture])

    def _generate(self, asked: Sequence[Asked[Inputs]]) -> list[tuple[str, int]]:
        return self._network.generate(
            [one.inputs for one in asked], self.preset.max_new_tokens, self._draws(asked)
        )

    def _draws(self, asked: Sequence[Asked[Inputs]]) -> LogitsProcessorList:
        sampling = self.preset.sampling
        if sampling is None:
            return LogitsProcessorList()
        return LogitsProcessorList(
            [
                TemperatureLogitsWarper(sampling.temperature),
                TopKLogitsWarper(sampling.top_k),
                TopPLogitsWarper(sampling.top_p),
                SeededDraw([one.seed for one in asked]),
            ]
        )

    def _scores(self, asked: Sequence[Asked[Inputs]], trees: Sequence[NumberTree]) -> np.ndarray:
        return self._network.scores([one.inputs for one in asked], trees, self._max_rows)
