"""What a reward model needs of any vision-language model: words, and probabilities of given words.

Every method that only asks questions (:mod:`sole.rewarders.asking`) works on this protocol, whether
the model runs here (:mod:`sole.models.hf.backend`) or behind an address
(:mod:`sole.models.api.backend`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from sole.data.episode import check_frames


@dataclass(frozen=True)
class Prompt:
    """Pictures, and the words around them.

    Attributes:
        images: uint8 RGB ``(H, W, 3)``, in the order of the messages' ``{"type": "image"}`` parts.
        messages: The chat form that OpenAI and transformers share; each content is a list of
            ``{"type": "text", "text": ...}`` and ``{"type": "image"}`` parts.
        chat: Written with the model's chat template. Otherwise the parts follow each other as they
            are and the model continues the text; there is one message then.

    Raises:
        ValueError: If the pictures are not as many as their places, or a picture is no uint8 RGB.
    """

    images: tuple[np.ndarray, ...]
    messages: tuple[Mapping[str, Any], ...]
    chat: bool = True

    def __post_init__(self) -> None:
        parts = [part for message in self.messages for part in message["content"]]
        places = sum(part["type"] == "image" for part in parts)
        if places != len(self.images):
            raise ValueError(f"prompt: {places} places for {len(self.images)} pictures")
        if not self.chat and len(self.messages) != 1:
            raise ValueError(f"prompt: plain text is one message, got {len(self.messages)}")
        for image in self.images:
            check_frames(np.asarray(image)[None], "prompt picture")


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do beside writing.

    Attributes:
        logprobs: ``exact``: of any candidates. ``first_token``: only of candidates that are one
            token each, when they are among the likeliest. ``none``.
        plain: Continues a text without a chat template.
    """

    logprobs: Literal["exact", "first_token", "none"]
    plain: bool


@dataclass(frozen=True)
class Generated:
    """What a model wrote.

    Attributes:
        text: The reply; empty when there is an ``error``.
        n_tokens: Tokens generated, as far as known.
        error: Why there is no reply, or None.
    """

    text: str
    n_tokens: int = 0
    error: str | None = None


class Backend(Protocol):
    """A vision-language model, wherever it runs.

    Attributes:
        model_id: Names the model and its version.
        capabilities: What can be asked of it.
    """

    model_id: str
    capabilities: Capabilities

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Generated]:
        """Reply to each prompt with the likeliest words; no prompt influences another.

        Raises:
            ModelError: If the model fails for all.
            ServerError: If it runs elsewhere and cannot be reached.
        """
        ...

    def logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[str]) -> np.ndarray:
        """Natural logarithm of the probability that the reply begins with each candidate.

        Returns:
            float64 ``(prompts, candidates)``; NaN in the rows of prompts that got no answer.

        Raises:
            ModelError: If the backend cannot give them.
            ServerError: If it runs elsewhere and cannot be reached.
        """
        ...


def text_part(text: str) -> dict[str, str]:
    """Words of a message.

    Example:
        >>> text_part("Look:")
        {'type': 'text', 'text': 'Look:'}
    """
    return {"type": "text", "text": text}


IMAGE_PART: Mapping[str, str] = {"type": "image"}
"""The place of the next picture in a message."""


def ask_user(parts: Sequence[str | np.ndarray], *, chat: bool = True) -> Prompt:
    """One user message of words and pictures in this order.

    Example:
        >>> picture = np.zeros((2, 2, 3), np.uint8)
        >>> prompt = ask_user(["Now:", picture, "Done?"])
        >>> [part["type"] for part in prompt.messages[0]["content"]], len(prompt.images)
        (['text', 'image', 'text'], 1)
    """
    content = [text_part(part) if isinstance(part, str) else dict(IMAGE_PART) for part in parts]
    images = tuple(part for part in parts if not isinstance(part, str))
    return Prompt(images, ({"role": "user", "content": content},), chat)
