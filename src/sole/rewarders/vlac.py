"""VLAC: the signed change between two pictures, added up to a value between 0 and 100.

Source: VLAC 2025 (arXiv 2509.15937) and its code for the sum. The model sees the previously
scored and the current picture and says by how much percent, c in [-100, 100], the task has come
nearer to its end. The value v, 0 at the first frame, becomes

    v + (100 - v) c / 100  if c > 0,   else  v + v c / 100,

so it never leaves [0, 100], and c is the share of what is left, or lost. v is the progress.

In words, c is the number in the reply. Without words, it is the expectation over -100, -90 .. 100,
with its spread times ``dv/dc`` as the uncertainty of this step. The wording is ours: the released
2B model was trained on its own and brings its own code, so it is not opened here; the question goes
to any other model. A reply that cannot be read leaves v as it was, and is an error of its frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sole.data.episode import StepScore
from sole.models.backend import ask_user
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import Inquiry, Needs, Query, Said
from sole.rewarders.reading import answer_shares, mean_and_spread

OPENING = "Earlier moment of a robot's attempt at a task:"
MIDDLE = "Later moment of the same attempt:"
QUESTION = (
    "The task is: {task}. Compare the two moments. By how much has the later moment come closer to "
    "the completed task than the earlier one? Say it in percent of what was still left to do, from "
    "-100% to +100%; a negative number means that progress was lost, 0% that nothing changed."
)
IN_WORDS = " First say in one sentence what changed, then end with: Change: <number>%"
AT_ONCE = " Reply only with: Change: <number>%"
DELTAS = tuple(range(-100, 101, 10))
_CHANGE = re.compile(r"Change\s*:\s*<?\s*([-+\u2212]?\s*\d+(?:\.\d+)?)\s*%?", re.IGNORECASE)


class SignedDelta:
    """The change since the previous scored frame, see the module."""

    name = "vlac"
    max_new_tokens = 128
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Show the previous and the current picture and ask for the change."""
        question = QUESTION.format(task=clean_task(task)) + (IN_WORDS if think else AT_ONCE)
        prompt = ask_user([OPENING, frames[-2], MIDDLE, frames[-1], question])
        if think:
            return Inquiry((Query(prompt),), _read_words)
        answers = tuple(f"Change: {delta:+d}%" if delta else "Change: 0%" for delta in DELTAS)
        return Inquiry((Query(prompt, answers),), _read_shares)


def add_change(value: float, change: float) -> float:
    """The value after a signed change, both in percent.

    Example:
        >>> add_change(40.0, 50.0), add_change(40.0, -50.0), add_change(0.0, -100.0)
        (70.0, 20.0, 0.0)
    """
    room = 100.0 - value if change > 0 else value
    return value + room * change / 100.0


def _read_words(said: Sequence[Said], before: float) -> StepScore:
    found = _CHANGE.findall(said[0].text)
    numbers = {float(re.sub(r"\s", "", one).replace("\u2212", "-")) for one in found}
    if len(numbers) != 1:
        return StepScore(None, error="expected one Change: NUMBER% in the reply")
    change = min(max(numbers.pop(), -100.0), 100.0)
    words = _CHANGE.split(said[0].text)[0].strip()
    return StepScore(add_change(before, change), reasoning=words)


def _read_shares(said: Sequence[Said], before: float) -> StepScore:
    change, spread = mean_and_spread(answer_shares(said[0].logprobs), DELTAS)
    value = add_change(before, change)
    room = 100.0 - before if change > 0 else before
    return StepScore(value, uncertainty=spread * room / 100.0)
