"""Asking any vision-language model the SOLE question in one of the presets, whatever runs it."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from sole.errors import ConfigError, ModelError
from sole.models.base import Answer, Question, SeenPictures, keep_pictures
from sole.models.hf.loading import explained
from sole.models.hf.network import ChatTemplate
from sole.models.hf.numbers import NumberTree, grow_tree
from sole.models.hf.presets import READINGS, check_preset
from sole.protocol.composite import compose
from sole.protocol.prompt import parse_reply, write_messages
from sole.protocol.readout import PROGRESS_VALUES, read_expectation

SUCCESS_ABOVE = 97
_FAST_REPLY = "<think></think><answer>"
_ANSWER = re.compile("<answer>", re.IGNORECASE)
InputsT = TypeVar("InputsT")


@dataclass(frozen=True)
class Asked(Generic[InputsT]):
    """One question as an engine takes it.

    Attributes:
        inputs: Text and picture in the engine's form.
        seed: Of its draws; depends on all that was asked and on the reader's seed.
    """

    inputs: InputsT
    seed: int


class PresetReader(ABC, Generic[InputsT]):
    """Writes the question, reads the reply; how words and scores come about is the engine's.

    Args:
        template: Writes the messages.
        tokenizer: Of the model.
        name: As the user called the model, for messages.
        preset: ``robust`` or ``published``, see :data:`sole.models.hf.presets.READINGS`.
        max_batch: Questions given to the engine together.
        seed: Of the draws of ``published``; ``robust`` draws nothing.

    Raises:
        ConfigError: If there is no such preset, or ``max_batch`` is below 1.

    Attributes:
        model_id: Model, version and preset.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Any,
        name: str,
        *,
        preset: str,
        max_batch: int,
        seed: int,
    ):
        check_preset(preset)
        if max_batch < 1:
            raise ConfigError(f"expected max_batch >= 1, got {max_batch}")
        self.preset = READINGS[preset]
        self.tokenizer = tokenizer
        self.model_id = f"{template.identity}/{preset}"
        self._template, self._name = template, name
        self._max_batch, self._seed = max_batch, seed
        if self.preset.sampling:
            self.model_id += f"/s{seed}"
        self._fast_tree = grow_tree(tokenizer, _FAST_REPLY) if self.preset.expectation else None

    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenPictures]:
        """Check and copy the pictures of each moment."""
        return keep_pictures(views)

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

    @abstractmethod
    def _inputs(self, text: str, picture: np.ndarray) -> InputsT:
        """A written question and its uint8 RGB picture as the engine takes them."""

    @abstractmethod
    def _generate(self, asked: Sequence[Asked[InputsT]]) -> list[tuple[str, int]]:
        """The reply of each question and how many tokens it took."""

    @abstractmethod
    def _scores(self, asked: Sequence[Asked[InputsT]], trees: Sequence[NumberTree]) -> np.ndarray:
        """Log-probabilities of all answers of each tree, float64 ``(questions, answers)``."""

    def _write(self, question: Question) -> Asked[InputsT]:
        previous = question.previous.views if question.previous is not None else None
        first, current = question.first.views, question.current.views
        picture = compose(first, previous, current, self.preset.geometry)
        text = self._prompt(question, tuple(first))
        inputs = self._inputs(text, picture)
        digest = hashlib.sha256(f"{self._seed} {text}".encode() + picture.tobytes()).digest()
        return Asked(inputs, int.from_bytes(digest[:7], "big"))

    def _prompt(self, question: Question, views: Sequence[str]) -> str:
        messages = write_messages(
            self.preset.prompt, question.task, views, question.previous_progress
        )
        return self._template.write(messages)

    def _read(self, asked: Sequence[Asked[InputsT]]) -> list[Answer]:
        assert self._fast_tree is not None
        scores = self._scores(asked, [self._fast_tree] * len(asked))
        return [_expect(row, None, 1) for row in scores]

    def _reason(self, asked: Sequence[Asked[InputsT]]) -> list[Answer]:
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
