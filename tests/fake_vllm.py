"""A module with the calls of vLLM's offline engine that we make, run by transformers.

Names, argument names, positions and results are those of vLLM 0.11 and later (``vllm.LLM``,
``vllm.SamplingParams``, ``RequestOutput``); an argument that vLLM does not have is a TypeError
here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sole.models.hf.loading import open_model


@dataclass
class SamplingParams:
    """The settings of vLLM that we use, with its defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    detokenize: bool = True

    __struct_fields__ = (
        "temperature", "top_p", "top_k", "seed", "max_tokens", "logprobs", "logprob_token_ids",
        "detokenize",
    )  # fmt: skip


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


class LLM:
    """Answers one prompt after the other; ``made`` keeps the engines, each its calls.

    Args as vLLM's, of which these are used.
    """

    made: list[LLM] = []

    def __init__(  # noqa: PLR0913  vLLM's own
        self,
        model: str,
        *,
        revision: str | None = None,
        trust_remote_code: bool = False,
        seed: int = 0,
        enable_prefix_caching: bool | None = None,
        max_logprobs: int = 20,
        limit_mm_per_prompt: dict[str, int] | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
    ):
        opened = open_model(model, revision, "cpu", "auto")
        self.model, self.processor = opened.model, opened.processor
        self.max_logprobs, self.max_model_len = max_logprobs, max_model_len
        self.calls: list[tuple[list[dict[str, Any]], list[SamplingParams]]] = []
        LLM.made.append(self)

    def get_tokenizer(self):
        return self.processor.tokenizer

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True) -> list[RequestOutput]:
        assert len(prompts) == len(sampling_params)
        self.calls.append((list(prompts), list(sampling_params)))
        return [self._answer(p, s) for p, s in zip(prompts, sampling_params, strict=True)]

    @torch.inference_mode()
    def _answer(self, prompt, params) -> RequestOutput:
        assert set(prompt) <= {"prompt_token_ids", "multi_modal_data"}
        inputs = self._inputs(**prompt)
        written, scores = [], []
        for _ in range(params.max_tokens):
            row = self.model(**inputs).logits[0, -1].float().log_softmax(-1)
            token = int(_drawn(row, params, len(written)))
            scores.append(row)
            written.append(token)
            if token == self.processor.tokenizer.eos_token_id:
                break
            inputs = self._longer(inputs, token)
        said = written[:-1] if written[-1] == self.processor.tokenizer.eos_token_id else written
        text = self.get_tokenizer().decode(said) if params.detokenize else ""
        tables = None
        if params.logprobs is not None:
            tables = [self._table(row, params) for row in scores]
        return RequestOutput([CompletionOutput(text, written, tables)])

    def _table(self, row, params) -> dict[int, Logprob]:
        if params.logprob_token_ids is not None:
            wanted = params.logprob_token_ids
        elif params.logprobs == -1:
            assert self.max_logprobs == -1
            wanted = range(len(row))
        else:
            wanted = row.topk(params.logprobs).indices.tolist()
        return {t: Logprob(float(row[t])) for t in wanted}

    def _inputs(self, prompt_token_ids, multi_modal_data=None) -> dict[str, torch.Tensor]:
        images = (multi_modal_data or {}).get("image", [])
        mark = self.model.config.image_token_id
        assert sum(t == mark for t in prompt_token_ids) == len(images)
        inputs: dict[str, torch.Tensor] = {}
        counts = iter(())
        if images:
            seen = self.processor.image_processor(images, return_tensors="pt")
            inputs = dict(seen)
            counts = iter((seen["image_grid_thw"].prod(-1) // 4).tolist())
        ids = [
            t for one in prompt_token_ids for t in ([one] * next(counts) if one == mark else [one])
        ]
        row = torch.tensor([ids])
        types = (row == mark).long()
        return {"input_ids": row, "attention_mask": torch.ones_like(row),
                "mm_token_type_ids": types, **inputs}  # fmt: skip

    def _longer(self, inputs, token: int) -> dict[str, torch.Tensor]:
        added = {"input_ids": token, "attention_mask": 1, "mm_token_type_ids": 0}
        return {
            name: torch.cat([t, torch.tensor([[added[name]]])], 1) if name in added else t
            for name, t in inputs.items()
        }


def _drawn(row, params, place: int) -> torch.Tensor:
    if params.temperature == 0.0:
        return row.argmax()
    assert params.seed is not None
    generator = torch.Generator().manual_seed(params.seed + place)
    best = row.topk(params.top_k)
    return best.indices[torch.multinomial(best.values.exp(), 1, generator=generator)][0]
