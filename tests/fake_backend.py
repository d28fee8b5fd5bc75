"""A backend whose answers a test decides: words or probabilities, by prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sole.data.episode import Episode
from sole.models.backend import Capabilities, Generated, Prompt


def words_of(prompt: Prompt) -> str:
    """All texts of a prompt, with ``[picture VALUE]`` where a picture stands (its first pixel)."""
    pictures = iter(prompt.images)
    return "\n\n".join(
        "\n".join(
            [message["role"]]
            + [
                part["text"] if part["type"] == "text" else f"[picture {next(pictures)[0, 0, 0]}]"
                for part in message["content"]
            ]
        )
        for message in prompt.messages
    )


class FakeBackend:
    """Answers with what ``reply`` and ``weigh`` say; keeps every prompt.

    Args:
        reply: Words for a prompt, or an error (an Exception is turned into one).
        weigh: Probability of a candidate after a prompt.
    """

    model_id = "fake"

    def __init__(
        self,
        reply: Callable[[Prompt], str | Exception] | None = None,
        weigh: Callable[[Prompt, str], float] | None = None,
        capabilities: Capabilities = Capabilities("exact", plain=True),  # noqa: B008 frozen
    ):
        self.capabilities = capabilities
        self.asked: list[Prompt] = []
        self._reply, self._weigh = reply, weigh

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Generated]:
        self.asked += prompts
        assert self._reply is not None
        assert max_new_tokens > 0
        said = [self._reply(prompt) for prompt in prompts]
        return [
            Generated("", error=str(one)) if isinstance(one, Exception) else Generated(one, 5)
            for one in said
        ]

    def logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[str]) -> np.ndarray:
        self.asked += prompts
        assert self._weigh is not None
        with np.errstate(divide="ignore"):
            rows = [[np.log(self._weigh(p, c)) for c in candidates] for p in prompts]
        return np.array(rows).reshape(len(prompts), len(candidates))


def film(values: Sequence[int], task: str = "open the drawer") -> Episode:
    """An episode whose external frame t is a small picture of one grey value."""
    frames = np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])
    return Episode(task=task, views={"external": frames})


def greys(prompt: Prompt) -> list[int]:
    """The grey values of the pictures shown."""
    return [int(image[0, 0, 0]) for image in prompt.images]
