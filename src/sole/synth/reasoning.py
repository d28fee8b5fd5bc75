"""Facts to text: what a reasoner should say about one moment, every clause true of the facts.

The order never changes: what is seen, what changed, what that means for the task, where the task
stands, what comes next. The text holds no numbers and each clause is checkable by
:mod:`sole.synth.claims`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sole.data.episode import Facts
from sole.synth import borders, phrases

#: A kind of claim and its value: a key of the phrase tables.
Clause = tuple[str, str]

_BY_KIND: dict[str, dict[str, tuple[str, ...]]] = {
    "distance": phrases.DISTANCE,
    "side": {
        side: tuple(link.format(side=where) for link in phrases.SIDE_LINK for where in wheres)
        for side, wheres in phrases.SIDE.items()
    },
    "touch": {"no": phrases.TOUCH_NO, "yes": phrases.TOUCH_YES},
    "hold": {"no": phrases.HOLD_NO, "yes": phrases.HOLD_YES},
    "gripper_moved": phrases.GRIPPER_MOVED,
    "event": phrases.EVENT,
    "object_moved": phrases.OBJECT_MOVED,
    "height": phrases.HEIGHT,
    "verdict": phrases.VERDICT,
    "stage": phrases.STAGE,
    "next": phrases.NEXT,
}
_TABLES: dict[Clause, tuple[str, ...]] = {
    (kind, value): texts for kind, table in _BY_KIND.items() for value, texts in table.items()
}
#: What joins a clause to the one before it in the same sentence.
_GLUE = {"side": ", ", "touch": ", ", "hold": " ", "object_moved": " and ", "height": " "}
_TELLS_CHANGE = ("gripper_moved", "event", "object_moved")


def write_reasoning(
    task: str,
    first: Facts,
    previous: Facts | None,
    current: Facts,
    true_progress_previous: float | None,
    true_progress_now: float,
    rng: np.random.Generator,
) -> str:
    """Return the reasoning text for one moment: about 18 to 32 lower-case words.

    Args:
        task: The instruction; its verb names the next move.
        first: Facts at the first frame of the episode.
        previous: Facts at the previous frame shown, or None in from-zero mode: then changes are
            told "since the start".
        current: Facts at the moment that is judged.
        true_progress_previous: Percent at the previous frame, None in from-zero mode.
        true_progress_now: Percent now; the verdict is the sign of the difference. Where it
            contradicts what the facts show, the verdict is left out.
        rng: Chooses among phrasings, nothing else.

    Example:
        >>> from sole.data.episode import make_facts
        >>> first, now = make_facts(), make_facts(contact=True, gripper_to_object_m=0.02)
        >>> rng = np.random.default_rng(0)
        >>> write_reasoning("push the puck to the goal", first, first, now, 0.0, 50.0, rng)
        'the gripper is touching the puck. it made contact and the puck did not move. this helps. \
nothing is done yet. then push it to the goal.'
    """
    told = clauses_of(task, first, previous, current, true_progress_previous, true_progress_now)
    return say(told, task, current, from_zero=previous is None, rng=rng)


def clauses_of(
    task: str,
    first: Facts,
    previous: Facts | None,
    current: Facts,
    true_progress_previous: float | None,
    true_progress_now: float,
) -> list[list[Clause]]:
    """Return what there is to say, sentence by sentence; arguments of :func:`write_reasoning`."""
    reference = first if previous is None else previous
    if true_progress_previous is None:
        true_progress_previous = 0.0 if previous is None else None
    changes = _changes(reference, current)
    return [
        _seen(task, current, told=changes[0]),
        changes,
        _verdict(first, reference, current, true_progress_previous, true_progress_now),
        [("stage", stage_of(current))],
        [("next", next_of(task, current))],
    ]


def say(
    clauses: list[list[Clause]],
    task: str,
    current: Facts,
    *,
    from_zero: bool,
    rng: np.random.Generator,
) -> str:
    """Put clauses into words; ``from_zero`` tells changes "since the start"."""
    since = phrases.SINCE_START if from_zero else ""
    return _join(clauses, _words(task, current), since, rng)


def stage_of(facts: Facts) -> str:
    """Return where the task stands, a key of ``phrases.STAGE``.

    Example:
        >>> from sole.data.episode import make_facts
        >>> stage_of(make_facts(done_fraction=0.5))
        'half'
    """
    if facts["complete"]:
        return "complete"
    return borders.bin_of(facts["done_fraction"], borders.STAGES)


def side_of(facts: Facts) -> str | None:
    """Return on which side of the gripper the object lies, None when no axis dominates."""
    offset = facts["offset_m"]
    order = sorted(range(3), key=lambda axis: -abs(offset[axis]))
    longest, second = abs(offset[order[0]]), abs(offset[order[1]])
    if longest < borders.SIDE_MIN_M or second > borders.SIDE_DOMINANCE * longest:
        return None
    sign = 1 if offset[order[0]] > 0 else -1
    return next(name for name, place in borders.SIDES.items() if place == (order[0], sign))


def next_of(task: str, facts: Facts) -> str:
    """Return what remains to be done next, a key of ``phrases.NEXT``."""
    if facts["complete"]:
        return "hold"
    if borders.is_free(facts):
        return "reach"
    if facts["grasped"]:
        return "move"
    needs_grasp = _needs_grasp(task, facts["object_name"])
    if facts["contact"]:
        return "grasp" if needs_grasp else "move"
    if facts["gripper_to_object_m"] >= borders.DISTANCES_M["at"][1]:
        return "reach"
    return "grasp" if needs_grasp else "touch"


def _seen(task: str, facts: Facts, *, told: Clause) -> list[Clause]:
    """What is seen now, less what the first change (``told``) says anyway."""
    if not borders.is_free(facts):
        if facts["grasped"]:
            return [("hold", "yes")]
        if facts["contact"]:
            loose = [("hold", "no")] if _needs_grasp(task, facts["object_name"]) else []
            return [("touch", "yes"), *loose]
    distance = _distance_of(facts)
    if told[0] == "event":
        return [("distance", distance)]
    apart = distance == "at" and not borders.is_free(facts)
    return [("distance", distance), *_side(facts), *([("touch", "no")] if apart else [])]


def _distance_of(facts: Facts) -> str:
    return borders.bin_of(facts["gripper_to_object_m"], borders.DISTANCES_M)


def _side(facts: Facts) -> list[Clause]:
    side = side_of(facts)
    return [] if side is None else [("side", side)]


def _changes(reference: Facts, current: Facts) -> list[Clause]:
    free = borders.is_free(current)
    event = None if free else _event(reference, current)
    changes = []
    if event is not None:
        changes.append(("event", event))
    elif free or not (borders.touches(reference) and borders.touches(current)):
        changes.append(("gripper_moved", _gripper_moved(reference, current)))
    if not free:
        moved = _object_moved(reference, current)
        changes.append(("object_moved", moved))
        changes.extend(_height(reference, current) if moved != "still" else ())
    return changes


def _event(reference: Facts, current: Facts) -> str | None:
    if current["grasped"] != reference["grasped"]:
        return "grasped" if current["grasped"] else "released"
    if borders.touches(current) != borders.touches(reference):
        return "touched" if borders.touches(current) else "left"
    return None


def _gripper_moved(reference: Facts, current: Facts) -> str:
    change_m = current["gripper_to_object_m"] - reference["gripper_to_object_m"]
    if abs(change_m) <= borders.APPROACH_M:
        return "same"
    return "closer" if change_m < 0 else "away"


def _object_moved(reference: Facts, current: Facts) -> str:
    done = current["done_fraction"] - reference["done_fraction"]
    if abs(done) > borders.DONE_CHANGE:
        return "toward" if done > 0 else "away"
    moved_m = abs(current["object_moved_m"] - reference["object_moved_m"])
    return "aside" if moved_m > borders.MOVED_M else "still"


def _height(reference: Facts, current: Facts) -> list[Clause]:
    change_m = current["object_height_m"] - reference["object_height_m"]
    held = current["grasped"] or reference["grasped"]
    if not held or abs(change_m) <= borders.LIFT_M:
        return []
    return [("height", "lifted" if change_m > 0 else "lowered")]


def _verdict(
    first: Facts, reference: Facts, current: Facts, before: float | None, now: float
) -> list[Clause]:
    shown = borders.points(first, current) - borders.points(first, reference)
    change = shown if before is None else now - before
    if abs(change) <= borders.VERDICT_POINTS:
        return [] if abs(shown) > borders.VERDICT_KEPT_POINTS else [("verdict", "neutral")]
    sign = 1 if change > 0 else -1
    if sign * shown < borders.VERDICT_SLACK_POINTS:
        return []
    return [("verdict", "helps" if sign > 0 else "hurts")]


def _words(task: str, facts: Facts) -> dict[str, str]:
    name = facts["object_name"]
    verb = "carry" if facts["grasped"] and _verb(task) == "move" else _verb(task)
    return {"x": name, "n": name.rsplit(" ", 1)[-1], "g": facts["goal_name"], "verb": verb}


@lru_cache(maxsize=4096)
def _verb(task: str) -> str:
    known = (phrases.MOVE_VERBS.get(word) for word in task.lower().split())
    return next((verb for verb in known if verb is not None), "move")


@lru_cache(maxsize=4096)
def _needs_grasp(task: str, object_name: str) -> bool:
    said = set(task.lower().split())
    if said & phrases.GRASP_VERBS:
        return True
    return bool(said & phrases.LOOSE_VERBS) and not set(object_name.split()) & phrases.NEVER_HELD


def _join(
    sentences: list[list[Clause]], words: dict[str, str], since: str, rng: np.random.Generator
) -> str:
    text = []
    for sentence in sentences:
        said = ""
        for kind, value in sentence:
            table = _TABLES[kind, value]
            clause = table[int(rng.random() * len(table))].format_map(words)
            said += _GLUE.get(kind, "") + clause if said else clause
        if since and sentence and sentence[0][0] in _TELLS_CHANGE:
            said = f"{since} {said}"
        if said:
            text.append(said)
    return ". ".join(text) + "."
