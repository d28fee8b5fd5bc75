"""The ManiSkill tasks that a gripper can do by moving straight, and which may be trained on.

Names are ManiSkill's without ``-v1``. ``PickCubeSO100`` (its arm has no end-effector control in
ManiSkill, only joints) and ``LiftPegUpright`` are held out too (design: section 10) but not
offered.
"""

from __future__ import annotations

from sole.sims.metaworld_tasks import Split
from sole.sims.suite import SuiteTask, read_table

_TABLE = """
PickCube | pick-place | cube | green ball | bring the cube to the green ball | pick up the cube and hold it at the green ball | lift the cube to the green marker | grasp the red cube and move it to the goal | carry the cube to the green target
PushCube | push | cube | target circle | push the cube into the target circle | slide the blue cube forward onto the target | shove the cube onto the red and white circle | push the cube away from the robot to the target | move the cube forward into the circle
PullCube | push | cube | target circle | pull the cube into the target circle | drag the blue cube back onto the target | draw the cube toward the robot onto the circle | slide the cube back to the red and white target | pull the cube closer until it is in the circle
StackCube | stack | red cube | top of the green cube | stack the red cube on the green cube | put the red cube on top of the green one | pick up the red cube and place it on the green cube | set the red cube onto the green cube | build a tower with the red cube on top
"""  # noqa: E501

#: Every task here by its ManiSkill name without the version.
TASKS: dict[str, SuiteTask] = read_table(
    _TABLE,
    test=("PickCube", "PushCube", "PullCube"),
)
#: Held out although they are not offered here.
HELD_OUT: dict[str, Split] = {"PickCubeSO100": "test", "LiftPegUpright": "dev"}
