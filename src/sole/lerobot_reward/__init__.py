"""A plug-in for LeRobot's registry of reward models (``lerobot>=0.6``): the type ``sole``.

Importing this package registers the type; LeRobot finds model and processors by their modules'
names. Its environment needs ``sole-rewards[client]`` only when a server judges.
"""

from sole.lerobot_reward.configuration_sole import SoleConfig

__all__ = ["SoleConfig"]
