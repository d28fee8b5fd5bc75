"""``sole bench tokens``: what a model has to read for one episode, picture by picture or as a talk.

Counts the prompt tokens of the published three-column questions and of the growing conversation of
:mod:`sole.protocol.streaming`, for the same episode, with and without a prefix cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import stdout
from sole.data.episode import VIEW_NAMES, Episode, make_example_episode
from sole.evals.figures import Figure, record_figures
from sole.protocol.composite import SOLE_R1_8B, compose
from sole.protocol.prompt import SOLE_R1, write_messages, write_reply
from sole.protocol.streaming import Conversation
from sole.protocol.tokens import (
    QWEN3_VL,
    Counted,
    CountText,
    VisionGeometry,
    count_pieces,
    count_question,
    prefilled,
)

REASONING = "The gripper holds the handle, and the drawer is further out than before."
"""What the model is taken to say at every moment; the length of a reply hardly matters."""


class TokensConfig(Config):
    """Count the tokens that a Qwen3-VL (of any size) reads for one episode, in both protocols."""

    frames: int = Field(25, gt=1)
    """Frames of the episode; all of them are scored."""
    views: int = Field(2, ge=1, le=2)
    """Cameras: 2 for external and wrist, 1 for external."""
    task: str = "open the drawer"
    """The instruction. Words that are not known here need --model."""
    model: str | None = None
    """A model whose own tokenizer counts the words; without it, Qwen's vocabulary as it is known
    here does."""
    block: int = Field(16, gt=0)
    """Tokens in a block of the prefix cache; 16 in vLLM."""
    figures: Path | None = None
    """Record the ratios in this figures file, as tokens.*."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table."""


@dataclass(frozen=True)
class Protocol:
    """What one protocol makes a model read for an episode.

    Attributes:
        questions: Asked in all.
        prompt_tokens: Of all questions; what is read without a cache.
        prefill_tokens: What is read with a prefix cache.
        longest: Tokens of the longest question.
        per_moment: Tokens of the pictures of one question (streaming: of one turn).
    """

    questions: int
    prompt_tokens: int
    prefill_tokens: int
    longest: int
    per_moment: int


def main(argv: Sequence[str]) -> int:
    """Count, print, record."""
    config = parse_config(TokensConfig, argv, "sole bench tokens")
    counted = count_protocols(config)
    figures = ratios(counted)
    if config.print_json:
        result: dict[str, Any] = {name: asdict(one) for name, one in counted.items()}
        result |= {figure.name: figure.value for figure in figures}
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        _show(config, counted, figures)
    if config.figures:
        record_figures(config.figures, figures, " ".join(["sole bench tokens", *argv]))
    return 0


def count_protocols(config: TokensConfig) -> Mapping[str, Protocol]:
    """Count both protocols for one made-up episode; only sizes and words matter.

    Raises:
        BadInputError: If a word of the task is not known and no model is named.
        ConfigError: If there is no such model.
    """
    count_text, vision = _counters(config.model)
    episode = make_example_episode(config.frames, 64, truth=False)
    moments = _moments(episode, VIEW_NAMES[: config.views])
    return {
        "published": _published(config, moments, count_text, vision),
        "streaming": _streaming(config, moments, count_text, vision),
    }


def ratios(counted: Mapping[str, Protocol]) -> list[Figure]:
    """Streaming with a prefix cache, against the published questions without and with one."""
    published, streaming = counted["published"], counted["streaming"]
    read = streaming.prefill_tokens
    unit = "of the published protocol's prefill tokens"
    return [
        Figure("tokens.streaming_ratio", read / published.prompt_tokens, unit),
        Figure("tokens.streaming_ratio_cached", read / published.prefill_tokens, unit),
        Figure("tokens.published_prefill", float(published.prompt_tokens), "tokens"),
        Figure("tokens.published_prefill_cached", float(published.prefill_tokens), "tokens"),
        Figure("tokens.streaming_prefill", float(read), "tokens"),
    ]


