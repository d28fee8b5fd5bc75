"""Episodes that are judged while they run, and end when their task was judged complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sole.data.episode import EpisodeScore, StepScore
from sole.protocol.chain import scored_frames
from sole.rewarders.base import RewardModel, Session, StepsTogether, close_session
from sole.rl.completion import CompletionGuard
from sole.rl.env_reward import NOT_JUDGED
from sole.rl.envs import has_truth, read_own_reward
from sole.rl.judge import Judge, Judgement
from sole.sims.base import TaskEnv

#: Observations of several episodes -> what each policy decided, and the action that is carried out.
Decide = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
#: The episode's sentence -> its guard.
Guarded = Callable[[str], CompletionGuard]


class TruthReader:
    """The simulator's truth as if a model had said it: the oracle of episodes that are running."""

    model_id = "oracle"

    def step(self, env: TaskEnv) -> StepScore:
        """The present moment."""
        progress, success, _ = env.truth()
        return StepScore(progress, success_probability=float(success))


@dataclass
class LiveEpisode:
    """One running or finished episode.

    Attributes:
        seed: Of its layout.
        observations: One more than decisions.
        decisions: What the learner decided.
        actions: What was carried out for each; noise, say, makes them differ.
        frames: Indices of the judged moments.
        steps: What was said of them.
        completed: It ended because it was judged complete.
        n_refused: How often the guard's second look said no.
        own_rewards: What the simulator paid for each decision; empty unless the judge pays that.
        true_success: The simulator's success at every moment; for reports only.
    """

    seed: int
    observations: list[np.ndarray] = field(default_factory=list)
    decisions: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    steps: list[StepScore] = field(default_factory=list)
    completed: bool = False
    n_refused: int = 0
    own_rewards: list[float] = field(default_factory=list)
    true_success: list[bool] = field(default_factory=list)

    def judgement(self, judge: Judge) -> Judgement:
        """Its rewards; where it was judged complete, the last one holds what staying would earn.

        Ending must not cost the agent anything: values of other episodes go on beyond their time
        limit, so the same is added here, ``discount / (1 - discount)`` times the reward of staying.
        """
        score = EpisodeScore(tuple(self.steps), judge.model.model_id)
        if judge.own_reward:
            return judge.paid(self.own_rewards, score)
        found = judge.judgement_of(score, np.array(self.frames), len(self.observations))
        if self.completed and found.rewards is not None:
            later = judge.discount / (1 - judge.discount)
            found.rewards[-1] += later * judge.reward_of_staying(found)
        return found


def play(
    envs: Sequence[TaskEnv],
    seeds: Sequence[int],
    decide: Decide,
    judge: Judge,
    *,
    every: int = 1,
    guarded: Guarded | None = None,
) -> list[LiveEpisode]:
    """Run one episode in each env in lock-step; those that were judged complete end early.

    Args:
        envs: Of equal horizon. Their reward, end and info are not looked at.
        seeds: Reset seed of each.
        decide: The policy.
        judge: Says progress and completion at every judged moment.
        every: Judge every this many decisions, and the last moment.
        guarded: Makes the guard of an episode of a sentence; None ends none early.

    Raises:
        ValueError: If episodes may end early and the judge does not know the agent's discount: what
            staying would have earned has no bound then.
    """
    if guarded and not judge.discount < 1:
        raise ValueError(f"play: expected a judge with a discount below 1, got {judge.discount}")
    loop = _Loop(list(envs), decide, judge, every, guarded)
    return loop.run(seeds)


class _Loop:
    def __init__(
        self,
        envs: list[TaskEnv],
        decide: Decide,
        judge: Judge,
        every: int,
        guarded: Guarded | None,
    ):
        self.envs, self.decide, self.judge = envs, decide, judge
        self.moments = {int(t) for t in scored_frames(envs[0].max_steps + 1, every)}
        self.guarded = guarded

    def run(self, seeds: Sequence[int]) -> list[LiveEpisode]:
        self.episodes = [LiveEpisode(seed) for seed in seeds]
        for env, episode in zip(self.envs, self.episodes, strict=True):
            episode.observations.append(env.reset(seed=episode.seed)[0])
        model, tasks = self.judge.model, [env.task for env in self.envs]
        self.sessions = [model.start(task) for task in tasks] if self.judge.looks else []
        self.guards = [self.guarded(task) if self.guarded else None for task in tasks]
        self._look(0)
        for t in range(1, self.envs[0].max_steps + 1):
            self._act()
            self._look(t)
        for session in self.sessions:
            close_session(session)
        return self.episodes

    @property
    def _running(self) -> list[int]:
        return [k for k, episode in enumerate(self.episodes) if not episode.completed]

    def _act(self) -> None:
        running = self._running
        if not running:
            return
        seen = np.stack([self.episodes[k].observations[-1] for k in running])
        decisions, actions = self.decide(seen)
        for k, decision, action in zip(running, decisions, actions, strict=True):
            self.episodes[k].decisions.append(np.asarray(decision, np.float32))
            self.episodes[k].actions.append(np.asarray(action, np.float32))
            self.episodes[k].observations.append(self.envs[k].step(action)[0])
            if self.judge.own_reward:
                self.episodes[k].own_rewards.append(read_own_reward(self.envs[k]))

    def _look(self, t: int) -> None:
        running = self._running
        for k in running:
            if has_truth(self.envs[k]):  # reports only
                self.episodes[k].true_success.append(self.envs[k].truth()[1])
        if t not in self.moments or not running:
            return
        views = [self.envs[k].views() if self.judge.looks else {} for k in running]
        for k, step, seen in zip(running, self._judge(running, views), views, strict=True):
            self._take(k, t, step, seen)

    def _take(self, k: int, t: int, step: StepScore, seen: Mapping[str, np.ndarray]) -> None:
        episode, guard = self.episodes[k], self.guards[k]
        episode.frames.append(t)
        episode.steps.append(step)
        if guard is not None:
            episode.completed = guard.complete(step, dict(seen)) and t > 0
            episode.n_refused = guard.n_refused

    def _judge(self, running: list[int], views: list[Any]) -> list[StepScore]:
        if self.judge.privileged:
            return [TruthReader().step(self.envs[k]) for k in running]
        if self.judge.own_reward:
            return [NOT_JUDGED for _ in running]
        return step_all(self.judge.model, [self.sessions[k] for k in running], views)


def step_all(
    model: RewardModel, sessions: Sequence[Session], views: Sequence[Mapping[str, np.ndarray]]
) -> list[StepScore]:
    """Feed one moment to each session, in one batch where the model can."""
    if isinstance(model, StepsTogether):
        return model.step_sessions(sessions, views)
    return [session.step(seen) for session, seen in zip(sessions, views, strict=True)]
