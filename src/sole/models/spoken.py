"""The SOLE question asked of any backend, and the number in its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sole.errors import ModelError
from sole.models.backend import Backend, Prompt, text_part
from sole.models.base import Answer, Question, SeenPictures, keep_pictures
from sole.protocol.composite import SOLE_R1_8B, compose
from sole.protocol.prompt import SOLE_R1, parse_reply, write_messages

MAX_NEW_TOKENS = 400


class SpokenReader:
    """Reads progress in the words of a model that only writes: no spread, no fast way.

    The picture and the words are those of the released SOLE-R1-8B.

    Args:
        backend: The model.
    """

    def __init__(self, backend: Backend):
        self.backend = backend
        self.model_id = f"{backend.model_id}/spoken"

    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenPictures]:
        """Check and copy the pictures of each moment."""
        return keep_pictures(views)

    def ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        """Let the model write its reasoning and its number.

        Raises:
            ModelError: Without ``think``, because an empty reasoning cannot be put into its mouth.
        """
        if not think:
            raise ModelError(f"{self.model_id}: is read in its words only; set think")
        prompts = [_write(question) for question in questions]
        replies = self.backend.generate(prompts, max_new_tokens=MAX_NEW_TOKENS)
        return [
            Answer(parse_reply(r.text).progress, None, None, r.text, r.n_tokens, r.error)
            for r in replies
        ]


def _write(question: Question) -> Prompt:
    previous = question.previous.views if question.previous is not None else None
    first, current = question.first.views, question.current.views
    messages = write_messages(SOLE_R1, question.task, tuple(first), question.previous_progress)
    for message in messages:
        if isinstance(message["content"], str):
            message["content"] = [text_part(message["content"])]
    picture = compose(first, previous, current, SOLE_R1_8B)
    return Prompt((picture,), tuple(messages))
