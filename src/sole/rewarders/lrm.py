"""Large Reward Models: three questions about pictures, and their mean.

Source: Large Reward Models 2026 (arXiv 2603.16065) and the definitions in its released server. With
c, p and k as the three answers about the frame t and t' the previously scored frame:

- ``lrm-contrastive``: which of o_t' and o_t is nearer to the completed task? c = +1 for o_t, -1 for
  o_t'. Asked in both orders and averaged, because models prefer a place; the release asks once.
  It is a sign of change, so the votes are added up: ``v + VOTE_PERCENT c`` within [-100, 100].
- ``lrm-progress``: o_t beside the first picture; p in {0, 0.1 .. 1}. Progress ``100 p``.
- ``lrm-completion``: o_t alone; k = 1 if the task is done, else 0. Progress ``100 k``, and k is the
  success probability.
- ``lrm``: the joint reward ``((c + 1) / 2 + p + k) / 3``; progress is 100 times that, and k is the
  success probability. Nothing done and nothing changed is 1/6, not 0, as in the release.

In words, the answers stand in the reply's JSON. Without words, c is the difference and p and k the
expectation of the probabilities of all answers. The release takes a reply that cannot be read, or
"NA", as 0; here it is an error. The wording is ours, and so the released LoRA adapters, which
were trained on another one, are not opened here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sole.data.episode import StepScore
from sole.models.backend import ask_user
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import Inquiry, Needs, Query, Said
from sole.rewarders.reading import answer_shares, before_field, mean_and_spread, read_field

NEARER = (
    "A robot is to do this task: {task}. The two pictures are two moments of one attempt. Their "
    "order says nothing about time. In which of them is the task nearer to completion?"
)
HOW_FAR = (
    "A robot is to do this task: {task}. The first picture shows the start, the second one the "
    "present. What share of the task is complete now? Choose one of 0.0, 0.1, 0.2, ..., 1.0."
)
DONE = (
    "A robot is to do this task: {task}. The picture shows the present. Is the task complete now?"
)
IN_WORDS = " Reason in two or three sentences, then end with one JSON object: "
AT_ONCE = " Reply only with one JSON object: "
FORMS = {
    "more_complete_image": '{"more_complete_image": "ImageA" or "ImageB"}',
    "completion_progress": '{"completion_progress": <share>}',
    "task_complete": '{"task_complete": "yes" or "no"}',
}
SHARES = tuple(k / 10 for k in range(11))
VOTE_PERCENT = 10.0
UNREADABLE = "the reply does not say {}"


class Contrastive:
    """Which of two moments is nearer to the goal, see the module."""

    name = "lrm-contrastive"
    max_new_tokens = 256
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Compare the current with the previous scored frame, in both orders."""
        return Inquiry(contrastive_queries(task, frames[-2], frames[-1], think), _read_votes)


class Progress:
    """What share of the task is complete, see the module."""

    name = "lrm-progress"
    max_new_tokens = 256
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Ask about the current frame beside the first one."""
        return Inquiry((_progress_query(task, frames, think),), _read_progress)


class Completion:
    """Whether the task is complete, see the module."""

    name = "lrm-completion"
    max_new_tokens = 256
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Ask about the current frame alone."""
        return Inquiry((_completion_query(task, frames, think),), _read_completion)


