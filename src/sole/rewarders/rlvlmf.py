"""RL-VLM-F: the model says which of two pictures shows more of the goal, or neither.

Source: Wang et al. 2024 (arXiv 2402.03681). A pair of pictures gets the label 0 (the first is
nearer to the goal), 1 (the second) or -1 (no difference). Published, such labels of random pairs
train a reward network by the Bradley-Terry loss. Here nothing is trained: the pair is the
previously scored and the current frame, the preference u is +1 for the current one, -1 for the
previous one, 0 for no difference, and

    progress = v + VOTE_PERCENT u   within [-100, 100], from v = 0 at the first frame.

Each pair is asked in both orders, and u is the mean, because models prefer a place. The published
code asks once, for an analysis and then for the label of that analysis; here one reply holds both.
Without words, u is the difference of the probabilities of the labels 1 and 0. The wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sole.data.episode import StepScore
from sole.models.backend import ask_user
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import Inquiry, Needs, Query, Said
from sole.rewarders.reading import answer_shares

QUESTION = (
    "The goal is: {task}. Is the goal better achieved in Image 1 or in Image 2? The label is 0 if "
    "it is better achieved in Image 1, 1 if it is better achieved in Image 2, and -1 if there is "
    "no difference or it cannot be told."
)
IN_WORDS = (
    " Say what Image 1 shows, what Image 2 shows, and how they differ with regard to the goal. "
    "Then end with: Label: <0, 1 or -1>"
)
AT_ONCE = " Reply only with: Label: <0, 1 or -1>"
LABELS = ("0", "1", "-1")
PREFERENCE = {"0": -1.0, "1": 1.0, "-1": 0.0}
"""What a label says for the second picture."""
VOTE_PERCENT = 10.0
_LABEL = re.compile(r"Label\s*:\s*<?\s*([-\u2212]?[01])(?![0-9.])", re.IGNORECASE)


class Preference:
    """The preferred one of two successive pictures, see the module."""

    name = "rlvlmf"
    max_new_tokens = 256
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Compare the current with the previous scored frame, in both orders."""
        return Inquiry(preference_queries(task, frames[-2], frames[-1], think), _read)


def preference_queries(
    task: str, one: np.ndarray, other: np.ndarray, think: bool
) -> tuple[Query, Query]:
    """The question in both orders: ``other`` as Image 2, then as Image 1."""
    text = QUESTION.format(task=clean_task(task)) + (IN_WORDS if think else AT_ONCE)
    answers = () if think else tuple(f"Label: {label}" for label in LABELS)
    first, second = (
        Query(ask_user(["Image 1:", a, "Image 2:", b, text]), answers)
        for a, b in ((one, other), (other, one))
    )
    return first, second


def read_preference(said: Sequence[Said]) -> float | None:
    """How much ``other`` is preferred, in [-1, 1], from the answers in both orders.

    None if one of them cannot be read.
    """
    both = [_second_preferred(one) for one in said]
    if both[0] is None or both[1] is None:
        return None
    return (both[0] - both[1]) / 2.0


def _second_preferred(said: Said) -> float | None:
    if said.logprobs:
        shares = answer_shares(said.logprobs)
        return float(shares @ [PREFERENCE[label] for label in LABELS])
    found = {label.replace("\u2212", "-") for label in _LABEL.findall(said.text)}
    return PREFERENCE.get(found.pop()) if len(found) == 1 else None


def _read(said: Sequence[Said], before: float) -> StepScore:
    preference = read_preference(said)
    if preference is None:
        return StepScore(None, error="expected one Label: 0, 1 or -1 in each reply")
    progress = min(max(before + VOTE_PERCENT * preference, -100.0), 100.0)
    return StepScore(progress, reasoning=_LABEL.split(said[0].text)[0].strip())
