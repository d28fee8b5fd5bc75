"""The ManiSkill tasks that a gripper can do by moving straight, and which may be trained on.

Names are ManiSkill's without ``-v1``. ``PickCubeSO100`` is held out too (design: section 10) but
not offered: its arm has no end-effector control in ManiSkill, only joints.
"""

from __future__ import annotations

from sole.sims.suite import SuiteTask, read_table

_TABLE = """
PickCube | pick-place | cube | green ball | bring the cube to the green ball | pick up the cube and hold it at the green ball | lift the cube to the green marker | grasp the red cube and move it to the goal | carry the cube to the green target
PushCube | push | cube | target circle | push the cube into the target circle | slide the blue cube forward onto the target | shove the cube onto the red and white circle | push the cube away from the robot to the target | move the cube forward into the circle
PullCube | push | cube | target circle | pull the cube into the target circle | drag the blue cube back onto the target | draw the cube toward the robot onto the circle | slide the cube back to the red and white target | pull the cube closer until it is in the circle
StackCube | stack | red cube | top of the green cube | stack the red cube on the green cube | put the red cube on top of the green one | pick up the red cube and place it on the green cube | set the red cube onto the green cube | build a tower with the red cube on top
PlaceSphere | pick-place | ball | bin | put the ball into the bin | place the blue ball in the little box | pick up the ball and set it into the bin | drop the ball into the bin | carry the ball to the box and let go
RollBall | push | ball | target circle | roll the ball into the target circle | push the ball so that it rolls to the target | roll the blue ball onto the red and white circle | send the ball across the table to the target | give the ball a push toward the circle
LiftPegUpright | lift | peg | upright position | stand the peg upright | lift the peg until it stands on its end | turn the lying peg upright | raise the peg to a standing position | set the peg upright on the table
"""  # noqa: E501

#: Every task here by its ManiSkill name without the version.
TASKS: dict[str, SuiteTask] = read_table(
    _TABLE,
    test=("PickCube", "PushCube", "PullCube"),
    dev=("LiftPegUpright",),
    no_expert=("RollBall", "LiftPegUpright"),
)
#: Held out although it cannot be made here.
ALSO_TEST = frozenset({"PickCubeSO100"})
