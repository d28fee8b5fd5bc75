"""A vLLM engine: greedy or drawn words, and exact scores of given answers.

Questions go in as tokens with their pictures beside them; vLLM puts the picture's tokens in the
place of each mark. Scores are read along the tree of the answers
(:mod:`sole.models.hf.numbers`): each inner node is one request for one token that begins with the
question and the node's path, so that the engine's prefix cache has all but the last few tokens. Of
the next token's probabilities only those of the node's children are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sole.errors import ConfigError, ModelError
from sole.models.hf.loading import Described, explained
from sole.models.hf.network import ChatTemplate
from sole.models.hf.numbers import NumberTree
from sole.models.hf.presets import Sampling
from sole.models.vllm.name import INSTALL

#: Older engines do not give the probabilities of chosen tokens; -1 asks for the whole vocabulary.
_WHOLE_VOCABULARY = -1
_MOST_PICTURES = 64


@dataclass(frozen=True)
class Question:
    """One question as the engine takes it.

    Attributes:
        tokens: With one mark for each picture.
        pictures: uint8 RGB ``(H, W, 3)``.
    """

    tokens: tuple[int, ...]
    pictures: tuple[np.ndarray, ...]


class Engine(ChatTemplate):
    """``vllm.LLM`` behind the calls that our readers make.

    Args:
        name: ``ORGANISATION/MODEL`` on Hugging Face, or a folder.
        found: What :func:`sole.models.hf.loading.describe_model` said of it.
        settings: More of ``vllm.LLM``'s own.

    Raises:
        ConfigError: If vLLM is not installed.
        ModelError: If the engine does not start.
    """

    def __init__(self, name: str, found: Described, settings: dict[str, Any]):
        super().__init__(found.processor, found.identity)
        self._name = name
        try:
            import vllm  # type: ignore[import-not-found]
        except ImportError as error:
            raise ConfigError(
                f"model vllm:{name}: needs vLLM, on a machine with a GPU: {INSTALL} "
                "(or leave out vllm: to run it with transformers)"
            ) from error
        self._params = vllm.SamplingParams
        with explained(name):
            self._llm = vllm.LLM(
                model=name,
                revision=found.commit,
                trust_remote_code=False,
                seed=0,
                enable_prefix_caching=True,
                max_logprobs=_WHOLE_VOCABULARY,
                limit_mm_per_prompt={"image": _MOST_PICTURES},
                **settings,
            )
        self.tokenizer: Any = self._llm.get_tokenizer()

    def see(self, text: str, pictures: Sequence[np.ndarray]) -> Question:
        """A written question and its pictures as the engine takes them."""
        return Question(tuple(self.tokenizer(text)["input_ids"]), tuple(pictures))

    def generate(
        self,
        asked: Sequence[Question],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[tuple[str, int]]:
        """The reply of each question and how many tokens it took; greedy without ``sampling``."""
        drawn: list[dict[str, Any]] = [{"temperature": 0.0} for _ in asked]
        if sampling is not None and seeds is not None:
            drawn = [{**vars(sampling), "seed": seed % 2**31} for seed in seeds]
        params = [self._params(max_tokens=max_new_tokens, **settings) for settings in drawn]
        outputs = self._run([(one, ()) for one in asked], params)
        replies = [output.outputs[0] for output in outputs]
        return [(reply.text, len(reply.token_ids)) for reply in replies]

    def scores(self, asked: Sequence[Question], trees: Sequence[NumberTree]) -> np.ndarray:
        """Log-probabilities of all answers, float64 ``(questions, answers)``."""
        nodes = [_children(tree) for tree in trees]
        keys = [(i, path) for i, children in enumerate(nodes) for path in children]
        requests = [(asked[i], (*trees[i].shared, *path)) for i, path in keys]
        params = [self._of_next(nodes[i][path]) for i, path in keys]
        outputs = self._run(requests, params)
        known = {key: self._next(out) for key, out in zip(keys, outputs, strict=True)}
        found = np.zeros((len(asked), len(trees[0].steps) if trees else 0))
        for i, tree in enumerate(trees):
            for place, steps in enumerate(tree.steps):
                paths = [
                    (tree.branches[row][:depth] if depth else (), t) for row, depth, t in steps
                ]
                found[i, place] = sum(known[i, path][token] for path, token in paths)
        return found

    def _of_next(self, tokens: Sequence[int]) -> Any:
        """One more token, with the probabilities of these."""
        settings: dict[str, Any] = {"logprobs": _WHOLE_VOCABULARY}
        if "logprob_token_ids" in getattr(self._params, "__struct_fields__", ()):
            settings = {"logprobs": len(tokens), "logprob_token_ids": list(tokens)}
        return self._params(max_tokens=1, temperature=0.0, detokenize=False, **settings)

    def _next(self, output: Any) -> dict[int, float]:
        rows = output.outputs[0].logprobs
        if not rows:
            raise ModelError(f"{self.identity}: vLLM gave no log-probabilities")
        return {token: float(entry.logprob) for token, entry in rows[0].items()}

    def _run(
        self, requests: Sequence[tuple[Question, tuple[int, ...]]], params: Sequence[Any]
    ) -> list[Any]:
        prompts = [_prompt(question, after) for question, after in requests]
        if not prompts:
            return []
        with explained(self._name):
            return list(self._llm.generate(prompts, list(params), use_tqdm=False))


def _prompt(question: Question, after: Sequence[int]) -> dict[str, Any]:
    prompt: dict[str, Any] = {"prompt_token_ids": [*question.tokens, *after]}
    if question.pictures:
        images = [Image.fromarray(picture) for picture in question.pictures]
        prompt["multi_modal_data"] = {"image": images}
    return prompt


def _children(tree: NumberTree) -> dict[tuple[int, ...], list[int]]:
    """Tokens that may follow each path of the tree."""
    found: dict[tuple[int, ...], dict[int, None]] = {}
    for steps in tree.steps:
        for row, depth, token in steps:
            path = tree.branches[row][:depth] if depth else ()
            found.setdefault(path, {})[token] = None
    return {path: list(tokens) for path, tokens in found.items()}
