"""What facts say of each kind of claim, one small judge per kind; None when they cannot tell."""

from __future__ import annotations

import math

from sole.data.episode import Facts
from sole.synth import borders


def distance(value: str, now: Facts) -> bool | None:
    """Judge at | near | some_way | far | apart (not near).

    A gripper that touches is near, however far the centre of a big object may be.
    """
    ranges = borders.DISTANCES_M | {"apart": (borders.DISTANCES_M["near"][1], math.inf)}
    if value not in ranges:
        return None
    if borders.touches(now) and not borders.is_free(now):
        return value in ("at", "near")
    low, high = ranges[value]
    slack = borders.DISTANCE_SLACK_SHARE
    return low * (1 - slack) <= now["gripper_to_object_m"] <= high * (1 + slack)


def side(value: str, now: Facts) -> bool | None:
    """Judge on which side of the gripper the object lies."""
    longest = max(abs(x) for x in now["offset_m"])
    if value not in borders.SIDES or longest < borders.SIDE_BLIND_M:
        return None
    axis, sign = borders.SIDES[value]
    return sign * now["offset_m"][axis] >= borders.SIDE_SLACK_SHARE * longest


def touch(value: str, now: Facts) -> bool | None:
    """Judge yes | no."""
    return borders.touches(now) == (value == "yes")


def hold(value: str, now: Facts) -> bool | None:
    """Judge yes | no."""
    return now["grasped"] == (value == "yes")


def stage(value: str, now: Facts) -> bool | None:
    """Judge where the task stands; only completion itself has no slack."""
    if value in ("complete", "incomplete"):
        return now["complete"] == (value == "complete")
    if value not in borders.STAGES:
        return None
    low, high = borders.STAGES[value]
    near_enough = low - borders.STAGE_SLACK <= now["done_fraction"] <= high + borders.STAGE_SLACK
    return near_enough and not now["complete"]


def next_move(value: str, now: Facts) -> bool | None:
    """Judge what is advised: false only where it makes no sense."""
    if value == "hold":
        return now["complete"]
    if now["complete"]:
        return False
    free, touches = borders.is_free(now), borders.touches(now)
    if value == "reach":
        return free or not touches
    if value == "grasp":
        return not free and not now["grasped"]
    if value != "move":
        return None
    near_m = borders.DISTANCES_M["near"][1] * (1 + borders.DISTANCE_SLACK_SHARE)
    return free or touches or now["gripper_to_object_m"] <= near_m


def event(value: str, before: Facts, now: Facts) -> bool | None:
    """Judge touched | left | grasped | released: exactly, contacts have no borders."""
    touched = borders.touches(now), borders.touches(before)
    held = now["grasped"], before["grasped"]
    told = {"touched": (touched, True), "left": (touched, False)}
    told |= {"grasped": (held, True), "released": (held, False)}
    if value not in told:
        return None
    (is_so, was_so), wanted = told[value]
    return is_so == wanted and was_so != wanted


def gripper_moved(value: str, before: Facts, now: Facts) -> bool | None:
    """Judge closer | away | same by the distance to the object."""
    nearer_m = before["gripper_to_object_m"] - now["gripper_to_object_m"]
    if value == "same":
        return abs(nearer_m) <= borders.APPROACH_KEPT_M
    return _signed(value, ("closer", "away"), nearer_m, borders.APPROACH_SLACK_M)


def object_moved(value: str, before: Facts, now: Facts) -> bool | None:
    """Judge toward | away | still | aside."""
    done = now["done_fraction"] - before["done_fraction"]
    moved_m = abs(now["object_moved_m"] - before["object_moved_m"])
    kept = abs(done) <= borders.DONE_KEPT
    if value == "still":
        return kept and moved_m <= borders.MOVED_KEPT_M
    if value == "aside":
        return kept and moved_m >= borders.MOVED_SLACK_M
    return _signed(value, ("toward", "away"), done, borders.DONE_CHANGE_SLACK)


def height(value: str, before: Facts, now: Facts) -> bool | None:
    """Judge lifted | lowered."""
    higher_m = now["object_height_m"] - before["object_height_m"]
    return _signed(value, ("lifted", "lowered"), higher_m, borders.LIFT_SLACK_M)


def verdict(value: str, before: Facts, now: Facts, first: Facts | None = None) -> bool | None:
    """Judge helps | hurts | neutral by the progress that the facts alone show."""
    gained = borders.points(first, now) - borders.points(first, before)
    if value == "neutral":
        return abs(gained) <= borders.VERDICT_KEPT_POINTS
    return _signed(value, ("helps", "hurts"), gained, borders.VERDICT_SLACK_POINTS)


def _signed(value: str, names: tuple[str, str], change: float, least: float) -> bool | None:
    """True when ``change`` goes the way the value says by at least ``least``."""
    if value not in names:
        return None
    return (change if value == names[0] else -change) >= least


#: Judges of what is seen in the current frame alone.
OF_NOW = {"distance": distance, "side": side, "touch": touch, "hold": hold, "stage": stage}
OF_NOW |= {"next": next_move}
#: Judges of what changed since another frame.
OF_CHANGE = {"event": event, "gripper_moved": gripper_moved, "object_moved": object_moved}
OF_CHANGE |= {"height": height}
