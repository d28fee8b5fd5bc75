"""An opened model of transformers: questions become tensors, tensors become words and scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from sole.errors import ModelError
from sole.models.backend import Prompt
from sole.models.hf.loading import Opened, explained
from sole.models.hf.numbers import NumberTree, number_logits

Inputs = Mapping[str, Tensor]
"""What the model takes for one question: a batch of one."""


class ChatTemplate:
    """How a model's own chat template writes a question.

    Args:
        processor: Of the model.
        identity: Name and version, for messages.
    """

    def __init__(self, processor: Any, identity: str):
        self.processor, self.identity = processor, identity

    def write(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The question as the model's chat template writes it, up to where the reply begins.

        Raises:
            ModelError: If the template refuses, or leaves out part of the question.
        """
        listed = [{**m, "content": _as_parts(m["content"])} for m in messages]
        try:
            text = self.processor.apply_chat_template(
                listed, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise ModelError(f"{self.identity}: its chat template refuses ({error})") from error
        said = [part["text"] for m in listed for part in m["content"] if "text" in part]
        # Many templates strip the blanks at both ends of a text.
        if any(words.strip() not in text for words in said):
            raise ModelError(
                f"{self.identity}: its chat template leaves out part of the question; expected one "
                "that writes a system message, a picture and text"
            )
        return text

    def picture_mark(self) -> str:
        """What the chat template writes where a picture stands.

        Raises:
            ModelError: If it writes nothing there.
        """
        before, after = "picturebegins", "pictureends"
        parts = [_text(before), {"type": "image"}, _text(after)]
        text = self.write([{"role": "user", "content": parts}])
        mark = text.partition(before)[2].partition(after)[0].strip()
        if not mark:
            raise ModelError(
                f"{self.identity}: its chat template puts pictures elsewhere than where they are "
                "named; it cannot continue a text with pictures in it"
            )
        return mark

    def written(self, prompt: Prompt) -> str:
        """A prompt as text with marks where its pictures stand.

        Raises:
            ModelError: If the template refuses or leaves out part of it.
        """
        if prompt.chat:
            return self.write(prompt.messages)
        mark = self.picture_mark() if prompt.images else ""
        parts = prompt.messages[0]["content"]
        return "".join(part["text"] if part["type"] == "text" else mark for part in parts)


class Network(ChatTemplate):
    """Writes and reads for whoever asks; batches change no reply and no number.

    Args:
        opened: The model and its processor.
        name: As the user called it, for messages.

    Raises:
        ModelError: If the model names no token that ends a reply.

    Attributes:
        ends: Tokens that end a reply.
        pad: The token that fills up shorter questions.
    """

    def __init__(self, opened: Opened, name: str):
        super().__init__(opened.processor, opened.identity)
        self.model = opened.model
        self.tokenizer: Any = opened.processor.tokenizer
        self._name = name
        self.ends = _end_tokens(self.model, self.tokenizer)
        pad = self.tokenizer.pad_token_id
        self.pad = min(self.ends) if pad is None else pad
        # The published generation settings of a model (penalties, its own sampling) are not ours.
        self.model.generation_config = GenerationConfig(
            eos_token_id=sorted(self.ends), pad_token_id=self.pad, do_sample=False
        )

    def see(self, text: str, pictures: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Turn a written question and its uint8 RGB pictures into the model's inputs.

        Raises:
            ModelError: If the processor cannot.
        """
        images = [Image.fromarray(picture) for picture in pictures]
        with explained(self._name):
            found = self.processor(text=[text], images=images or None, return_tensors="pt")
        return dict(found)

    def batch(self, asked: Sequence[Inputs], replies: Sequence[Iterable[int]]) -> dict[str, Tensor]:
        """One batch of questions, each with the beginning of its reply, padded on the left."""
        rows = [_with_reply(one, list(r)) for one, r in zip(asked, replies, strict=True)]
        longest = max(row["input_ids"].shape[1] for row in rows)
        padded = [_padded(row, longest, self.pad) for row in rows]
        names = {name for row in padded for name in row}
        joined = {n: torch.cat([row[n] for row in padded if n in row]) for n in sorted(names)}
        return {
            name: tensor.to(
                self.model.device, self.model.dtype if tensor.is_floating_point() else tensor.dtype
            )
            for name, tensor in joined.items()
        }

    @torch.inference_mode()
    def generate(
        self, asked: Sequence[Inputs], max_new_tokens: int, draws: LogitsProcessorList
    ) -> list[tuple[str, int]]:
        """The reply of each question and how many tokens it took; greedy but for ``draws``."""
        inputs = self.batch(asked, [()] * len(asked))
        out: Any = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, logits_processor=draws
        )
        replies = out[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._until_end(tokens) for tokens in replies]

    @torch.inference_mode()
    def scores(
        self, asked: Sequence[Inputs], trees: Sequence[NumberTree], max_rows: int
    ) -> np.ndarray:
        """Log-probabilities ``(questions, answers)``; questions of equal length go together.

        Without padding a cache continues in the same way in every architecture.
        """
        scores = np.zeros((len(asked), len(trees[0].steps) if trees else 0))
        for group in _of_equal_length(asked, trees):
            inputs = self.batch([asked[i] for i in group], [trees[i].shared for i in group])
            chosen = [trees[i] for i in group]
            scores[group] = number_logits(self.model, inputs, chosen, max_rows)
        return scores

    def _until_end(self, tokens: list[int]) -> tuple[str, int]:
        ended = next((k for k, token in enumerate(tokens) if token in self.ends), None)
        kept = tokens if ended is None else tokens[:ended]
        text = self.tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text, len(kept) + (ended is not None)


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def _as_parts(content: Any) -> list[Mapping[str, Any]]:
    """Many templates read a list of parts only."""
    return [_text(content)] if isinstance(content, str) else list(content)


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    found = set(ends if isinstance(ends, list) else [ends])
    found = {end for end in (*found, tokenizer.eos_token_id) if end is not None}
    if not found:
        raise ModelError("the model names no token that ends a reply (eos_token_id)")
    return found


def _of_equal_length(asked: Sequence[Inputs], trees: Sequence[NumberTree]) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = {}
    for i, (one, tree) in enumerate(zip(asked, trees, strict=True)):
        groups.setdefault(one["input_ids"].shape[1] + len(tree.shared), []).append(i)
    yield from groups.values()


def _beside_tokens(inputs: Inputs) -> list[str]:
    """Names of the inputs with one value for each token."""
    shape = inputs["input_ids"].shape
    return [n for n, t in inputs.items() if t.shape == shape and not t.is_floating_point()]


def _with_reply(inputs: Inputs, reply: Sequence[int]) -> dict[str, Tensor]:
    """Append the reply's tokens; they are attended to and are text (type 0)."""
    longer = dict(inputs)
    for name in _beside_tokens(inputs):
        values = {"input_ids": list(reply), "attention_mask": [1] * len(reply)}
        added = torch.tensor([values.get(name, [0] * len(reply))], dtype=inputs[name].dtype)
        longer[name] = torch.cat([inputs[name], added], dim=1)
    return longer


def _padded(inputs: Inputs, length: int, pad: int) -> dict[str, Tensor]:
    """Pad on the left what belongs to tokens: ``pad`` among tokens, 0 elsewhere."""
    missing = length - inputs["input_ids"].shape[1]
    padded = dict(inputs)
    for name in _beside_tokens(inputs):
        value = pad if name == "input_ids" else 0
        padded[name] = torch.nn.functional.pad(inputs[name], (missing, 0), value=value)
    return padded
