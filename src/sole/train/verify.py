"""What a reply is worth when the truth is known: the verifiable rewards of ``sole rlvr``.

Pure functions without any framework, so that any trainer can call them. The first two terms are
SOLE-R1's (arXiv 2603.28730): form up to 0.5, accuracy up to 1.5. The paper does not say its tau.
The other two are ours: sentences are checked against the simulator's facts, and a change must be
told in the right direction, because losses of progress are what the supervised model misses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sole.data.episode import Facts
from sole.protocol.prompt import parse_reply
from sole.synth.claims import judge_text

FORMAT_MOST = 0.5
ACCURACY_MOST = 1.5
#: A reasoning earns its full worth only from this many checkable claims: silence is no truth.
LEAST_CLAIMS = 3
#: Changes of progress up to this many points are no change.
STILL_POINTS = 2.0
#: A stated number further off the truth than this says nothing about the change since then.
TRUSTED_POINTS = 5.0
_EXACT_FORM = re.compile(r"\s*<think>[^<>]*</think>\s*<answer>\s*-?\d{1,3}%</answer>\s*")


@dataclass(frozen=True)
class Known:
    """What the simulator knows about one question.

    Attributes:
        true_progress: Percent at the current moment.
        true_before: Percent at the previous moment shown, None from zero.
        stated: What the prompt states for the previous moment, None where it states nothing.
        facts: Of the first, the previous (None from zero) and the current moment; None where they
            do not belong to the instruction, so that no sentence can be checked.
    """

    true_progress: float
    true_before: float | None = None
    stated: int | None = None
    facts: tuple[Facts, Facts | None, Facts] | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, for a column of a table."""
        return asdict(self)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Known:
        """Read back :meth:`as_json`."""
        facts = data["facts"]
        return cls(**{**data, "facts": None if facts is None else tuple(facts)})


@dataclass(frozen=True)
class RewardWeights:
    """How the terms are mixed.

    Attributes:
        tau: Points of error after which accuracy has fallen to a third (1/e).
        truth: Worth of a reasoning whose claims are all true.
        direction: Worth of a change that is told in the right direction.
    """

    tau: float = 10.0
    truth: float = 0.5
    direction: float = 0.25


@dataclass(frozen=True)
class Verdict:
    """The terms of one reply's reward; a term is None where the question does not admit it.

    Attributes:
        reward: Weighted sum; what does not apply adds nothing.
        form: 0, 0.25 or 0.5.
        accuracy: In [0, 1.5].
        truth: Share of true claims in [0, 1].
        direction: In [0, 1].
        error_points: Distance from the true progress; None if no number could be read.
    """

    reward: float
    form: float
    accuracy: float
    truth: float | None
    direction: float | None
    error_points: float | None


def judge_reply(text: str, known: Known, weights: RewardWeights) -> Verdict:
    """Value one whole reply, from ``<think>`` on.

    Example:
        >>> exact = judge_reply("<think></think><answer>40%</answer>", Known(40.0), RewardWeights())
        >>> exact.reward, exact.error_points
        (2.0, 0.0)
        >>> judge_reply("about forty", Known(40.0), RewardWeights()).reward
        0.0
    """
    reply = parse_reply(text)
    form = format_reward(text)
    accuracy = accuracy_reward(reply.progress, known.true_progress, weights.tau)
    truth = truth_reward(reply.reasoning, known.facts)
    direction = direction_reward(reply.progress, known)
    reward = form + accuracy + weights.truth * (truth or 0.0)
    reward += weights.direction * (direction or 0.0)
    error = None if reply.progress is None else abs(reply.progress - known.true_progress)
    return Verdict(reward, form, accuracy, truth, direction, error)


def format_reward(text: str) -> float:
    """0.5 for exactly one thought and one whole percentage, half of it if a number can be read.

    Example:
        >>> format_reward("<think>it moved.</think><answer>40%</answer>")
        0.5
        >>> format_reward("<answer>40.5</answer> or so"), format_reward("forty")
        (0.25, 0.0)
    """
    reply = parse_reply(text)
    if reply.error is not None:
        return 0.0
    exact = _EXACT_FORM.fullmatch(text) is not None and not reply.clamped
    return FORMAT_MOST if exact else FORMAT_MOST / 2


def accuracy_reward(judged: float | None, true: float, tau: float) -> float:
    """``1.5 * exp(-|judged - true| / tau)``; 0 for a reply without a number.

    Raises:
        ValueError: If ``tau`` is not positive.

    Example:
        >>> accuracy_reward(40, 40, 10), round(accuracy_reward(30, 40, 10), 3)
        (1.5, 0.552)
    """
    if not tau > 0:
        raise ValueError(f"tau: expected points above 0, got {tau}")
    return 0.0 if judged is None else ACCURACY_MOST * math.exp(-abs(judged - true) / tau)


def truth_reward(reasoning: str, facts: tuple[Facts, Facts | None, Facts] | None) -> float | None:
    """Share of the checkable claims that are true; fewer than three cannot earn all of it.

    None without a reasoning or without facts: then there is nothing to check.

    Example:
        >>> from sole.data.episode import make_facts
        >>> far = make_facts(gripper_to_object_m=0.3)
        >>> truth_reward("the gripper is touching the puck.", (far, far, far))
        0.0
        >>> truth_reward("", (far, far, far)) is None
        True
    """
    if facts is None or not reasoning:
        return None
    first, previous, current = facts
    told = [verdict for _, verdict in judge_text(reasoning, previous, current, first)]
    checkable = [verdict for verdict in told if verdict is not None]
    return checkable.count(True) / max(len(checkable), LEAST_CLAIMS)


def direction_reward(judged: float | None, known: Known) -> float | None:
    """1 if the judged change has the sign of the true one, 0 if the opposite, else a half.

    The judged change counts from the number that the prompt states. None where that number is
    absent or wrong: from a wrong number the right answer may lie in the wrong direction.

    Example:
        >>> fall = Known(true_progress=20, true_before=50, stated=48)
        >>> direction_reward(25, fall), direction_reward(48, fall), direction_reward(60, fall)
        (1.0, 0.5, 0.0)
    """
    if known.stated is None or known.true_before is None:
        return None
    if abs(known.stated - known.true_before) > TRUSTED_POINTS:
        return None
    if judged is None:
        return 0.0
    apart = abs(_sign(judged - known.stated) - _sign(known.true_progress - known.true_before))
    return 1.0 - apart / 2


def _sign(change_points: float) -> int:
    if abs(change_points) <= STILL_POINTS:
        return 0
    return 1 if change_points > 0 else -1


def mean_terms(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Mean of each term where it applies; ``read`` is the share of replies with a number.

    Example:
        >>> mean_terms([Verdict(2.0, 0.5, 1.5, None, None, 0.0)])["mae"]
        0.0
    """
    return {
        "reward": _mean([v.reward for v in verdicts]),
        "form": _mean([v.form for v in verdicts]),
        "accuracy": _mean([v.accuracy for v in verdicts]),
        "truth": _mean([v.truth for v in verdicts]),
        "direction": _mean([v.direction for v in verdicts]),
        "mae": _mean([v.error_points for v in verdicts]),
        "read": _mean([float(v.error_points is not None) for v in verdicts]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
