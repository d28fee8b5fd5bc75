"""Instructions of the procedural scenes, many paraphrases for each motion.

``{o}`` is the thing, with or without its colour ("red drawer").
"""

from __future__ import annotations

#: What sentences call a colour, and its red, green and blue.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.8, 0.12, 0.1), "green": (0.15, 0.65, 0.2), "blue": (0.12, 0.25, 0.8),
    "yellow": (0.9, 0.8, 0.15), "orange": (0.95, 0.5, 0.1), "purple": (0.5, 0.2, 0.65),
    "white": (0.92, 0.92, 0.9), "black": (0.1, 0.1, 0.11), "grey": (0.5, 0.5, 0.52),
    "brown": (0.45, 0.28, 0.15), "pink": (0.95, 0.55, 0.7), "teal": (0.1, 0.6, 0.6),
}  # fmt: skip
OPENING = (
    "open the {o}", "pull the {o} open", "get the {o} open", "please open the {o}",
    "move the {o} to its open position", "the {o} should be open", "fully open the {o}",
    "reach for the {o} and open it", "make the {o} open", "open up the {o}",
)  # fmt: skip
CLOSING = (
    "close the {o}", "shut the {o}", "push the {o} closed", "please close the {o}",
    "move the {o} to its closed position", "the {o} should be closed", "fully close the {o}",
    "reach for the {o} and shut it", "push the {o} shut", "get the {o} closed",
)  # fmt: skip
_DRAWER_OUT = ("pull the {o} out", "slide the {o} open", "pull out the {o} by its handle",
               "draw the {o} out of the cabinet")  # fmt: skip
_DRAWER_IN = ("push the {o} in", "slide the {o} shut", "push the {o} back into the cabinet",
              "slide the {o} all the way in")  # fmt: skip
_WINDOW_OPEN = ("slide the {o} open", "push the {o} open by its handle", "slide the pane aside",
                "push and open the {o}")  # fmt: skip
_WINDOW_SHUT = ("slide the {o} shut", "slide the {o} closed", "push and close the {o}",
                "slide the pane back over the opening")  # fmt: skip
_DOOR_OPEN = ("swing the {o} open", "pull the {o} handle to open it", "open the {o} on its hinge")
_DOOR_SHUT = ("swing the {o} shut", "push the {o} until it is shut", "shut the {o} on its hinge")
_TURN = (
    "turn the {o} to the {s}", "rotate the {o} {s}", "twist the {o} to the {s}", "turn the {o} {s}",
    "move the handle of the {o} to the {s}", "push the {o} handle {s}", "swing the {o} handle {s}",
    "please turn the {o} {s}", "rotate the {o} towards the {s}", "spin the {o} to the {s}",
)  # fmt: skip
_LEVER_UP = (
    "pull the {o} up", "raise the {o}", "lift the {o}", "pull the {o}", "move the {o} upwards",
    "pull up the {o}", "swing the {o} up", "grab the {o} and raise it", "flip the {o} up",
)  # fmt: skip
_PRESS_DOWN = (
    "press the {o} down", "push the {o} down", "press the {o}", "lower the {o}",
    "push down on the {o}", "move the {o} downwards", "press down the {o}", "swing the {o} down",
    "force the {o} down",
)  # fmt: skip
_PRESS_SIDE = ("press the {o} down sideways", "push the {o} down from the side",
               "press the side {o}", "press down the {o} on the side of the box")  # fmt: skip
_PULL_SIDE = ("pull the {o} up sideways", "lift the {o} at the side", "pull the side {o} up",
              "raise the {o} on the side of the box")  # fmt: skip
