"""TOPReward: how likely the model finds the word "True" after a claim that the task was done.

Source: TOPReward 2026 (arXiv 2602.19313) and its code (MIT). For the frames 0..t of a video and
``CLAIM``, the published reward is ``r_t = log P(" True" | frames 0..t)``: one forward pass, nothing
is generated. The claim follows the pictures as plain text, because its authors measured far worse
rankings through chat templates; the leading blank belongs to the word.

Three ways to a progress in percent, none of which knows the future:

- ``topreward``: ``100 clip((r_t - LOWEST) / (HIGHEST - LOWEST), 0, 1)``. The bounds -25 and -5 are
  those that Large Reward Models uses in a running robot. The published code rescales each episode
  by its own minimum and maximum instead, which needs the end of the episode: not offered.
- ``topreward-odds``: ``100 s(log P(" True") - log P(" False"))`` with the logistic function s; what
  makes both words unlikely, such as a long video, cancels. The share is the success probability.
- ``topreward-chat``: the same odds of ``True`` and ``False`` as the first word of a chat reply, for
  servers, which continue no plain text with pictures.

Frame 0 is 0 percent by definition and is not asked about. A longer video is thinned evenly to
``MAX_FRAMES`` pictures, the first and the current one among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sole.data.episode import StepScore
from sole.models.backend import ask_user
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import Inquiry, Needs, Query, Said
from sole.rewarders.reading import spread_frames

CLAIM = (
    "The above video shows a robot manipulation trajectory that completes the following task: "
    "{task} Decide whether the above statement is True or not. The answer is:"
)
"""Word for word as published; the model's next word is judged, so every word counts."""
CHAT_CLAIM = (
    "The pictures above are frames of one video, in order. They show a robot manipulation "
    "trajectory that completes the following task: {task} Decide whether the above statement is "
    "True or not. Reply with the one word True or False."
)
LOWEST, HIGHEST = -25.0, -5.0
MAX_FRAMES = 16


class TopReward:
    """The probability of "True", see the module.

    Args:
        name: ``topreward``, ``topreward-odds`` or ``topreward-chat``.
        max_frames: Pictures in one question, at least 2.
    """

    max_new_tokens = 1

    def __init__(self, name: str = "topreward", max_frames: int = MAX_FRAMES):
        self.name, self._max_frames = name, max_frames
        self._chat, self._odds = name == "topreward-chat", name != "topreward"
        self.needs = Needs.FIRST_WORD if self._chat else Needs.PLAIN_TEXT

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Show the video so far and weigh the next word; there are never words before it."""
        shown = [frames[i] for i in spread_frames(len(frames), self._max_frames)]
        claim = (CHAT_CLAIM if self._chat else CLAIM).format(task=f"{clean_task(task)}.")
        words = ("True", "False") if self._chat else (" True", " False")
        candidates = words if self._odds else words[:1]
        query = Query(ask_user([*shown, claim], chat=self._chat), candidates)
        return Inquiry((query,), _read_odds if self._odds else _read_level)


def _read_level(said: Sequence[Said], before: float) -> StepScore:
    share = (said[0].logprobs[0] - LOWEST) / (HIGHEST - LOWEST)
    return StepScore(100.0 * min(max(share, 0.0), 1.0))


def _read_odds(said: Sequence[Said], before: float) -> StepScore:
    true, false = said[0].logprobs
    share = 0.5 * (1.0 + math.tanh((true - false) / 2.0))  # the logistic, without overflow
    return StepScore(100.0 * share, success_probability=share)
