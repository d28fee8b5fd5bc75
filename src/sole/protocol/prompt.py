"""Every prompt is written here and every reply is read here; the wording is part of the model.

A chained question states the previous progress, a from-zero question does not. The words come
from a :class:`PromptPreset`; values are put in while the sentence is written, never spliced into
finished text, so a task that quotes the prompt cannot disturb it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sole.data.episode import EXTERNAL, WRIST
from sole.errors import BadInputError
from sole.protocol.composite import ordered_views

LOWEST_PROGRESS = -100
HIGHEST_PROGRESS = 100


@dataclass(frozen=True)
class PromptPreset:
    """The sentences one model was trained on; an empty one is left out.

    Attributes:
        name: How configs call it.
        system: The system message; empty for none.
        opening: First sentence of the user's text.
        both_views, external_only, wrist_only: What the rows of the picture are.
        columns_chained, columns_from_zero: What the columns of the picture are.
        task: Names the task, as ``{task}``; ends with its own full stop.
        ask_chained: Asks, and states the previous progress as ``{progress}``.
        ask_from_zero: Asks without it.
    """

    name: str
    system: str
    opening: str
    both_views: str
    external_only: str
    wrist_only: str
    columns_chained: str
    columns_from_zero: str
    task: str
    ask_chained: str
    ask_from_zero: str


SOLE_R1 = PromptPreset(
    name="sole_r1",
    system=(
        "You are an expert roboticist with the goal of predicting task progress percentages given "
        "frames from a video of a robot attempting to complete a task. "
        "You first think, in the form of an internal monologue, before providing your final "
        "answer. "
        "Your reasoning process MUST BE enclosed within <think> </think> tags and should include "
        "detailed reasoning. "
        "Your final answer MUST BE enclosed within <answer> </answer> tags and should be a integer "
        "(positive or negative) representing current task progress percentage. "
        "Example output format: <think>[detailed reasoning process]</think>"
        "<answer>[current task progress]%</answer>"
    ),
    opening=(
        "Here is an image containing multiple camera views of a robot attempting to complete a "
        "task."
    ),
    both_views=(
        "The views on the top are from an external camera. "
        "The views on the bottom are from the robot's wrist camera."
    ),
    external_only="",
    wrist_only="The views are from the robot's wrist camera.",
    columns_chained=(
        "The views from the very first timestep are shown to the left. "
        "The views from the previous timestep are shown in the middle. "
        "The views from the current timestep are shown to the right."
    ),
    columns_from_zero=(
        "The views from the very first timestep are shown to the left. "
        "The views from the current timestep are shown to the right."
    ),
    task="The task description is: {task}.",
    ask_chained=(
        "The task progress for the very first timestep is 0%. "
        "The task progress for the previous timestep is {progress}%. "
        "Predict the task progress for the current timestep."
    ),
    ask_from_zero=(
        "The task progress for the very first timestep is 0%. "
        "Predict the task progress for the current timestep."
    ),
)
"""Wording the released SOLE-R1-8B was trained on ("a integer" included), with two corrections.