_BUTTON = (
    "press the {o}", "push the {o}", "press the {o} in", "push the {o} all the way in",
    "hit the {o}", "please press the {o}", "reach for the {o} and press it", "push in the {o}",
    "press and hold the {o}",
)  # fmt: skip
_BUTTON_TOP = (
    "press the {o} from the top", "push the {o} down", "press the {o} down", "press the {o}",
    "press the {o} on top of the box", "push down on the {o}", "press the {o} from above",
    "hit the {o} from above", "push the {o} down from the top",
)  # fmt: skip
_MACHINE = (
    "press the button on the {o}", "push the button of the {o}", "start the {o} with its button",
    "press the button to start the {o}", "switch on the {o}", "push the {o}'s button",
    "press the button of the coffee {o}", "hit the button on the {o}", "turn the {o} on",
)  # fmt: skip
_SLIDE = (
    "slide the {o} {s} into the {g}", "push the {o} into the {g}", "slide the {o} to the {g}",
    "move the {o} {s} to the {g}", "slide the {o} {s}", "get the {o} into the {g}",
    "push the {o} {s} into the {g}", "bring the {o} to the {g}", "shove the {o} into the {g}",
)  # fmt: skip
_BALL = (
    "push the {o} into the net", "kick the {o} into the goal", "push the {o} into the goal",
    "roll the {o} into the net", "score a goal with the {o}", "move the {o} to the goal",
    "push the {o} {s} into the net", "get the {o} into the goal", "knock the {o} into the goal",
)  # fmt: skip
_PUSH = (
    "push the {o} to the {g}", "push the {o} {s} to the {g}", "push the {o} onto the {g}",
    "move the {o} to the {g}", "slide the {o} onto the {g}", "push the {o} {s}",
    "shove the {o} to the {g}", "bring the {o} to the {g}", "get the {o} onto the {g}",
)  # fmt: skip
_PULL = (
    "pull the {o} to the {g}", "pull the {o} back to the {g}", "drag the {o} onto the {g}",
    "pull the {o} towards the robot", "move the {o} back to the {g}", "drag the {o} to the {g}",
    "pull the {o} back", "bring the {o} back to the {g}", "draw the {o} to the {g}",
)  # fmt: skip
_UNDER = ("push the {o} under the machine", "place the {o} at the machine",
          "slide the {o} under the coffee machine")  # fmt: skip
_AWAY = ("pull the {o} away from the machine", "take the {o} from the machine",
         "drag the {o} out from the coffee machine")  # fmt: skip
_GATE = ("push the {o} open", "push open the {o}", "swing the {o} open", "open the {o} with a push",
         "push against the {o} until it is open")  # fmt: skip
_SLIDER = (
    "slide the peg to the {s}", "move the {o} to the {s}", "push the {o} {s}", "slide the {o} {s}",
    "move the {o} peg {s}", "shift the {o} to the {s}", "push the peg to the {s} end",
    "set the {o} to the {s}", "slide the {o} all the way to the {s}",
)  # fmt: skip

