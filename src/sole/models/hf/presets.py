"""How a general vision-language model is asked: wording, picture, sampling and read-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sole.errors import ConfigError
from sole.protocol.composite import SOLE_R1_8B, Geometry
from sole.protocol.prompt import SOLE_R1, PromptPreset


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: temperature, then the best ``top_k``, then ``top_p`` of those.

    Attributes:
        temperature: Above 0.
        top_k: Tokens kept, at least 1.
        top_p: Probability mass kept, in (0, 1].
    """

    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class ReadingPreset:
    """One complete way of asking.

    Attributes:
        name: What follows the colon in ``--model NAME:published``.
        prompt: The wording.
        geometry: Of the composite picture.
        sampling: None for greedy decoding.
        max_new_tokens: Where a reply is cut off.
        expectation: Progress is the expectation over all 201 integers; otherwise it is the integer
            the reply says, with no spread and no success probability, and there is no fast mode.
    """

    name: str
    prompt: PromptPreset
    geometry: Geometry
    sampling: Sampling | None
    max_new_tokens: int
    expectation: bool


PUBLISHED = ReadingPreset(
    name="published",
    prompt=SOLE_R1,
    geometry=SOLE_R1_8B,
    sampling=Sampling(temperature=1.0, top_k=50, top_p=0.9),
    max_new_tokens=200,
    expectation=False,
)
"""As the server of SOLE-R1-8B asks (its ``default.yaml``), but with a seed."""

ROBUST = ReadingPreset(
    name="robust",
    prompt=SOLE_R1,
    geometry=SOLE_R1_8B,
    sampling=None,
    max_new_tokens=400,
    expectation=True,
)
"""The same question, read without chance: greedy words, and the expectation over the numbers."""

READINGS: Mapping[str, ReadingPreset] = {preset.name: preset for preset in (ROBUST, PUBLISHED)}


def check_preset(name: str) -> None:
    """Raise ConfigError unless ``name`` is one of :data:`READINGS`."""
    if name not in READINGS:
        raise ConfigError(f"preset {name}: expected one of {', '.join(READINGS)}")
