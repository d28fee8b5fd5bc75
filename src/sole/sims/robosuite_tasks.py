"""The single-arm tasks of robosuite in plain words, and which of them may be trained on.

Names are robosuite's own. Tasks with two arms are left out: a task here has one gripper.
``PickPlace`` and ``NutAssembly`` appear with one object each; ``ToolHang`` needs robosuite 1.5.
"""

from __future__ import annotations

from sole.sims.suite import SuiteTask, read_table

_TABLE = """
Lift | pick-place | cube | place above the table | lift the cube | pick up the cube | raise the red cube off the table | grasp the cube and lift it | take the cube up from the table
Stack | stack | red cube | top of the green cube | stack the red cube on the green cube | put the red cube on top of the green one | pick up the red cube and place it on the green cube | build a tower of the red cube on the green cube | set the red cube onto the green cube
Door | door | door handle | open position | open the door | pull the door open | turn the handle and open the door | press the handle down and swing the door open | unlatch the door and pull it open
Wipe | wipe | dirt | clean table | wipe the table clean | wipe the dirt off the table | clean the marks off the table | rub the dark spots off the table | wipe away the line of dirt
PickPlaceCan | pick-place | can | its compartment | put the can into its compartment | pick up the can and place it in the bin | move the can into the other bin | carry the can to its compartment | take the can over to the right bin
PickPlaceMilk | pick-place | milk carton | its compartment | put the milk carton into its compartment | pick up the milk and place it in the bin | move the milk carton into the other bin | carry the milk to its compartment | take the milk carton over to the right bin
PickPlaceBread | pick-place | bread | its compartment | put the bread into its compartment | pick up the bread and place it in the bin | move the loaf of bread into the other bin | carry the bread to its compartment | take the bread over to the right bin
PickPlaceCereal | pick-place | cereal box | its compartment | put the cereal box into its compartment | pick up the cereal and place it in the bin | move the cereal box into the other bin | carry the cereal box to its compartment | take the cereal over to the right bin
NutAssemblySquare | insert | square nut | square peg | put the square nut on the square peg | pick up the square nut and place it over its peg | fit the square nut onto the peg | thread the square nut onto the square peg | assemble the square nut and its peg
NutAssemblyRound | insert | round nut | round peg | put the round nut on the round peg | pick up the round nut and place it over its peg | fit the round nut onto the peg | thread the round nut onto the round peg | assemble the round nut and its peg
"""  # noqa: E501

#: Every task here by its robosuite name.
TASKS: dict[str, SuiteTask] = read_table(
    _TABLE,
    test=("Lift", "Wipe", "Door", "PickPlaceCan"),
    dev=("Stack",),
    no_expert=("NutAssemblySquare", "NutAssemblyRound", "PickPlaceCereal"),
)
