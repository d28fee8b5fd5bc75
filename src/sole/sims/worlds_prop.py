"""What a family's builder tells the environment about the object it has made."""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, float, float]
DOWN: Vector = (0.0, 0.0, -1.0)
AHEAD: Vector = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Prop:
    """One object with one motion, and how a gripper brings that motion about.

    Attributes:
        object_name: Noun of the part that is touched, for example ``drawer handle``.
        goal_name: Where its motion ends, for example ``open position``.
        thing: Noun of the whole, which carries the colour, for example ``drawer``.
        start, goal: Joint positions (radians or metres); unused when ``planar``.
        planar: The object slides freely on the table towards a marked goal.
        push_direction: Planar only: unit vector (x, y) towards the goal.
        radius_m: Half width of the touched part, seen along the motion.
        way: ``push`` (closed fingers beside it), ``hook`` (one finger in a gap) or ``grasp``.
        approach: Unit vector along which the gripper comes, in the root's frame.
        x_m, y_m, yaw: Ranges of the root's pose on the table.
        lowest_m: The fingertips stay above this height while they move the object.
        clear_m: How far in front of the part (above it) the hand travels.
    """

    object_name: str
    goal_name: str
    thing: str
    start: float = 0.0
    goal: float = 0.0
    planar: bool = False
    push_direction: tuple[float, float] = (0.0, 0.0)
    radius_m: float = 0.012
    way: str = "push"
    approach: Vector = DOWN
    x_m: tuple[float, float] = (-0.15, 0.15)
    y_m: tuple[float, float] = (0.68, 0.82)
    yaw: tuple[float, float] = (-0.25, 0.25)
    lowest_m: float = 0.012
    clear_m: float = 0.12
