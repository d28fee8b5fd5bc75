"""What each side of an episode in a :class:`TaskEnv` may see.

The agent's side reads observations and pictures and nothing else; the reward and the info of
``step`` are dropped unread.
The truth is read by :class:`TruthRecorder`, which only reports and the oracle use; what the
simulator itself pays by :func:`roll_out`, only when it is told to (``--reward env``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypedDict, Unpack

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from sole.data.episode import Episode, Facts, Truth
from sole.errors import ConfigError, SimError
from sole.protocol.chain import scored_frames
from sole.protocol.composite import fit_tile
from sole.sims.base import TaskEnv

Observation = Any  # float32 vector, or a dict of pictures and proprioception
Act = Callable[[list[Observation]], np.ndarray]
See = Callable[[list[Observation]], Sequence[Observation]]
#: Where the info of an episode's last step holds its :class:`Episode` (SB3 owns the key "episode").
FINISHED = "finished_episode"


@dataclass
class TruthRecorder:
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
    """One finished episode: transitions for the learner, pictures for the judge, truth for us.

    ``actions`` were carried out; ``drawn`` is what the policy drew, before it was cut off at the
    bounds of the action space. PPO's likelihoods are those of the drawn ones. ``own_rewards``,
    what the simulator paid for each action, is empty unless it was asked for.
    """

    observations: list[Observation]
    actions: list[np.ndarray]
    episode: Episode
    known_truth: Truth | None
    seconds: dict[str, float] = field(default_factory=dict)
    drawn: list[np.ndarray] = field(default_factory=list)
    own_rewards: list[float] = field(default_factory=list)

    @property
    def truth(self) -> Truth:
        """What the simulator knows.

        Raises:
            SimError: If it is an environment without a truth.
        """
        if self.known_truth is None:
            raise SimError(f"{self.episode.env_name}: has no truth")
        return self.known_truth

    @property
    def n_frames(self) -> int:
        """Moments of the episode, one more than actions."""
        return len(self.observations)

    @property
    def view_frames(self) -> np.ndarray:
        """Indices of the moments at which pictures were taken."""
        return pictured_moments(self.episode)[0]

    def shown(self) -> Episode:
        """What a reward model may see: the pictures that were taken, and the instruction."""
        return self.episode.without_truth()

    def with_truth(self) -> Episode:
        """The same with the truth at those moments: for the oracle and for reports only."""
        index = self.view_frames
        facts = tuple(self.truth.facts[i] for i in index)
        truth = Truth(self.truth.true_progress[index], self.truth.true_success[index], facts)
        return replace(self.episode, truth=truth)


def has_truth(env: TaskEnv) -> bool:
    """Whether an env can be asked for its truth; a Gymnasium environment of the user's cannot."""
    return getattr(env, "has_truth", True)


def read_own_reward(env: TaskEnv) -> float:
    """What the simulator paid for the last decision: for ``--reward env`` only.

    Raises:
        SimError: If it has no dense reward.
    """
    paid = env.own_reward()
    if paid is None:
        raise SimError(f"{env.env_name}: has no dense reward of its own")
    return paid


def pictured_moments(episode: Episode) -> tuple[np.ndarray, int]:
    """Which moments of the attempt an episode's frames show, and how many moments it had.

    An episode that does not say was filmed at every moment.
    """
    n_moments = int(episode.extra.get("n_moments", episode.n_frames))
    frames = np.asarray(episode.extra.get("moments", range(episode.n_frames)), int)
    return frames, n_moments


def observation_space(
    env: TaskEnv, kind: str, picture_px: int | None = None
) -> gymnasium.Space[Any]:
    """The space the policy sees: the state vector, or its pictures and proprioception."""
    if kind == "state":
        if env.observation_space.shape == (0,):
            raise ConfigError(
                f"{env.env_name}: its observations hold pictures only; take --observation pixels"
            )
        return env.observation_space
    env.reset(seed=0)
    spaces: dict[str, gymnasium.Space[Any]] = {}
    for name, picture in env.views().items():
        spaces[name] = Box(0, 255, _channels_first(picture, picture_px).shape, np.uint8)
    if env.proprio().size:
        spaces["proprio"] = Box(-np.inf, np.inf, env.proprio().shape, np.float32)
    return Dict(spaces)


def _channels_first(picture: np.ndarray, picture_px: int | None) -> np.ndarray:
    """A picture as a policy sees it; one that is larger than ``picture_px`` is shrunk to it."""
    if picture_px is not None and max(picture.shape[:2]) > picture_px:
        picture = fit_tile(picture, picture_px)
    return picture.transpose(2, 0, 1)


#: Stands for a moment that was not rendered.
_NO_PICTURE = {"external": np.zeros((1, 1, 3), np.uint8)}


class Shown(TypedDict, total=False):
    """How an :class:`AgentEnv` shows its task; its defaults where nothing is said."""

    kind: str
    every: int
    task: str | None
    picture_px: int | None
    pictured: bool


