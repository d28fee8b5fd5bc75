"""Questions about one picture, for any vision-language model: what is asked, and what is said.

An example is a function of (episodes, settings, seed, index) alone. So a resumed run sees what it
would have seen, and how a batch is cut into parts changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from sole.data.episode import VIEW_NAMES
from sole.errors import ConfigError
from sole.protocol.composite import Geometry, compose
from sole.protocol.prompt import SOLE_R1, write_messages
from sole.train.episodes import TrainingEpisode
from sole.train.examples import Example, ExampleSampler, ExampleSettings
from sole.train.verify import Known

_SOURCE_DRAW = 7  # keeps the draw of a source apart from those inside it


@dataclass(frozen=True)
class VlmExample:
    """One question and its answer.

    Attributes:
        picture: uint8 RGB ``(H, W, 3)``.
        messages: The question in chat form, without the picture itself.
        reply: What should be said.
        reasoned: False for the fast form, whose empty thought is asked for and not learned.
        task: The instruction.
        known: The truth.
    """

    picture: np.ndarray
    messages: list[dict[str, Any]]
    reply: str
    reasoned: bool
    task: str
    known: Known


class _NoWords:
    """Stands where the sampler expects nano's tokenizer: its prompts are not ours."""

    def apply_chat_template(self, messages: object, *, tokenize: bool) -> str:
        assert messages is not None
        assert not tokenize
        return ""


class VlmExamples:
    """Example number ``index``, always the same one.

    Args:
        sources: Episodes by where they come from.
        weights: How often each source is drawn from; empty for by its number of episodes.
        settings: How moments are drawn; batches are of one example here.
        geometry: Of the picture.
        seed: Of all draws.

    Raises:
        ConfigError: If the weights do not fit the sources.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[TrainingEpisode]],
        weights: Sequence[float],
        settings: ExampleSettings,
        geometry: Geometry,
        seed: int,
    ):
        self._sources, self._weights, self._settings = sources, weights, settings
        self._shares = shares(weights, [len(source) for source in sources])
        self._geometry, self._seed = geometry, seed
        self._samplers = [
            ExampleSampler(source, _NoWords(), settings, seed=seed, n_image_tokens=1)
            for source in sources
        ]
        # Replies of one group ask for the same example again and again.
        self._cached = lru_cache(maxsize=64)(self._make)

    def __getitem__(self, index: int) -> VlmExample:
        return self._cached(int(index))

    def drawn_apart(self, seed: int, **changes: float) -> VlmExamples:
        """Examples of the same sources and weights, drawn by another seed and changed settings."""
        settings = replace(self._settings, **changes)  # type: ignore[arg-type]
        return VlmExamples(self._sources, self._weights, settings, self._geometry, seed)

    def _make(self, index: int) -> VlmExample:
        rng = np.random.default_rng([self._seed, _SOURCE_DRAW, index])
        sampler = self._samplers[int(rng.choice(len(self._samplers), p=self._shares))]
        tiles, (example, *_) = sampler.draw(index)
        moments = views_of(tiles.reshape(-1, *tiles.shape[2:]), example)
        first, previous, current = moments
        assert first is not None
        assert current is not None
        messages = _messages(example, tuple(first), previous is not None)
        reply = example.reply
        picture = compose(first, previous, current, self._geometry)
        return VlmExample(
            picture, messages, reply, bool(example.reasoning), example.task, example.known
        )


def _messages(example: Example, views: Sequence[str], previous_shown: bool) -> list[dict[str, Any]]:
    if example.question is None:
        return write_messages(
            SOLE_R1, example.task, views, example.known.stated, previous_shown=previous_shown
        )
    content = [{"type": "image"}, {"type": "text", "text": example.question.with_choices}]
    return [{"role": "user", "content": content}]


def shares(weights: Sequence[float], n_episodes: Sequence[int]) -> list[float]:
    """Probability of each source.

    Raises:
        ConfigError: If there are not as many weights as sources, one is negative, or all are 0.

    Example:
        >>> shares([], [30, 10]), shares([1, 1], [30, 10])
        ([0.75, 0.25], [0.5, 0.5])
    """
    chosen = list(weights) or [float(n) for n in n_episodes]
    if len(chosen) != len(n_episodes) or min(chosen) < 0 or not sum(chosen):
        raise ConfigError(
            f"weights: expected {len(n_episodes)} numbers, one a folder of --data, none negative "
            f"and one above 0; got {list(weights)}"
        )
    return [weight / sum(chosen) for weight in chosen]


def views_of(tiles: np.ndarray, example: Example) -> list[dict[str, np.ndarray] | None]:
    """The first, previous (or None) and current moment of an example, as views by name.

    Args:
        tiles: ``(n, 3, H, W)`` that the example's index points into.
        example: As drawn.
    """
    moments: list[dict[str, np.ndarray] | None] = []
    for column in range(3):
        places = {name: example.tile_index[3 * row + column] for row, name in enumerate(VIEW_NAMES)}
        shown = {n: tiles[p].transpose(1, 2, 0) for n, p in places.items() if p >= 0}
        moments.append(shown or None)
    return moments


def tile_px(sizes: Sequence[tuple[int, int]], geometry: Geometry) -> int:
    """Side at which frames are kept: so that composing gives what a reader would see.

    Square frames of one size that need not be shrunk are kept as they are; others are fitted into
    the geometry's tile at once.

    Example:
        >>> from sole.protocol.composite import SOLE_R1_8B
        >>> tile_px([(96, 96), (96, 96)], SOLE_R1_8B), tile_px([(480, 640)], SOLE_R1_8B)
        (96, 384)
    """
    only = set(sizes)
    height, width = next(iter(only), (0, 0))
    alike = len(only) == 1 and height == width <= geometry.tile_px
    return height if alike else geometry.tile_px
