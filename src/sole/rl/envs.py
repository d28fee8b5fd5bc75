"""Acts in a :class:`TaskEnv` for one episode and keeps what each side may see.

The agent's side reads observations and pictures and nothing else; the reward and the info of
``step`` are dropped unread.
The truth is read by :class:`Watcher`, which only reports and the oracle use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from sole.data.episode import Episode, Facts, Truth
from sole.protocol.chain import scored_frames
from sole.sims.base import TaskEnv

Observation = Any  # float32 vector, or a dict of pictures and proprioception
Act = Callable[[list[Observation]], np.ndarray]


@dataclass
class Watcher:
    """Reads the simulator's truth beside an episode; no part of the agent's side holds one."""

    moments: list[tuple[float, bool, Facts]] = field(default_factory=list)

    def look(self, env: TaskEnv) -> None:
        """Note the truth of the present moment."""
        self.moments.append(env.truth())

    def truth(self) -> Truth:
        """Everything noted so far."""
        progress = np.array([m[0] for m in self.moments], np.float32)
        success = np.array([m[1] for m in self.moments], bool)
        return Truth(progress, success, tuple(m[2] for m in self.moments))


@dataclass
class Rollout:
    """One finished episode: transitions for the learner, pictures for the judge, truth for us."""

    observations: list[Observation]
    actions: list[np.ndarray]
    views: list[dict[str, np.ndarray]]
    view_frames: np.ndarray
    task: str
    env_name: str
    seed: int
    fps: float
    truth: Truth

    @property
    def n_frames(self) -> int:
        """Moments of the episode, one more than actions."""
        return len(self.observations)

    def shown(self) -> Episode:
        """What a reward model may see: the pictures that were taken, and the instruction."""
        names = self.views[0]
        return Episode(
            task=self.task,
            views={name: np.stack([v[name] for v in self.views]) for name in names},
            fps=self.fps,
            env_name=self.env_name,
            seed=self.seed,
        )

    def with_truth(self) -> Episode:
        """The same with the truth at those moments: for the oracle and for reports only."""
        index = self.view_frames
        facts = tuple(self.truth.facts[i] for i in index)
        truth = Truth(self.truth.true_progress[index], self.truth.true_success[index], facts)
        shown = self.shown()
        return Episode(
            task=shown.task, views=shown.views, fps=shown.fps, truth=truth,
            env_name=self.env_name, seed=self.seed,
        )  # fmt: skip


def observation_space(env: TaskEnv, kind: str) -> gymnasium.Space[Any]:
    """The space the policy sees: the state vector, or two pictures and proprioception."""
    if kind == "state":
        return env.observation_space
    env.reset(seed=0)
    spaces: dict[str, gymnasium.Space[Any]] = {}
    for name, picture in env.views().items():
        height, width, _ = picture.shape
        spaces[name] = Box(0, 255, (3, height, width), np.uint8)
    spaces["proprio"] = Box(-np.inf, np.inf, env.proprio().shape, np.float32)
    return Dict(spaces)


def roll_out(
    envs: list[TaskEnv],
    seeds: list[int],
    act: Act,
    *,
    kind: str = "state",
    every: int = 1,
    render: bool = True,
    task: str | None = None,
) -> list[Rollout]:
    """Run one episode in each env, in lock-step so that the policy sees one batch per step.

    Args:
        envs: Task environments of equal horizon.
        seeds: Reset seed of each.
        act: Batch of observations -> actions ``(n, A)``.
        kind: ``state`` or ``pixels``.
        every: Take pictures every this many decisions (pixels: always every one).
        render: Take pictures at all (an evaluation of truth alone needs none).
        task: A wording that replaces the task's own sentence.
    """
    runners = [
        _Runner(env, seed, kind, scored_frames(env.max_steps + 1, every) if render else None, task)
        for env, seed in zip(envs, seeds, strict=True)
    ]
    for _ in range(envs[0].max_steps):
        actions = act([r.observations[-1] for r in runners])
        for runner, action in zip(runners, actions, strict=True):
            runner.step(np.asarray(action, np.float32))
    return [runner.finish() for runner in runners]


class _Runner:
    """One env on its way through one episode."""

    def __init__(
        self, env: TaskEnv, seed: int, kind: str, pictured: np.ndarray | None, task: str | None
    ):
        self._env, self._seed, self._kind = env, seed, kind
        self._pictured = set() if pictured is None else {int(t) for t in pictured}
        self._views: list[dict[str, np.ndarray]] = []
        self._watcher = Watcher()
        self.actions: list[np.ndarray] = []
        observation, _ = env.reset(seed=seed, options={"task": task} if task else None)
        self.observations: list[Observation] = []
        self._take(observation)

    def step(self, action: np.ndarray) -> None:
        """Act once; reward, termination and info are not looked at."""
        observation = self._env.step(action)[0]
        self.actions.append(action)
        self._take(observation)

    def finish(self) -> Rollout:
        env = self._env
        frames = np.array(sorted(self._pictured), int)
        fps = env.control_hz * max(len(frames) - 1, 1) / env.max_steps
        return Rollout(
            self.observations, self.actions, self._views, frames, env.task, env.env_name,
            self._seed, float(fps), self._watcher.truth(),
        )  # fmt: skip

    def _take(self, observation: np.ndarray) -> None:
        moment = len(self.observations)
        pixels = self._kind == "pixels"
        views = self._env.views() if pixels or moment in self._pictured else {}
        if moment in self._pictured:
            self._views.append(views)
        if pixels:
            pictures = {name: picture.transpose(2, 0, 1) for name, picture in views.items()}
            self.observations.append({**pictures, "proprio": self._env.proprio()})
        else:
            self.observations.append(np.asarray(observation, np.float32))
        self._watcher.look(self._env)
