"""What a text says, against its own number and against what was said before: pure functions.

Whether a claim is true says :mod:`sole.synth.claims`. Here nothing is compared with the world: a
text that is coherent may still be false, and one that is true may contradict its own number.
"""

from __future__ import annotations

from collections.abc import Sequence

from sole.synth.borders import VERDICT_POINTS
from sole.synth.claims import Claim

_VERDICTS = {"helps": 1, "neutral": 0, "hurts": -1}
_MOTIONS = {
    ("object_moved", "toward"): 1, ("object_moved", "still"): 0, ("object_moved", "away"): -1,
    ("gripper_moved", "closer"): 1, ("gripper_moved", "same"): 0, ("gripper_moved", "away"): -1,
}  # fmt: skip
#: Kinds of which two different values cannot both hold at one moment.
_SINGLE = ("touch", "hold", "verdict", "gripper_moved", "object_moved", "height")
#: Claims that exclude each other although their kinds or words differ.
_EXCLUDE = (
    (("distance", "at"), ("distance", "far")), (("distance", "at"), ("distance", "some_way")),
    (("distance", "at"), ("distance", "apart")), (("distance", "near"), ("distance", "far")),
    (("distance", "near"), ("distance", "apart")), (("hold", "yes"), ("touch", "no")),
)  # fmt: skip
#: An event, and the state that the text before it must not have told already.
_TOO_LATE = {
    "touched": ("touch", "yes"), "left": ("touch", "no"),
    "grasped": ("hold", "yes"), "released": ("hold", "no"),
}  # fmt: skip
#: A task that is called complete is judged at least so, and one that is not stays below this.
_COMPLETE_FROM, _INCOMPLETE_BELOW = 75.0, 99.5


def direction(points: float) -> int:
    """Sign of a change of progress: 1, 0 or -1; up to 2 points either way is no change.

    Example:
        >>> direction(5.0), direction(-1.9), direction(-2.1)
        (1, 0, -1)
    """
    return 0 if abs(points) <= VERDICT_POINTS else (1 if points > 0 else -1)


def told_direction(claims: Sequence[Claim]) -> int | None:
    """Which way a text says that the last step went: 1, 0 or -1; None where it does not say.

    Its verdict counts (helps, hurts, changes nothing); without one, what it says moved since the
    previous picture. What points both ways says nothing.

    Example:
        >>> told_direction([Claim("gripper_moved", "closer"), Claim("object_moved", "still")])
        1
        >>> told_direction([Claim("verdict", "hurts"), Claim("gripper_moved", "closer")])
        -1
    """
    fresh = [claim for claim in claims if not claim.since_start]
    signs = {_VERDICTS[c.value] for c in fresh if c.kind == "verdict" and c.value in _VERDICTS}
    if not signs:
        signs = {_MOTIONS[c.kind, c.value] for c in fresh if (c.kind, c.value) in _MOTIONS}
        signs = signs - {0} or signs
    return signs.pop() if len(signs) == 1 else None


def contradictions(
    claims: Sequence[Claim], judged: float, before: Sequence[Claim] = ()
) -> tuple[str, ...]:
    """What does not fit together: ``itself``, ``number`` and ``before``, in this order.

    Args:
        claims: Of one text.
        judged: The progress that was judged with it, percent.
        before: Claims of the text about the previous picture; none if there was no text.

    Example:
        >>> contradictions([Claim("stage", "complete"), Claim("touch", "yes")], 40.0)
        ('number',)
        >>> contradictions([Claim("event", "touched")], 40.0, before=[Claim("touch", "yes")])
        ('before',)
    """
    now = {(c.kind, c.value) for c in claims if not c.since_start}
    found = {
        "itself": _contradicts_itself(now),
        "number": _contradicts_number(now, judged),
        "before": _contradicts(now, {(c.kind, c.value) for c in before if not c.since_start}),
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _contradicts_itself(now: set[tuple[str, str]]) -> bool:
    twice = any(len({v for k, v in now if k == kind}) > 1 for kind in _SINGLE)
    stages = {v for k, v in now if k == "stage"}
    return (
        twice
        or any(one in now and two in now for one, two in _EXCLUDE)
        or ("complete" in stages and len(stages) > 1)
    )


def _contradicts_number(now: set[tuple[str, str]], judged: float) -> bool:
    stages = {v for k, v in now if k == "stage"}
    if "complete" in stages:
        return judged < _COMPLETE_FROM
    return bool(stages) and judged >= _INCOMPLETE_BELOW


def _contradicts(now: set[tuple[str, str]], before: set[tuple[str, str]]) -> bool:
    return any(k == "event" and _TOO_LATE.get(v) in before for k, v in now)