class AgentEnv(gymnasium.Env[Any, np.ndarray]):
    """A task as its agent may see it, and a film of the running episode for the reward model.

    A Gymnasium environment for a loop of your own: the reward is always 0.0, an episode ends only
    by its time limit (an end at success would tell the truth), and the last step's info holds the
    pictures under :data:`FINISHED`. It never calls ``truth`` and reads neither reward nor info.

    Args:
        env: The task.
        kind: ``state``, or ``pixels``: a dict of the views, channel first, and ``proprio``.
        every: Keep pictures for the reward model every this many decisions, and at the end.
        task: A wording that replaces the task's own sentence.
        picture_px: Side of the pictures that the policy sees; the film keeps theirs.
        pictured: Render for the film. Without, its frames are single black pixels: for who judges
            without looking, since rendering takes time.
    """

    def __init__(
        self,
        env: TaskEnv,
        kind: str = "state",
        *,
        every: int = 1,
        task: str | None = None,
        picture_px: int | None = None,
        pictured: bool = True,
    ):
        self.task_env, self.kind, self._task = env, kind, task
        self._picture_px, self._pictured = picture_px, pictured
        self.action_space = env.action_space
        self._moments = [int(t) for t in scored_frames(env.max_steps + 1, every)]

    @cached_property
    def observation_space(self) -> gymnasium.Space[Any]:  # type: ignore[override]
        """What the policy sees; found once, since pictures must be rendered for it."""
        return observation_space(self.task_env, self.kind, self._picture_px)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode and its film."""
        if self._task:
            options = {**(options or {}), "task": self._task}
        self.seconds = {"sim": 0.0, "render": 0.0}
        self._seed, self._n_steps = seed or 0, 0
        self._views: list[dict[str, np.ndarray]] = []
        began = time.perf_counter()
        observation, _ = self.task_env.reset(seed=seed, options=options or None)
        self.seconds["sim"] += time.perf_counter() - began
        return self._see(observation), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act once; the simulator's reward, termination and info are not looked at."""
        began = time.perf_counter()
        observation = self.task_env.step(action)[0]
        self.seconds["sim"] += time.perf_counter() - began
        self._n_steps += 1
        seen = self._see(observation)
        ended = self._n_steps >= self.task_env.max_steps
        return seen, 0.0, False, ended, {FINISHED: self._film()} if ended else {}

    def _film(self) -> Episode:
        """The pictures and the instruction; ``extra`` says which moments they show."""
        env = self.task_env
        rate = max(len(self._views) - 1, 1) / env.max_steps
        return Episode(
            task=env.task,
            views={name: np.stack([v[name] for v in self._views]) for name in self._views[0]},
            fps=float(env.control_hz * rate),
            env_name=env.env_name,
            seed=self._seed,
            extra={"moments": self._moments, "n_moments": env.max_steps + 1},
        )

    def _see(self, observation: np.ndarray) -> Observation:
        """What the policy sees now; pixels and film share one rendering."""
        pixels, filmed = self.kind == "pixels", self._n_steps in self._moments
        began = time.perf_counter()
        rendered = pixels or (filmed and self._pictured)
        views = self.task_env.views() if rendered else {}
        self.seconds["render"] += time.perf_counter() - began
        if filmed:
            self._views.append(views if rendered else _NO_PICTURE)
        if not pixels:
            return np.asarray(observation, np.float32)
        pictures = {n: _channels_first(picture, self._picture_px) for n, picture in views.items()}
        proprio = self.task_env.proprio()
        return {**pictures, "proprio": proprio} if proprio.size else pictures


def roll_out(
    envs: list[TaskEnv],
    seeds: list[int],
    act: Act,
    *,
    see: See | None = None,
    own_reward: bool = False,
    **shown: Unpack[Shown],
) -> list[Rollout]:
    """Run one episode in each env, in lock-step so that the policy sees one batch per step.

    Args:
        envs: Task environments of equal horizon.
        seeds: Reset seed of each.
        act: Batch of observations -> actions ``(n, A)``; cut off at the action space's bounds.
        see: What the policy sees in place of the observations of all envs at one moment.
        own_reward: Also note what the simulator itself pays; the policy does not see it.
        shown: How each task is shown; pixels are rendered at every decision, whatever ``every``.
    """
    agents = [AgentEnv(env, **shown) for env in envs]
    recorders = [TruthRecorder() if has_truth(env) else None for env in envs]
    began = [agent.reset(seed=seed)[0] for agent, seed in zip(agents, seeds, strict=True)]
    seen = [[one] for one in (see(began) if see else began)]
    taken: list[list[np.ndarray]] = [[] for _ in envs]
    drawn: list[list[np.ndarray]] = [[] for _ in envs]
    paid: list[list[float]] = [[] for _ in envs]
    _look(recorders, envs)
    films: list[Episode] = []
    for _ in range(envs[0].max_steps):
        wanted = np.asarray(act([s[-1] for s in seen]), np.float32)
        now = []
        for k, agent in enumerate(agents):
            action = _within(wanted[k], agent.action_space)
            observation, *_, info = agent.step(action)
            now.append(observation)
            taken[k].append(action)
            drawn[k].append(wanted[k])
            paid[k] += [read_own_reward(agent.task_env)] if own_reward else []
            films += info.values()
        for past, one in zip(seen, see(now) if see else now, strict=True):
            past.append(one)
        _look(recorders, envs)
    return [
        Rollout(
            seen[k], taken[k], films[k], recorder.truth() if recorder else None, agent.seconds,
            drawn[k], paid[k],
        )
        for k, (agent, recorder) in enumerate(zip(agents, recorders, strict=True))
    ]  # fmt: skip


def _look(recorders: list[TruthRecorder | None], envs: list[TaskEnv]) -> None:
    for recorder, env in zip(recorders, envs, strict=True):
        if recorder:
            recorder.look(env)


def _within(action: np.ndarray, space: gymnasium.Space[Any]) -> np.ndarray:
    return np.clip(action, space.low, space.high) if isinstance(space, Box) else action
