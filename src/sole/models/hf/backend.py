"""A model of transformers as a :class:`sole.models.backend.Backend`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import LogitsProcessorList

from sole.errors import ConfigError
from sole.models.backend import Capabilities, Generated, Prompt
from sole.models.hf.loading import explained, open_model
from sole.models.hf.network import Inputs, Network
from sole.models.hf.numbers import whole_tree


class TransformersBackend:
    """Greedy words and exact probabilities of any image-text-to-text model.

    A question is read once; the candidates continue from copies of its cache. Every token of a
    candidate counts, over the whole vocabulary.

    Args:
        name: ``ORGANISATION/MODEL`` on Hugging Face, or a folder of ``save_pretrained``.
        revision: Branch, tag or commit on the hub.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on the CPU.
        max_batch: Prompts answered together.
        max_rows: Copies of the cache while candidates are read; fewer need less memory.

    Raises:
        ConfigError: If there is no such model, device or dtype.
        ModelError: If the model cannot be downloaded or loaded, or lacks a package.
    """

    capabilities = Capabilities(logprobs="exact", plain=True)

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_batch: int = 8,
        max_rows: int = 32,
    ):
        if max_batch < 1 or max_rows < 1:
            raise ConfigError(f"expected max_batch and max_rows >= 1: {max_batch}, {max_rows}")
        self.network = Network(open_model(name, revision, device, dtype), name)
        self.model_id = self.network.identity
        self._name, self._max_batch, self._max_rows = name, max_batch, max_rows

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Generated]:
        """Reply to each prompt with the likeliest words.

        Raises:
            ModelError: If the model fails, or its template leaves out part of the prompt.
        """
        replies: list[Generated] = []
        for start in range(0, len(prompts), self._max_batch):
            part = [self._see(p) for p in prompts[start : start + self._max_batch]]
            with explained(self._name):
                said = self.network.generate(part, max_new_tokens, LogitsProcessorList())
            replies += [Generated(text, n) for text, n in said]
        return replies

    def logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[str]) -> np.ndarray:
        """Log-probability that the reply begins with each candidate: ``(prompts, candidates)``.

        Raises:
            ModelError: If the model fails, or its template leaves out part of the prompt.
        """
        tree = whole_tree(self.network.tokenizer, candidates)
        found = np.zeros((len(prompts), len(candidates)))
        for start in range(0, len(prompts), self._max_batch):
            rows = slice(start, start + self._max_batch)
            part = [self._see(p) for p in prompts[rows]]
            with explained(self._name):
                found[rows] = self.network.scores(part, [tree] * len(part), self._max_rows)
        return found

    def _see(self, prompt: Prompt) -> Inputs:
        return self.network.see(self.network.written(prompt), prompt.images)