#: Templates by task name without its side ("left", "forward"), which fills ``{s}``.
SENTENCES: dict[str, tuple[str, ...]] = {
    "drawer-open": OPENING + _DRAWER_OUT,
    "drawer-close": CLOSING + _DRAWER_IN,
    "door-open": OPENING + _DOOR_OPEN,
    "door-close": CLOSING + _DOOR_SHUT,
    "window-open": OPENING + _WINDOW_OPEN,
    "window-close": CLOSING + _WINDOW_SHUT,
    "lid-open": (*OPENING, "lift the lid of the {o}", "open the lid of the {o}"),
    "gate-push": (*OPENING[4:], *_GATE),
    "slider-move": _SLIDER,
    "lid-close": (*CLOSING, "shut the lid of the {o}", "close the lid of the {o}"),
    "faucet-turn": (*_TURN, "turn the tap {s}", "turn the tap handle to the {s}"),
    "knob-turn": (*_TURN, "turn the dial {s}", "rotate the dial to the {s}"),
    "switch-turn": (*_TURN, "flip the {o} to the {s}", "turn the bolt to the {s}"),
    "lever-pull": _LEVER_UP,
    "lever-press": _PRESS_DOWN,
    "handle-press": _PRESS_DOWN,
    "handle-pull": _LEVER_UP,
    "handle-press-side": _PRESS_DOWN + _PRESS_SIDE,
    "handle-pull-side": _LEVER_UP + _PULL_SIDE,
    "button-press": _BUTTON,
    "button-press-top": _BUTTON_TOP,
    "machine-button": _MACHINE,
    "puck-slide": _SLIDE,
    "ball-push": _BALL,
    "block-push": _PUSH,
    "block-pull": _PULL,
    "mug-push": _PUSH + _UNDER,
    "mug-pull": _PULL + _AWAY,
}
#: Templates of the things that are pushed to a goal, by the goal.
GOAL_SENTENCES: dict[str, tuple[str, ...]] = {
    "mark": (
        "push the {o} to the {g}",
        "push the {o} {s} to the {g}",
        "slide the {o} onto the {g}",
        "move the {o} {s} to the {g}",
        "shove the {o} onto the {g}",
        "bring the {o} to the {g}",
        "get the {o} onto the {g}",
        "push the {o} {s}",
        "please push the {o} to the {g}",
    ),
    "bin": (
        "push the {o} into the {g}",
        "push the {o} {s} into the {g}",
        "slide the {o} into the {g}",
        "move the {o} {s} into the {g}",
        "shove the {o} into the {g}",
        "get the {o} into the {g}",
        "the {o} should be in the {g}",
        "slide the {o} {s} into the open {g}",
        "please push the {o} into the {g}",
    ),
    "shelf": (
        "push the {o} under the {g}",
        "push the {o} {s} under the {g}",
        "slide the {o} under the {g}",
        "move the {o} {s} under the {g}",
        "shove the {o} under the {g}",
        "get the {o} under the {g}",
        "the {o} should be under the {g}",
        "slide the {o} {s} below the {g}",
        "please push the {o} under the {g}",
    ),
    "peg": (
        "push the {o} to the {g}",
        "push the {o} {s} to the {g}",
        "slide the {o} up to the {g}",
        "move the {o} {s} to the {g}",
        "shove the {o} against the {g}",
        "get the {o} next to the {g}",
        "the {o} should stand at the {g}",
        "slide the {o} {s} up to the {g}",
        "please push the {o} to the {g}",
    ),
}
SIDES = ("left", "right", "forward", "back")


def split_side(env_name: str) -> tuple[str, str]:
    """Return the task name without its side, and the side ("" if it has none).

    Example:
        >>> split_side("puck-slide-left"), split_side("handle-pull-side")
        (('puck-slide', 'left'), ('handle-pull-side', ''))
    """
    stem, _, last = env_name.rpartition("-")
    return (stem, last) if last in SIDES else (env_name, "")


def sentences(env_name: str, thing: str, *, colour: str = "", goal: str = "") -> tuple[str, ...]:
    """Return every instruction for a task, with the object's colour if one is given.

    Example:
        >>> sentences("drawer-open", "drawer", colour="red")[0]
        'open the red drawer'
    """
    stem, side = split_side(env_name)
    words = f"{colour} {thing}" if colour else thing
    templates = SENTENCES.get(stem) or GOAL_SENTENCES[stem.rpartition("-")[2]]
    return tuple(t.format(o=words, s=side or "forward", g=goal) for t in templates)


def placed(said: tuple[str, ...], thing: str, side: str) -> tuple[str, ...]:
    """The same instructions, which also say where the thing stands among two.

    Example:
        >>> placed(("open the red drawer", "press the drawer's button"), "drawer", "left")
        ('open the red drawer on the left',)
    """
    return tuple(
        s.replace(thing, f"{thing} on the {side}", 1)
        for s in said
        if s.count(thing) == 1 and f"{thing}'s" not in s and f"{thing} handle" not in s
    )


def without_look(sentence: str) -> str:
    """What is asked for, whichever of two things is meant: no colour, and no place beside another.

    Example:
        >>> without_look("Open the red drawer on the left")
        'open the drawer'
    """
    words = " ".join(word for word in sentence.lower().split() if word not in COLOURS)
    return words.replace(" on the left", "").replace(" on the right", "")
