"""RoboReward: a grade from 1 to 5 for how far the video's last picture fulfils the instruction.

Source: Lee et al. 2026 (arXiv 2601.00675). ``RUBRIC`` is the question on the cards of their models
(teetone/RoboReward-4B and -8B, CC-BY-4.0), word for word, since they were trained on it; any other
model can be asked it as well.

Progress in percent is ``100 (s - 1) / 4`` with s the grade. In words, s is the integer after
``ANSWER:``, and the success probability is 1 for a 5, else 0. Without words, s is the expectation
over the five answers ``ANSWER: 1`` to ``ANSWER: 5``, with their spread as the uncertainty, and the
success probability is the share of the 5.

Published for the end of an episode; here every scored frame t is graded as the end of the video
0..t, which knows no future. A longer video is thinned evenly to ``MAX_FRAMES`` pictures. The
authors give the model a video; here it gets single pictures in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sole.data.episode import StepScore
from sole.models.backend import ask_user
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import Inquiry, Needs, Query, Said
from sole.rewarders.reading import answer_shares, mean_and_spread, spread_frames

RUBRIC = """\
Given the task, assign a discrete progress score reward (1,2,3,4,5) for the robot in the video in \
the format: ANSWER: <score>
Rubric for end-of-episode progress (judge only the final state without time limits):
1 - No Success: Final state shows no goal-relevant change for the command.
2 - Minimal Progress: Final state shows a small but insufficient change toward the goal.
3 - Partial Completion: The final state shows good progress toward the goal but violates more than \
one requirement or a major requirement.
4 - Near Completion: Final state is correct in region and intent but misses a single minor \
requirement.
5 - Perfect Completion: Final state satisfies all requirements.

Task: {task}"""
GRADES = (1, 2, 3, 4, 5)
PERCENT = tuple(100.0 * (grade - 1) / 4 for grade in GRADES)
MAX_FRAMES = 16
_ANSWER = re.compile(r"ANSWER\s*:\s*<?\s*([1-5])(?![0-9.])", re.IGNORECASE)


class RoboReward:
    """The rubric, see the module.

    Args:
        max_frames: Pictures in one question, at least 2.
    """

    name = "roboreward"
    max_new_tokens = 128
    needs = Needs.WORDS

    def __init__(self, max_frames: int = MAX_FRAMES):
        self._max_frames = max_frames

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Show the video so far and ask for the grade of its end."""
        shown = [frames[i] for i in spread_frames(len(frames), self._max_frames)]
        prompt = ask_user([*shown, RUBRIC.format(task=clean_task(task))])
        if think:
            return Inquiry((Query(prompt),), _read_words)
        answers = tuple(f"ANSWER: {grade}" for grade in GRADES)
        return Inquiry((Query(prompt, answers),), _read_shares)


def _read_words(said: Sequence[Said], before: float) -> StepScore:
    found = _ANSWER.findall(said[0].text)
    if len(set(found)) != 1:
        return StepScore(None, error="expected one ANSWER: 1 to 5 in the reply")
    percent = PERCENT[int(found[0]) - 1]
    words = _ANSWER.split(said[0].text)[0].strip()
    return StepScore(percent, success_probability=float(percent == 100.0), reasoning=words)


def _read_shares(said: Sequence[Said], before: float) -> StepScore:
    shares = answer_shares(said[0].logprobs)
    mean, spread = mean_and_spread(shares, PERCENT)
    return StepScore(mean, success_probability=float(shares[-1]), uncertainty=spread)
