# mujoco is compiled and ships no stubs: without this file a type checker sees an empty module.
from typing import Any

def __getattr__(name: str) -> Any: ...
