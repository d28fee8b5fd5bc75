"""The words that facts become: one table per kind of claim, a few phrasings per value.

``{x}`` is the object's full name, ``{n}`` its last word, ``{g}`` the goal's name, ``{side}`` one of
the side phrases, ``{verb}`` what the task does to the object. Lower-case, no digits.
"""

from __future__ import annotations

#: Where the gripper is, said when it does not touch the object.
DISTANCE: dict[str, tuple[str, ...]] = {
    "far": ("the gripper is far from the {x}", "the gripper is far off the {x}"),
    "some_way": ("the gripper is some way from the {x}", "the gripper is a way off the {x}"),
    "near": ("the gripper is near the {x}", "the gripper is close to the {x}"),
    "at": ("the gripper is at the {x}", "the gripper is right at the {x}"),
}
SIDE: dict[str, tuple[str, ...]] = {
    "left": ("to its left", "on its left"),
    "right": ("to its right", "on its right"),
    "ahead": ("ahead of it", "in front"),
    "behind": ("behind it", "further back"),
    "below": ("below it", "underneath"),
    "above": ("above it", "higher up"),
}
SIDE_LINK = ("which is {side}", "which lies {side}")
#: Contact, as an appendix to a distance ("no") or as a clause of its own.
TOUCH_NO = ("not touching it", "without contact", "not in contact")
TOUCH_YES = ("the gripper touches the {x}", "the gripper is touching the {x}")
HOLD_NO = ("without holding it", "not holding it")
HOLD_YES = (
    "the gripper holds the {x}",
    "the gripper is holding the {x}",
    "the gripper has grasped the {x}",
)

SINCE_START = "since the start"
GRIPPER_MOVED: dict[str, tuple[str, ...]] = {
    "closer": ("it moved closer", "it came nearer", "it approached"),
    "away": ("it moved away", "it went farther off", "it backed off"),
    "same": ("it kept its distance", "it stayed as far off"),
}
EVENT: dict[str, tuple[str, ...]] = {
    "touched": ("it made contact", "it came into contact"),
    "left": ("it lost contact", "it broke contact"),
    "grasped": ("it took hold", "it got a grip"),
    "released": ("it let go", "it lost its grip"),
}
OBJECT_MOVED: dict[str, tuple[str, ...]] = {
    "toward": (
        "the {n} moved toward its goal",
        "the {n} came nearer its goal",
        "the {n} went toward its goal",
    ),
    "away": (
        "the {n} moved away from its goal",
        "the {n} went farther from its goal",
    ),
    "still": ("the {n} did not move", "the {n} has not moved", "the {n} stayed still"),
    "aside": ("the {n} moved but no nearer its goal", "the {n} was only shifted aside"),
}
HEIGHT: dict[str, tuple[str, ...]] = {
    "lifted": ("and was lifted", "and rose"),
    "lowered": ("and was lowered", "and sank"),
}
VERDICT: dict[str, tuple[str, ...]] = {
    "helps": ("this helps", "this is progress", "good progress"),
    "hurts": ("this hurts", "this is a setback", "a step back"),
    "neutral": ("this changes nothing", "no progress", "this does not help"),
}
STAGE: dict[str, tuple[str, ...]] = {
    "worse": ("worse than at the start", "all is worse than at the start"),
    "not_started": ("not started yet", "nothing is done yet"),
    "partly": ("partly done", "a small part is done"),
    "half": ("about half done", "half is done"),
    "mostly": ("mostly done", "most is done"),
    "nearly": ("nearly done", "almost done"),
    "complete": ("the task is complete", "the task is done"),
}
NEXT: dict[str, tuple[str, ...]] = {
    "reach": ("next reach the {n}", "next go to the {n}", "next approach the {n}"),
    "touch": ("next touch the {n}", "next reach the {n}"),
    "grasp": ("next grasp the {n}", "next grip the {n}"),
    "move": ("next {verb} it to the {g}", "then {verb} it to the {g}"),
    "hold": ("next hold still", "next stay there", "nothing remains to be done"),
}

#: What a task's verb means for the next move; any other verb is "move".
MOVE_VERBS: dict[str, str] = {
    "press": "press",
    "push": "push",
    "shove": "push",
    "pull": "pull",
    "drag": "pull",
    "slide": "slide",
    "sweep": "sweep",
    "turn": "turn",
    "rotate": "turn",
    "twist": "turn",
    "spin": "turn",
    "lift": "lift",
    "raise": "lift",
    "lower": "lower",
    "carry": "carry",
    "bring": "bring",
}
#: Tasks that say so need a grasp ...
GRASP_VERBS = frozenset(
    {"pick", "grasp", "grab", "place", "stack", "carry", "insert", "dunk", "transfer", "hammer"}
)
#: ... and these do unless the object is of the kind that is pushed or pulled.
LOOSE_VERBS = frozenset({"put", "lift", "take", "remove"})
NEVER_HELD = frozenset(
    {"handle", "lever", "button", "knob", "dial", "plate", "lock", "switch", "drawer", "door"}
)