def _published(
    config: TokensConfig,
    moments: Sequence[Mapping[str, np.ndarray]],
    count_text: CountText,
    vision: VisionGeometry,
) -> Protocol:
    """One question for each frame but the first; the previous progress is stated."""
    asked, held = [], []
    for t in range(1, len(moments)):
        messages = write_messages(SOLE_R1, config.task, tuple(moments[0]), _progress(t - 1, config))
        picture = compose(moments[0], moments[t - 1], moments[t], SOLE_R1_8B)
        asked.append(count_question(messages, [picture], count_text=count_text, vision=vision))
        held.append(_with_reply(asked[-1], t, config, count_text))
    tokens = vision.picture_tokens(*picture.shape[:2])
    return _protocol(asked, held, config.block, tokens)


def _streaming(
    config: TokensConfig,
    moments: Sequence[Mapping[str, np.ndarray]],
    count_text: CountText,
    vision: VisionGeometry,
) -> Protocol:
    """One turn for each frame but the first, after all that was said before."""
    talk = Conversation.start(config.task, moments[0])
    asked, held = [], []
    for t in range(1, len(moments)):
        talk = talk.asking(moments[t])
        counted = count_question(talk.messages, talk.images, count_text=count_text, vision=vision)
        asked.append(counted)
        held.append(_with_reply(counted, t, config, count_text))
        talk = talk.answered(_reply(t, config))
    tokens = sum(vision.picture_tokens(*image.shape[:2]) for image in talk.images[-config.views :])
    return _protocol(asked, held, config.block, tokens)


def _protocol(
    asked: Sequence[Counted], held: Sequence[Counted], block: int, per_moment: int
) -> Protocol:
    read = prefilled(asked, after=held, block=block)
    sizes = [one.n_tokens for one in asked]
    return Protocol(len(asked), sum(sizes), sum(read), max(sizes), per_moment)


def _with_reply(asked: Counted, t: int, config: TokensConfig, count_text: CountText) -> Counted:
    """What the cache holds after the answer: what was generated is in it as well."""
    reply = _reply(t, config)
    return Counted((*asked.spans, (reply, count_text(reply))))


def _reply(t: int, config: TokensConfig) -> str:
    return write_reply(REASONING, _progress(t, config))


def _progress(t: int, config: TokensConfig) -> int:
    return round(100 * t / (config.frames - 1))


def _moments(episode: Episode, names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    return [{n: episode.views[n][t] for n in names} for t in range(episode.n_frames)]


def _counters(model: str | None) -> tuple[CountText, VisionGeometry]:
    if model is None:
        return count_pieces, QWEN3_VL
    # Imported only now: transformers takes seconds.
    from sole.models.hf.loading import describe_model
    from sole.models.hf.names import parse_name

    parts = parse_name(model)
    found = describe_model(parts.where, parts.revision)
    tokenizer, pictures = found.processor.tokenizer, found.processor.image_processor
    size = pictures.size
    vision = VisionGeometry(
        pictures.patch_size, pictures.merge_size, size["shortest_edge"], size["longest_edge"]
    )
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), vision


def _show(config: TokensConfig, counted: Mapping[str, Protocol], figures: Sequence[Figure]) -> None:
    title = f"{config.frames} frames, {config.views} views"
    table = Table("what", *counted, title=title)
    labels = {
        "questions": "questions",
        "per_moment": "picture tokens of one question",
        "longest": "tokens of the longest question",
        "prompt_tokens": "prompt tokens, all questions",
        "prefill_tokens": "of these read with a prefix cache",
    }
    for name, label in labels.items():
        table.add_row(label, *(f"{getattr(one, name):,}" for one in counted.values()))
    stdout.print(table)
    whole, cached = (figure.value for figure in figures[:2])
    stdout.print(
        f"streaming with a prefix cache reads {whole:.3f} of the published protocol as published "
        f"(no cache), {cached:.3f} of it with a cache of its own"
    )