A task that ends in a full stop loses it (the released code writes two), and the from-zero text for
one external view does not speak of a middle column that is not there.
"""

NANO = PromptPreset(
    name="nano",
    system="",
    opening="",
    both_views="",
    external_only="",
    wrist_only="",
    columns_chained="",
    columns_from_zero="",
    task="Task: {task}.",
    ask_chained="Previous progress: {progress}%.",
    ask_from_zero="",
)
"""Compact wording of our small model, whose picture always has the same layout."""

PROMPTS: Mapping[str, PromptPreset] = {preset.name: preset for preset in (SOLE_R1, NANO)}


@dataclass(frozen=True)
class Reply:
    """What a model said, as far as it could be read.

    Attributes:
        progress: Percent in [-100, 100], or None when there is an ``error``.
        reasoning: The text between the think tags, or what stands before the answer without them.
        error: Why there is no progress, or None.
        clamped: True when the number said was outside [-100, 100] and was brought back.
    """

    progress: float | None
    reasoning: str
    error: str | None = None
    clamped: bool = False


def write_messages(
    preset: PromptPreset,
    task: str,
    views: Sequence[str],
    previous_progress: int | None,
    *,
    previous_shown: bool = False,
) -> list[dict[str, Any]]:
    """Write the question about one picture in the chat form of OpenAI and transformers.

    Args:
        preset: The wording.
        task: The instruction; white space is evened out and a final full stop dropped, because
            the sentence it is put into has its own.
        views: Names of the views in the picture.
        previous_progress: Percent in [-100, 100] for a chained read, None for a from-zero read.
        previous_shown: The picture has a middle column even where no progress is stated for it, as
            in training examples from which the number was dropped.

    Returns:
        A system message (text) if the preset has one, then a user message: an image, then text.

    Raises:
        BadInputError: If the task is empty or contains a control token.
        ValueError: If the views or the previous progress are not valid.

    Example:
        >>> write_messages(NANO, "Open the drawer.", ["external"], 40)[-1]["content"][1]["text"]
        'Task: Open the drawer. Previous progress: 40%.'
    """
    shown = previous_shown or previous_progress is not None
    text = _user_text(preset, clean_task(task), ordered_views(views), previous_progress, shown)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return [{"role": "system", "content": preset.system}, user] if preset.system else [user]


def clean_task(task: str) -> str:
    """The instruction on one line, without a final full stop.

    Raises:
        BadInputError: If nothing is left, or it contains a control token of some model, such as
            ``<|im_end|>``, ``<image>`` or ``<answer>``, in any case: with one a task could end the
            question and write its own answer, or speak of a picture that is not there.

    Example:
        >>> clean_task(" Open  the drawer. ")
        'Open the drawer'
    """
    cleaned = " ".join(task.split()).rstrip(". ")
    if not cleaned:
        raise BadInputError(
            f"task: expected a sentence, got {task!r}; say what the robot should do"
        )
    token = _CONTROL_TOKEN.search(cleaned)
    if token:
        raise BadInputError(
            f"task: {task!r} contains {token[0]!r}, a control token of models; remove it"
        )
    return cleaned


def write_reply(reasoning: str, progress: int) -> str:
    """Write what a model should say; an empty ``reasoning`` is the fast form.

    Raises:
        ValueError: If ``progress`` is not an integer in [-100, 100], or ``reasoning`` contains one
            of the tags.

    Example:
        >>> write_reply("The handle is closer.", 40)
        '<think>The handle is closer.</think><answer>40%</answer>'
    """
    if _TAG.search(reasoning):
        raise ValueError(f"reply: the reasoning contains a tag: {reasoning!r}")
    return f"<think>{reasoning}</think><answer>{_check_progress(progress)}%</answer>"


def parse_reply(text: str) -> Reply:
    """Read a reply; whatever cannot be read is an error in the result, never an exception.

    The first answer after the reasoning counts. A missing ``%``, blanks, a sign, decimals and an
    answer tag that is not closed are tolerated, but not a bare number at the very end of the text:
    a reply that was cut off there may have lost digits.

    Example:
        >>> parse_reply("<think>It moved.</think><answer> +42.5 </answer>")
        Reply(progress=42.5, reasoning='It moved.', error=None, clamped=False)
        >>> parse_reply("<answer>about 40</answer>").error
        "the answer is not a number: 'about 40'"
    """
    after_thinking = _answer_region_start(text)
    tag = _ANSWER_OPEN.search(text, after_thinking)
    reasoning = _read_reasoning(text, tag.start() if tag else len(text))
    if tag is None:
        return Reply(None, reasoning, "there is no <answer> tag")
    number = _NUMBER.match(text, tag.end())
    if number is None:
        said = re.split(r"</", text[tag.end() :], maxsplit=1)[0].strip()
        return Reply(None, reasoning, f"the answer is not a number: {said[:40]!r}")
    if number.end("number") == len(text):
        return Reply(None, reasoning, "the reply ends within the number")
    value = float(number["sign"].strip().replace("\N{MINUS SIGN}", "-") + number["number"])
    progress = min(max(value, float(LOWEST_PROGRESS)), float(HIGHEST_PROGRESS))
    return Reply(progress, reasoning, clamped=progress != value)


# What models read as a token of its own has this form: nano's <image>, <s> and </answer> as well as
# <start_of_turn> and <IMG_CONTEXT> of others. No instruction needs a word in angle brackets.
_CONTROL_TOKEN = re.compile(r"<(?:\|[^|<>]*\||/?\w+/?)>")
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_THINK_OPEN = re.compile(r"<think>", re.IGNORECASE)
_THINK_CLOSE = re.compile(r"</think>", re.IGNORECASE)
_ANSWER_OPEN = re.compile(r"<answer>", re.IGNORECASE)
# After the number: a percent sign, then a closing tag, whole or cut short, or the end of the text.
_NUMBER = re.compile(
    r"\s*(?P<sign>(?:[-+\u2212]\s*)?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*%?\s*(?=</|<?\Z)"
)


def _answer_region_start(text: str) -> int:
    """Where to look for the answer: after the reasoning, which may itself mention the tag."""
    closing = _THINK_CLOSE.search(text)
    if closing and _ANSWER_OPEN.search(text, closing.end()):
        return closing.end()
    return 0


def _read_reasoning(text: str, end: int) -> str:
    opening = _THINK_OPEN.search(text, 0, end)
    start = opening.end() if opening else 0
    closing = _THINK_CLOSE.search(text, start, end)
    return text[start : closing.start() if closing else end].strip()


def _user_text(
    preset: PromptPreset,
    task: str,
    views: tuple[str, ...],
    previous_progress: int | None,
    previous_shown: bool,
) -> str:
    rows: dict[tuple[str, ...], str] = {
        (EXTERNAL,): preset.external_only,
        (WRIST,): preset.wrist_only,
    }
    ask = preset.ask_from_zero
    if previous_progress is not None:
        ask = preset.ask_chained.format(progress=_check_progress(previous_progress))
    sentences = (
        preset.opening,
        rows.get(views, preset.both_views),
        preset.columns_chained if previous_shown else preset.columns_from_zero,
        preset.task.format(task=task),
        ask,
    )
    return " ".join(sentence for sentence in sentences if sentence)


def _check_progress(progress: int) -> int:
    try:
        value = operator.index(progress)
    except TypeError:
        raise ValueError(f"progress: expected an integer, got {progress!r}") from None
    if not LOWEST_PROGRESS <= value <= HIGHEST_PROGRESS:
        raise ValueError(f"progress: expected -100 to 100, got {value}")
    return value
