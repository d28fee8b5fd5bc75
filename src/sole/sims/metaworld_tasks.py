"""The 50 Meta-World v3 tasks in plain words, and which of them may be trained on.

The split is the project's held-out rule (design: section 10): the 17 ``test`` tasks are the ones
the paper reports and are never rendered for training or tuning, the 8 ``dev`` tasks may be tuned
on, the other 25 are the training set. No two tasks share a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sole.errors import BadInputError

Split = Literal["train", "dev", "test"]

_TEST_NAMES = """
    faucet-open faucet-close window-open window-close plate-slide drawer-close drawer-open
    door-close door-open button-press handle-press handle-pull soccer lever-pull coffee-button
    handle-press-side coffee-push
"""
_DEV_NAMES = """
    door-lock door-unlock button-press-wall plate-slide-back push sweep-into dial-turn
    handle-pull-side
"""
#: Held out: never in any training or tuning data.
TEST_TASKS = frozenset(_TEST_NAMES.split())
#: May be tuned on, not trained on.
DEV_TASKS = frozenset(_DEV_NAMES.split())


@dataclass(frozen=True)
class MetaWorldTask:
    """One Meta-World task as a person would describe it.

    Attributes:
        name: Environment name without the ``-v3``.
        sentence: The instruction: lower-case, no full stop.
        paraphrases: At least four other instructions that mean the same.
        object_name: The thing that must be reached and moved (the tool when there is one); equal to
            ``goal_name`` when the task moves nothing but the gripper.
        goal_name: Where that thing must go.
        family: Kind of task: drawer, door, window, faucet, button, handle, lever, dial, lock, lid,
            push, slide, pick-place, insert, tool, reach.
        split: ``train``, ``dev`` or ``test``.
    """

    name: str
    sentence: str
    paraphrases: tuple[str, ...]
    object_name: str
    goal_name: str
    family: str
    split: Split


# name | family | object | goal | sentence | paraphrase | paraphrase ...
_TABLE = """
assembly | insert | ring | peg | put the ring on the peg | pick up the ring and place it over the peg | fit the ring onto the peg | thread the ring onto the upright peg | assemble the ring and the peg
basketball | pick-place | ball | hoop | put the ball in the hoop | dunk the basketball | pick up the ball and drop it into the basket | score a basket with the ball | carry the ball to the hoop
bin-picking | pick-place | block | other bin | move the block to the other bin | pick the block from its bin and place it in the other one | transfer the block into the second bin | take the block over to the empty bin | put the block in the other bin
box-close | lid | lid | box | put the lid on the box | close the box with its lid | cover the box | pick up the lid and place it on top of the box | shut the box
button-press-topdown | button | button | pressed position | press the button from above | push the button down from the top | press down on the button | push the top button downward | lower the gripper onto the button and press it
button-press-topdown-wall | button | button | pressed position | press the button behind the wall from above | reach over the wall and push the button down | press down on the button past the wall | push the button by the wall from the top | go over the wall to press the button down
button-press | button | button | pressed position | press the button | push the button in | push in the red button | press the button on the box | hit the button
button-press-wall | button | button | pressed position | press the button behind the wall | go around the wall and push the button | push in the button past the wall | avoid the wall and press the button | press the button on the other side of the wall
coffee-button | button | coffee machine button | pressed position | press the button on the coffee machine | start the coffee machine | push the coffee button | turn on the coffee machine | push the button to make coffee
coffee-pull | push | mug | goal | pull the mug away from the coffee machine | take the mug out from under the coffee machine | drag the cup away from the coffee machine | pull the coffee mug to the goal | slide the mug out of the coffee machine
coffee-push | push | mug | coffee machine | push the mug under the coffee machine | move the cup to the coffee machine | slide the mug below the coffee spout | put the mug under the coffee machine | push the coffee cup into place
dial-turn | dial | dial | turned position | turn the dial | rotate the dial | twist the dial around | spin the dial halfway | turn the knob of the dial
disassemble | insert | ring | place above the peg | take the ring off the peg | lift the ring off the peg | remove the ring from the peg | pull the ring up and away from the peg | disassemble the ring and the peg
door-close | door | door handle | closed position | close the door | shut the door | push the door closed | swing the door shut | close the open door of the safe
door-lock | lock | lock | locked position | lock the door | turn the lock to lock the door | rotate the door lock shut | twist the lock clockwise | secure the door with its lock
door-open | door | door handle | open position | open the door | pull the door open | swing the door open | pull the door handle to open it | open the closed door of the safe
door-unlock | lock | lock | unlocked position | unlock the door | turn the lock to unlock the door | rotate the door lock open | twist the lock counterclockwise | undo the lock of the door
hand-insert | insert | block | hole | put the block into the hole | insert the hand with the block into the hole | pick up the block and lower it into the hole | place the block inside the hole | reach into the hole with the block
drawer-close | drawer | drawer handle | closed position | close the drawer | shut the drawer | push the drawer in | push the drawer closed | slide the drawer shut
drawer-open | drawer | drawer handle | open position | open the drawer | pull the drawer open | pull out the drawer | slide the drawer out by its handle | pull the drawer handle to open it
faucet-open | faucet | faucet handle | open position | open the faucet | turn on the faucet | turn the faucet handle to open it | rotate the faucet open | open the tap
faucet-close | faucet | faucet handle | closed position | close the faucet | turn off the faucet | turn the faucet handle to close it | rotate the faucet shut | close the tap
hammer | tool | hammer | nail | hammer the nail into the wall | hit the nail with the hammer | pick up the hammer and drive in the nail | use the hammer to pound the nail | drive the nail into the block with the hammer
handle-press-side | handle | handle | pressed position | press the handle down from the side | push down the handle that faces sideways | press the sideways handle downward | lower the side handle | push the side handle to the bottom
handle-press | handle | handle | pressed position | press the handle down | push the handle down | push down on the handle | lower the handle | press the handle to the bottom
handle-pull-side | handle | handle | raised position | pull the handle up from the side | lift the handle that faces sideways | pull the sideways handle upward | raise the side handle | pull the side handle to the top
handle-pull | handle | handle | raised position | pull the handle up | lift the handle | raise the handle | pull up on the handle | pull the handle to the top
lever-pull | lever | lever | raised position | pull the lever up | raise the lever | lift the lever | rotate the lever upward | move the lever to the upright position
pick-place-wall | pick-place | puck | goal | pick up the puck and carry it over the wall to the goal | lift the puck over the wall | move the puck to the goal behind the wall | grasp the puck and bring it past the wall | place the puck on the other side of the wall
pick-out-of-hole | pick-place | puck | goal | take the puck out of the hole | pick the puck out of the hole | lift the puck from the hole to the goal | remove the puck from the hole | pull the puck up out of the hole
pick-place | pick-place | puck | goal | pick up the puck and bring it to the goal | lift the puck to the goal | grasp the puck and move it to the target | pick and place the puck | carry the puck to the goal
plate-slide | slide | plate | net | slide the plate into the net | push the plate forward into the net | slide the puck in the net | put the plate in the net | move the plate into the cabinet
plate-slide-side | slide | plate | net | slide the plate sideways into the net | push the plate to the side into the net | move the plate sideways into the cabinet | slide the plate across into the net | shove the plate sideways until it is in the net
plate-slide-back | slide | plate | goal | slide the plate back out of the net | pull the plate back out of the net | move the plate backward out of the cabinet | drag the plate back to the goal | take the plate back from the net
plate-slide-back-side | slide | plate | goal | slide the plate sideways out of the net | pull the plate out of the net to the side | move the plate sideways out of the cabinet | drag the plate sideways to the goal | get the plate out of the net sideways
peg-insert-side | insert | peg | hole | insert the peg into the hole | put the peg in the hole from the side | pick up the peg and push it into the hole | plug the peg into the hole of the box | fit the peg in the hole in the wall
peg-unplug-side | insert | peg | place outside the hole | unplug the peg from the hole | pull the peg out of the hole | remove the peg from the box | take the peg out sideways | draw the peg out of its socket
soccer | push | ball | net | push the ball into the net | kick the ball into the goal | score a goal with the soccer ball | move the soccer ball into the goal | roll the ball into the net
stick-push | tool | stick | goal | push the thermos with the stick | use the stick to push the thermos to the goal | grasp the stick and push the bottle | shove the thermos forward with the stick | pick up the stick and move the thermos with it
stick-pull | tool | stick | goal | pull the thermos with the stick | use the stick to pull the thermos to the goal | hook the thermos with the stick and pull it | drag the thermos back with the stick | insert the stick in the handle and pull the thermos
push | push | puck | goal | push the puck to the goal | slide the puck to the goal | move the puck along the table to the target | push the puck onto the marked spot | shove the puck to the goal
push-wall | push | puck | goal | push the puck around the wall to the goal | slide the puck past the wall | move the puck along the table around the wall | push the puck behind the wall | get the puck to the goal past the wall
push-back | push | block | goal | pull the block back to the goal | push the block backward | slide the block back toward the robot | move the block back to the target | drag the block backward to the goal
reach | reach | goal | goal | reach the goal | move the gripper to the goal | move the hand to the target point | go to the goal position | bring the gripper to the marked point
reach-wall | reach | goal | goal | reach the goal behind the wall | move the gripper past the wall to the goal | go around the wall to the target point | bring the hand to the point behind the wall | reach over the wall to the goal
shelf-place | pick-place | block | shelf | put the block on the shelf | pick up the block and place it on the shelf | lift the block onto the shelf | move the block up to the shelf | set the block on the shelf
sweep-into | push | puck | hole | sweep the puck into the hole | push the puck into the hole | slide the puck across the table into the hole | brush the puck into the hole | drop the puck into the hole by sweeping it
sweep | push | block | table edge | sweep the block off the table | push the block off the table | slide the block over the edge of the table | brush the block off the table | knock the block off the side of the table
window-open | window | window handle | open position | open the window | slide the window open | push the window open | move the window handle to open it | slide the window handle to the open side
window-close | window | window handle | closed position | close the window | slide the window shut | push the window closed | move the window handle to close it | slide the window handle to the closed side
"""  # noqa: E501


def _split_of(name: str) -> Split:
    if name in TEST_TASKS:
        return "test"
    return "dev" if name in DEV_TASKS else "train"


def _read_table(table: str) -> dict[str, MetaWorldTask]:
    tasks = {}
    for line in table.strip().splitlines():
        name, family, thing, goal, sentence, *others = (cell.strip() for cell in line.split("|"))
        tasks[name] = MetaWorldTask(
            name=name,
            sentence=sentence,
            paraphrases=tuple(others),
            object_name=thing,
            goal_name=goal,
            family=family,
            split=_split_of(name),
        )
    return tasks


#: Every Meta-World v3 task by its name without ``-v3``, in the suite's own order.
TASKS: dict[str, MetaWorldTask] = _read_table(_TABLE)


def task_named(name: str) -> MetaWorldTask:
    """Return the task of this name, with or without the ``-v3``.

    Raises:
        BadInputError: There is no such task; the message lists them.

    Example:
        >>> task_named("drawer-open-v3").sentence
        'open the drawer'
    """
    task = TASKS.get(name.removesuffix("-v3"))
    if task is None:
        raise BadInputError(f"unknown Meta-World task {name!r}; choose one of {', '.join(TASKS)}")
    return task


def split(name: str) -> Split:
    """Say whether a task may be trained on (``train``), tuned on (``dev``) or neither (``test``).

    Raises:
        BadInputError: There is no such task.

    Example:
        >>> split("drawer-open"), split("push"), split("reach")
        ('test', 'dev', 'train')
    """
    return task_named(name).split
