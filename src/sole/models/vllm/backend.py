"""A vLLM engine as a :class:`sole.models.backend.Backend`, and as a reader of the SOLE question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sole.models.backend import Capabilities, Generated, Prompt
from sole.models.hf.loading import describe_model
from sole.models.hf.numbers import NumberTree, whole_tree
from sole.models.hf.preset_reader import Asked, PresetReader
from sole.models.hf.presets import ROBUST, check_preset
from sole.models.vllm.engine import Engine, Question


def open_engine(name: str, revision: str | None, settings: dict[str, Any]) -> Engine:
    """Start an engine; the GPU is busy with it until this process ends.

    Raises:
        ConfigError: If vLLM is not installed, or there is no such model.
        ModelError: If the model cannot be downloaded, or the engine does not start.
    """
    return Engine(name, describe_model(name, revision), settings)


class VllmBackend:
    """Greedy words and exact probabilities of any model that vLLM runs.

    Args:
        engine: Runs the model.
    """

    capabilities = Capabilities(logprobs="exact", plain=True)

    def __init__(self, engine: Engine):
        self._engine = engine
        self.model_id = f"{engine.identity}/vllm"

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Generated]:
        """Reply to each prompt with the likeliest words.

        Raises:
            ModelError: If the model fails, or its template leaves out part of the prompt.
        """
        said = self._engine.generate([self._see(p) for p in prompts], max_new_tokens)
        return [Generated(text, n) for text, n in said]

    def logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[str]) -> np.ndarray:
        """Log-probability that the reply begins with each candidate: ``(prompts, candidates)``.

        Raises:
            ModelError: If the model fails, or its template leaves out part of the prompt.
        """
        tree = whole_tree(self._engine.tokenizer, candidates)
        found = self._engine.scores([self._see(p) for p in prompts], [tree] * len(prompts))
        return found if prompts else np.zeros((0, len(candidates)))

    def _see(self, prompt: Prompt) -> Question:
        return self._engine.see(self._engine.written(prompt), prompt.images)


class VllmReader(PresetReader[Question]):
    """Asks the SOLE question of a model that vLLM runs.

    Args:
        engine: Runs the model.
        name: As the user called the model, for messages.
        preset: ``robust`` or ``published``.
        max_batch: Questions given to the engine together; it makes its own batches.
        seed: Of the draws of ``published``.

    Raises:
        ConfigError: If there is no such preset.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        preset: str = ROBUST.name,
        max_batch: int = 256,
        seed: int = 0,
    ):
        check_preset(preset)
        super().__init__(
            engine, engine.tokenizer, name, preset=preset, max_batch=max_batch, seed=seed
        )
        self._engine = engine
        self.model_id += "/vllm"

    def _inputs(self, text: str, picture: np.ndarray) -> Question:
        return self._engine.see(text, [picture])

    def _generate(self, asked: Sequence[Asked[Question]]) -> list[tuple[str, int]]:
        preset, inputs = self.preset, [one.inputs for one in asked]
        seeds = [one.seed for one in asked]
        return self._engine.generate(inputs, preset.max_new_tokens, preset.sampling, seeds)

    def _scores(self, asked: Sequence[Asked[Question]], trees: Sequence[NumberTree]) -> np.ndarray:
        return self._engine.scores([one.inputs for one in asked], trees)
