"""Plants one false claim in a true text, to measure how many of them the checker catches.

What is false is decided here without the checker: a clause that the writer took from the facts is
replaced by its opposite, and the writer never speaks near a border (:mod:`sole.synth.borders`).
Values without a clear opposite, such as "kept its distance", are never planted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sole.data.episode import Truth
from sole.synth.claims import judge_text
from sole.synth.reasoning import Clause, clauses_of, say

#: What a clause becomes: the value that is false wherever the key is true.
OPPOSITES: dict[Clause, str] = {
    ("distance", "at"): "far",
    ("distance", "near"): "far",
    ("distance", "some_way"): "at",
    ("distance", "far"): "at",
    ("side", "left"): "right",
    ("side", "right"): "left",
    ("side", "ahead"): "behind",
    ("side", "behind"): "ahead",
    ("side", "above"): "below",
    ("side", "below"): "above",
    ("touch", "yes"): "no",
    ("touch", "no"): "yes",
    ("hold", "yes"): "no",
    ("hold", "no"): "yes",
    ("event", "touched"): "left",
    ("event", "left"): "touched",
    ("event", "grasped"): "released",
    ("event", "released"): "grasped",
    ("gripper_moved", "closer"): "away",
    ("gripper_moved", "away"): "closer",
    ("object_moved", "toward"): "away",
    ("object_moved", "away"): "toward",
    ("height", "lifted"): "lowered",
    ("height", "lowered"): "lifted",
    ("verdict", "helps"): "hurts",
    ("verdict", "hurts"): "helps",
    ("stage", "worse"): "mostly",
    ("stage", "not_started"): "nearly",
    ("stage", "partly"): "complete",
    ("stage", "half"): "not_started",
    ("stage", "mostly"): "not_started",
    ("stage", "nearly"): "worse",
    ("stage", "complete"): "half",
    ("next", "reach"): "hold",
    ("next", "touch"): "hold",
    ("next", "grasp"): "hold",
    ("next", "move"): "hold",
    ("next", "hold"): "reach",
}
#: Contact and grasp are told by a sentence about nothing else.
_WHOLE: dict[Clause, list[Clause]] = {
    ("touch", "yes"): [("touch", "yes")],
    ("touch", "no"): [("distance", "at"), ("touch", "no")],
    ("hold", "yes"): [("hold", "yes")],
    ("hold", "no"): [("touch", "yes"), ("hold", "no")],
}


@dataclass(frozen=True)
class Planted:
    """A text with one false claim.

    Attributes:
        text: All of it.
        kind, value: The claim that is false.
        caught: Whether the checker found that claim and called it false.
        others_false: Other claims of the text that it called false: false alarms.
    """

    text: str
    kind: str
    value: str
    caught: bool
    others_false: int


def plant(
    task: str, truth: Truth, previous: int, now: int, rng: np.random.Generator
) -> Planted | None:
    """Write the reasoning for frame ``now`` with one clause, drawn at random, turned into a lie.

    Returns:
        None when nothing that is said has an opposite.
    """
    facts, progress = truth.facts, truth.true_progress
    clauses = clauses_of(
        task, facts[0], facts[previous], facts[now], float(progress[previous]), float(progress[now])
    )
    places = [
        (i, k) for i, sentence in enumerate(clauses) for k, c in enumerate(sentence)
        if c in OPPOSITES
    ]  # fmt: skip
    if not places:
        return None
    i, k = places[int(rng.integers(len(places)))]
    kind, value = clauses[i][k][0], OPPOSITES[clauses[i][k]]
    clauses[i] = _replaced(clauses[i], k, (kind, value))
    text = say(clauses, task, facts[now], from_zero=False, rng=rng)
    judged = judge_text(text, facts[previous], facts[now], facts[0])
    false = [(claim.kind, claim.value) for claim, verdict in judged if verdict is False]
    caught = (kind, value) in false
    return Planted(text, kind, value, caught, len(false) - caught)


def _replaced(sentence: list[Clause], place: int, lie: Clause) -> list[Clause]:
    return _WHOLE.get(lie, [*sentence[:place], lie, *sentence[place + 1 :]])