class Tri:
    """The mean of the three answers, see the module."""

    name = "lrm"
    max_new_tokens = 256
    needs = Needs.WORDS

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Ask all three questions: four prompts."""
        both = contrastive_queries(task, frames[-2], frames[-1], think)
        others = (_progress_query(task, frames, think), _completion_query(task, frames, think))
        return Inquiry((*both, *others), _read_tri)


def contrastive_queries(
    task: str, earlier: np.ndarray, later: np.ndarray, think: bool
) -> tuple[Query, Query]:
    """The same comparison twice: the later picture as B, then as A."""
    orders = ((earlier, later), (later, earlier))
    answers = tuple(_json("more_complete_image", f'"Image{x}"') for x in "AB")
    text = _question(NEARER, task, "more_complete_image", think)
    first, second = (
        Query(ask_user(["ImageA:", a, "ImageB:", b, text]), () if think else answers)
        for a, b in orders
    )
    return first, second


def _progress_query(task: str, frames: Sequence[np.ndarray], think: bool) -> Query:
    text = _question(HOW_FAR, task, "completion_progress", think)
    answers = tuple(_json("completion_progress", f"{share:.1f}") for share in SHARES)
    return Query(ask_user([frames[0], frames[-1], text]), () if think else answers)


def _completion_query(task: str, frames: Sequence[np.ndarray], think: bool) -> Query:
    text = _question(DONE, task, "task_complete", think)
    answers = tuple(_json("task_complete", f'"{word}"') for word in ("yes", "no"))
    return Query(ask_user([frames[-1], text]), () if think else answers)


def _question(question: str, task: str, field: str, think: bool) -> str:
    ending = IN_WORDS if think else AT_ONCE
    return question.format(task=clean_task(task)) + ending + FORMS[field]


def _json(field: str, value: str) -> str:
    return f'{{"{field}": {value}}}'


def _vote(said: Said, later: str) -> float | None:
    """+1 for the later picture, -1 for the earlier one; between them when it was weighed."""
    if said.logprobs:
        share_a, share_b = answer_shares(said.logprobs)
        return float(share_b - share_a if later == "ImageB" else share_a - share_b)
    choice = read_field(said.text, "more_complete_image")
    if choice not in {"ImageA", "ImageB"}:
        return None
    return 1.0 if choice == later else -1.0


def _contrast(said: Sequence[Said]) -> float | None:
    votes = [_vote(one, later) for one, later in zip(said, ("ImageB", "ImageA"), strict=True)]
    known = [vote for vote in votes if vote is not None]
    return sum(known) / 2 if len(known) == 2 else None


def _share(said: Said) -> tuple[float, float | None] | None:
    if said.logprobs:
        return mean_and_spread(answer_shares(said.logprobs), SHARES)
    try:
        value = float(read_field(said.text, "completion_progress") or "")
    except ValueError:
        return None
    return (value, None) if 0.0 <= value <= 1.0 else None


def _done(said: Said) -> float | None:
    if said.logprobs:
        return float(answer_shares(said.logprobs)[0])
    return {"yes": 1.0, "no": 0.0}.get((read_field(said.text, "task_complete") or "").lower())


def _read_votes(said: Sequence[Said], before: float) -> StepScore:
    c = _contrast(said)
    if c is None:
        return StepScore(None, error=UNREADABLE.format("which picture is nearer"))
    progress = min(max(before + VOTE_PERCENT * c, -100.0), 100.0)
    return StepScore(progress, reasoning=before_field(said[0].text, "more_complete_image"))


def _read_progress(said: Sequence[Said], before: float) -> StepScore:
    found = _share(said[0])
    if found is None:
        return StepScore(None, error=UNREADABLE.format("a share from 0 to 1"))
    share, spread = found
    words = before_field(said[0].text, "completion_progress")
    uncertainty = None if spread is None else 100.0 * spread
    return StepScore(100.0 * share, reasoning=words, uncertainty=uncertainty)


def _read_completion(said: Sequence[Said], before: float) -> StepScore:
    done = _done(said[0])
    if done is None:
        return StepScore(None, error=UNREADABLE.format("yes or no"))
    words = before_field(said[0].text, "task_complete")
    return StepScore(100.0 * done, success_probability=done, reasoning=words)


def _read_tri(said: Sequence[Said], before: float) -> StepScore:
    c, p, k = _contrast(said[:2]), _share(said[2]), _done(said[3])
    if c is None or p is None or k is None:
        lacking = {"which picture is nearer": c, "a share from 0 to 1": p, "yes or no": k}
        names = " and ".join(name for name, value in lacking.items() if value is None)
        return StepScore(None, error=UNREADABLE.format(names))
    joint = ((c + 1.0) / 2.0 + p[0] + k) / 3.0
    fields = ("more_complete_image", "completion_progress", "task_complete")
    replies = (said[0], said[2], said[3])
    words = [before_field(one.text, f) for one, f in zip(replies, fields, strict=True)]
    reasoning = "\n".join(word for word in words if word)
    return StepScore(100.0 * joint, success_probability=k, reasoning=reasoning)
