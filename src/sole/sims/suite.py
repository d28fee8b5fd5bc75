"""What the adapters of other people's suites share: a table of tasks, and truth from geometry.

An adapter measures a :class:`Moment`; :func:`truth_of` makes the same staged progress and the same
facts of it in every suite (:mod:`sole.sims.staged`). Actions are those of Meta-World everywhere:
x, y, z of the gripper and its opening (-1 open, 1 closed), each in [-1, 1].
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from sole.data.episode import Facts
from sole.errors import SimError
from sole.sims.base import TaskEnv, clipped
from sole.sims.metaworld_tasks import Split
from sole.sims.staged import ACTUATE_POINTS, NEARLY, fraction, from_start, staged_progress

REACH_SLACK_M = 0.03


def state_size(n_goals: int) -> int:
    """Numbers of a state: arm and objects now and one decision before, and where objects belong.

    Example:
        >>> state_size(1)
        17
    """
    return 2 * (4 + 3 * n_goals) + 3 * n_goals


@dataclass(frozen=True)
class SuiteTask:
    """One task as a person would describe it.

    Attributes:
        name: Name of the task in its suite.
        sentence: The instruction: lower-case, no full stop.
        paraphrases: Other instructions that mean the same.
        object_name: The thing that must be reached.
        goal_name: Where it must go, or how it must end up.
        family: Kind of task, as in :mod:`sole.sims.metaworld_tasks`.
        split: ``train``, ``dev`` or ``test``.
        expert: Whether there is a scripted expert.
    """

    name: str
    sentence: str
    paraphrases: tuple[str, ...]
    object_name: str
    goal_name: str
    family: str
    split: Split
    expert: bool


def read_table(
    table: str, *, test: Iterable[str], dev: Iterable[str] = (), no_expert: Iterable[str] = ()
) -> dict[str, SuiteTask]:
    """Read lines of ``name | family | object | goal | sentence | paraphrase | ...``.

    Example:
        >>> read_table("Lift | pick-place | cube | air | lift it | raise it", test=["Lift"])[
        ...     "Lift"
        ... ].split
        'test'
    """
    test, dev, no_expert = frozenset(test), frozenset(dev), frozenset(no_expert)
    tasks = {}
    for line in table.strip().splitlines():
        name, family, thing, goal, sentence, *others = (cell.strip() for cell in line.split("|"))
        split: Split = "test" if name in test else "dev" if name in dev else "train"
        tasks[name] = SuiteTask(
            name, sentence, tuple(others), thing, goal, family, split, name not in no_expert
        )
    if unknown := (test | dev | no_expert) - set(tasks):
        raise ValueError(f"no such task in the table: {sorted(unknown)}")
    return tasks


@dataclass(frozen=True)
class Moment:
    """What an adapter measures; positions ``(3,)`` in metres, world frame of the suite.

    Attributes:
        tip_m: The point between the fingertips.
        object_m: The point that must be reached (a handle, the middle of a cube).
        object_start_m: Where that point was at the start.
        reach_start_m: How far the gripper was from it at the start.
        goal_m: Where the point should end up; the point itself where the suite names no place.
        goal_distance_m: How far the task's own motion still has to go.
        contact: Whether the gripper touches the object.
        grasped: Whether both fingers do.
        gripper_open: 0 closed, 1 open.
        done_fraction: Share of the task's own motion that is complete, at most 1.
        success: The suite's own success.
        object_name: What the object is called.
        goal_name: What the goal is called.
        n_goals: How many things must be done in all.
        n_met: How many of them are.
        other_done: Sum of the done fractions of goals that are neither met nor worked on.
    """

    tip_m: np.ndarray
    object_m: np.ndarray
    object_start_m: np.ndarray
    reach_start_m: float
    goal_m: np.ndarray
    goal_distance_m: float
    contact: bool
    grasped: bool
    gripper_open: float
    done_fraction: float
    success: bool
    object_name: str
    goal_name: str
    n_goals: int = 1
    n_met: int = 0
    other_done: float = 0.0


def progress_of(moment: Moment) -> float:
    """Staged progress in percent; a task of several goals is the mean of theirs.

    A goal that is met counts 100, the one that is worked on its own stages, the others the motion
    that somebody may have done or undone already. 95 at most until the suite says success.
    """
    if moment.success:
        return 100.0
    reach_m = float(np.linalg.norm(moment.object_m - moment.tip_m))
    reach = fraction(moment.reach_start_m, reach_m, REACH_SLACK_M)
    worked_on = staged_progress(
        reach_fraction=1.0 if moment.contact else reach,
        contact=moment.contact,
        done_fraction=moment.done_fraction,
        success=False,
    )
    if moment.n_goals == 1:
        return worked_on
    total = 100.0 * moment.n_met + worked_on + ACTUATE_POINTS * moment.other_done
    return float(np.clip(total / moment.n_goals, -100.0, NEARLY))


def truth_of(moment: Moment, progress_at_start: float) -> tuple[float, bool, Facts]:
    """Progress in percent (0 at the start), success, and the facts of one moment."""
    progress = from_start(progress_of(moment), progress_at_start)
    offset = moment.object_m - moment.tip_m
    moved = moment.object_m - moment.object_start_m
    dx, dy, dz = (round(float(v), 4) for v in offset)
    share = (moment.n_met + moment.done_fraction + moment.other_done) / moment.n_goals
    facts: Facts = {
        "object_name": moment.object_name,
        "goal_name": moment.goal_name,
        "gripper_to_object_m": round(float(np.linalg.norm(offset)), 4),
        "offset_m": (dx, dy, dz),
        "contact": moment.contact,
        "grasped": moment.grasped,
        "gripper_open": round(moment.gripper_open, 3),
        "object_moved_m": round(float(np.linalg.norm(moved)), 4),
        "object_height_m": round(float(moved[2]), 4),
        "object_to_goal_m": round(moment.goal_distance_m, 4),
        "done_fraction": round(min(share, 1.0), 4),
        "complete": moment.success,
    }
    return progress, moment.success, facts


class SuiteEnv(TaskEnv):
    """Bookkeeping of an episode in a foreign suite; an adapter adds the simulator.

    Args:
        task: What must be done.
        action_repeat: Control steps of the suite per decision.
        suite_hz: Control steps per second.
        max_steps: Decisions per episode.
    """

    def __init__(self, task: SuiteTask, *, action_repeat: int, suite_hz: float, max_steps: int):
        if action_repeat < 1 or max_steps < 1:
            raise SimError(
                f"expected action_repeat and max_steps of at least 1, "
                f"got {action_repeat} and {max_steps}"
            )
        self.about = task
        self.env_name = task.name
        self.task = task.sentence
        self.max_steps = max_steps
        self.control_hz = suite_hz / action_repeat
        self._action_repeat = action_repeat
        self.action_space = Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (state_size(1),), np.float32)
        self._n_steps = 0
        self._paid = 0.0
        self._progress_at_start = 0.0
        self._previous = np.zeros(7)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; ``options["task"]`` replaces the sentence by a paraphrase."""
        super().reset(seed=seed)
        self.task = (options or {}).get("task", self.about.sentence)
        # The first reset of a seed draws what no seed at all would draw after it.
        self._restart(int(self.np_random.integers(2**31)) if seed is None else seed)
        self._n_steps = 0
        self._paid = 0.0
        self._progress_at_start = progress_of(self._measure())
        self._previous = self._state()
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Repeat one action for ``action_repeat`` control steps; the reward is always 0.0."""
        action = clipped(action)
        self._previous = self._state()
        self._paid = sum(self._act(action) for _ in range(self._action_repeat))
        self._paid /= self._action_repeat
        self._n_steps += 1
        return self._observation(), 0.0, False, self._n_steps >= self.max_steps, {}

    def proprio(self) -> np.ndarray:
        """Gripper position in metres and its opening in [0, 1]: float32 ``(4,)``."""
        return self._state()[:4].astype(np.float32)

    def truth(self) -> tuple[float, bool, Facts]:
        """Staged progress, the suite's own success, and the facts."""
        return truth_of(self._measure(), self._progress_at_start)

    def _state(self) -> np.ndarray:
        now = self._measure()
        return np.array([*now.tip_m, now.gripper_open, *self._objects_m(now)])

    def _observation(self) -> np.ndarray:
        goals = self._goals_m(self._measure())
        return np.concatenate([self._state(), self._previous, goals]).astype(np.float32)

    # What a state names must not depend on what is done already: the agent never sees a truth.
    def _objects_m(self, now: Moment) -> np.ndarray:
        """Where all objects of the task are, ``(3 n,)``."""
        return now.object_m

    def _goals_m(self, now: Moment) -> np.ndarray:
        """Where each of them belongs, ``(3 n,)``."""
        return now.goal_m

    def no_expert(self) -> SimError:
        """The error of a task that nobody has scripted."""
        return SimError(f"{self.suite}/{self.env_name} has no scripted expert; see sole sims list")

    @abc.abstractmethod
    def _restart(self, seed: int) -> None:
        """Begin anew; equal seeds give equal episodes."""

    @abc.abstractmethod
    def _act(self, action: np.ndarray) -> float:
        """Simulate one control step; return what the suite pays for it."""

    @abc.abstractmethod
    def _measure(self) -> Moment:
        """Measure the present moment."""
