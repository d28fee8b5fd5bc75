"""A vision-language model of transformers behind :class:`sole.models.base.Reader`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sole.errors import ConfigError, ModelError
from sole.models.base import Answer, Question, SeenPictures, keep_pictures
from sole.models.hf.loading import explained, open_model
from sole.models.hf.network import Network
from sole.models.hf.numbers import NumberTree, grow_tree
from sole.models.hf.presets import READINGS, ROBUST
from sole.models.hf.sampling import SeededDraw
from sole.protocol.composite import compose
from sole.protocol.prompt import parse_reply, write_messages
from sole.protocol.readout import PROGRESS_VALUES, read_expectation

SUCCESS_ABOVE = 97
_FAST_REPLY = "<think></think><answer>"
_ANSWER = re.compile("<answer>", re.IGNORECASE)


@dataclass(frozen=True)
class _Asked:
    """One question as the processor wrote it.

    Attributes:
        inputs: What the model takes, a batch of one.
        seed: Of its draws; depends on all that was asked and on the reader's seed.
    """

    inputs: dict[str, Tensor]
    seed: int

    @property
    def tokens(self) -> list[int]:
        return self.inputs["input_ids"][0].tolist()


class TransformersReader:
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
        if preset not in READINGS:
            raise ConfigError(f"preset {preset}: expected one of {', '.join(READINGS)}")
        if max_batch < 1 or max_rows < 1:
            raise ConfigError(f"expected max_batch and max_rows >= 1: {max_batch}, {max_rows}")
        opened = open_model(name, revision, device, dtype)
        self._network = Network(opened, name)
        self.model, self.processor = opened.model, opened.processor
        self.tokenizer: Any = opened.processor.tokenizer
        self.preset = READINGS[preset]
        self.model_id = f"{opened.identity}/{preset}"
        self._name, self._seed = name, seed
        self._max_batch, self._max_rows = max_batch, max_rows
        if self.preset.sampling:
            self.model_id += f"/s{seed}"
        self._fast_tree = (
            grow_tree(self.tokenizer, _FAST_REPLY) if self.preset.expectation else None
        )

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def size_mb(self) -> float:
        """Megabytes of memory that the weights take."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters()) / 1e6

    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenPictures]:
        """Check and copy the pictures of each moment."""
        return keep_pictures(views)

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        """Answer each question; in float32 the batch's order and size do not change the answers.

        With ``think`` the model writes until it ends or reaches the preset's limit; the expectation
        then takes a second reading of the question, followed by what the model wrote.

        Raises:
            ModelError: If the model fails, its template drops part of the question, or
                ``published`` is to answer without thinking.
        """
        if not think and self._fast_tree is None:
            raise ModelError(f"{self.model_id}: the released model always thinks; set think")
        answers: list[Answer] = []
        for start in range(0, len(questions), self._max_batch):
            part = [self._write(q) for q in questions[start : start + self._max_batch]]
            with explained(self._name):
                answers += self._reason(part) if think else self._read(part)
        return answers

    def _write(self, question: Question) -> _Asked:
        previous = question.previous.views if question.previous is not None else None
        first, current = question.first.views, question.current.views
        picture = compose(first, previous, current, self.preset.geometry)
        text = self._prompt(question, tuple(first))
        inputs = self._network.see(text, [picture])
        digest = hashlib.sha256(f"{self._seed} {text}".encode() + picture.tobytes()).digest()
        return _Asked(inputs, int.from_bytes(digest[:7], "big"))

    def _prompt(self, question: Question, views: Sequence[str]) -> str:
        messages = write_messages(
            self.preset.prompt, question.task, views, question.previous_progress
        )
        return self._network.write(messages)

    def _read(self, asked: Sequence[_Asked]) -> list[Answer]:
        assert self._fast_tree is not None
        scores = self._scores(asked, [self._fast_tree] * len(asked))
        return [_expect(row, None, 1) for row in scores]

    def _reason(self, asked: Sequence[_Asked]) -> list[Answer]:
        replies = self._generate(asked)
        if not self.preset.expectation:
            return [Answer(parse_reply(text).progress, None, None, text, n) for text, n in replies]
        answers = [Answer(None, None, None, text, n) for text, n in replies]
        good = [i for i, (text, _) in enumerate(replies) if parse_reply(text).error is None]
        trees = [grow_tree(self.tokenizer, _until_number(replies[i][0])) for i in good]
        scores = self._scores([asked[i] for i in good], trees)
        for i, row in zip(good, scores, strict=True):
            answers[i] = _expect(row, *replies[i])
        return answers

    def _generate(self, asked: Sequence[_Asked]) -> list[tuple[str, int]]:
        """The reply of each question and how many tokens it took."""
        return self._network.generate(
            [one.inputs for one in asked], self.preset.max_new_tokens, self._draws(asked)
        )

    def _draws(self, asked: Sequence[_Asked]) -> LogitsProcessorList:
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

    def _scores(self, asked: Sequence[_Asked], trees: Sequence[NumberTree]) -> np.ndarray:
        return self._network.scores([one.inputs for one in asked], trees, self._max_rows)


def _expect(logits: np.ndarray, reply: str | None, n_tokens: int) -> Answer:
    mean, spread = read_expectation(logits)
    shares = np.exp(logits - logits.max())
    success = shares[PROGRESS_VALUES > SUCCESS_ABOVE].sum() / shares.sum()
    text = f"{_FAST_REPLY}{round(float(mean))}%</answer>" if reply is None else reply
    return Answer(float(mean), float(spread), float(success), text, n_tokens)


def _until_number(reply: str) -> str:
    """What was said up to the number, which parse_reply has found.

    Example:
        >>> _until_number("<think>It moved.</think><answer> 40%</answer>")
        '<think>It moved.</think><answer>'
    """
    # The same answer that parse_reply takes: the first after the reasoning, else the first.
    thought = re.search("</think>", reply, re.IGNORECASE)
    found = _ANSWER.search(reply, thought.end() if thought else 0) or _ANSWER.search(reply)
    assert found is not None
    return reply[: found.end()]
