"""A real robot's episode: a fixed control rate on the wall clock, judged in the background.

The control loop never waits for the reward model. Pictures go to a thread that judges them; when
it is still busy with the last ones, the new ones are skipped, and counted. When no judgement, or
none that can be read, has come for longer than is allowed, or the reward model is lost, the robot
is stopped, and so it is at every other end: time, judged completion, an error, Ctrl-C.

This is no safety device. It says when to stop acting, not whether what the robot does is safe:
limits of force, speed and place, and an emergency stop, belong into the robot's own controller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Literal, Protocol

import numpy as np

from sole.data.episode import EpisodeScore, StepScore
from sole.errors import ModelError, ServerError
from sole.rewarders.base import RewardModel, close_session
from sole.rl.completion import CompletionGuard
from sole.rl.judge import Judge, Judgement

Views = dict[str, np.ndarray]
End = Literal["time", "completed", "reward_lost"]


class Robot(Protocol):
    """What the loop needs of an arm; an implementation for yours is a few lines."""

    def observe(self) -> tuple[np.ndarray, Views]:
        """The state ``(D,)`` and the pictures of now, uint8 RGB ``(H, W, 3)`` by view name."""
        ...

    def act(self, action: np.ndarray) -> None:
        """Begin to carry an action out; must return at once."""
        ...

    def stop(self) -> None:
        """Hold still. Called at every end, more than once if need be; must not fail."""
        ...


@dataclass(frozen=True)
class Pace:
    """Times of an episode.

    Attributes:
        control_hz: Decisions per second.
        duration_s: Longest episode.
        judge_every: Offer pictures to the judge every this many decisions.
        lost_after_s: The robot is stopped when a judgement takes longer than this, or when for as
            long all that came, two or more, could not be read.
    """

    control_hz: float
    duration_s: float
    judge_every: int = 2
    lost_after_s: float = 2.0

    def __post_init__(self) -> None:
        values = (self.control_hz, self.duration_s, self.judge_every, self.lost_after_s)
        if not all(value > 0 for value in values):
            raise ValueError(f"pace: expected positive numbers, got {values}")

    @property
    def n_ticks(self) -> int:
        """Decisions of a whole episode, at least one."""
        return max(1, round(self.duration_s * self.control_hz))


class Clock(Protocol):
    """Of the ``time`` module, or of a test."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


@dataclass
class RealTimeEpisode:
    """What happened.

    Attributes:
        end: Why it ended.
        ticks: Number of each decision that was taken; skipped ones are missing.
        observations: At each decision, and one at the end.
        actions: Carried out.
        judged_ticks: Index into ``observations`` of each judged moment.
        steps: What was said of it.
        n_skipped_ticks: Decisions left out because an earlier one took too long.
        n_skipped_judgements: Moments that were not judged because the judge was busy.
        slowest_judgement_s: The longest time that one took.
        error: What the reward model said when it was lost.
    """

    end: End = "time"
    ticks: list[int] = field(default_factory=list)
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    judged_ticks: list[int] = field(default_factory=list)
    steps: list[StepScore] = field(default_factory=list)
    n_skipped_ticks: int = 0
    n_skipped_judgements: int = 0
    slowest_judgement_s: float = 0.0
    error: str | None = None

    def judgement(self, judge: Judge) -> Judgement:
        """Rewards of each decision; after the last judged moment progress stays as it was.

        What staying would have earned after a judged completion is not in them: learn from such an
        end as from a time limit, with the value of the last state, or completing would cost.
        A lost reward model leaves an episode whose rest was never judged: its rewards are None.
        """
        n = len(self.observations)
        score = EpisodeScore(tuple(self.steps), judge.model.model_id)
        if self.end == "reward_lost" or len(self.steps) < 2:
            return Judgement(None, np.full(n, np.nan, np.float32), score)
        return judge.judgement_of(score, np.array(self.judged_ticks), n)


def run_real_time(
    robot: Robot,
    policy: Callable[[np.ndarray], np.ndarray],
    model: RewardModel,
    task: str,
    pace: Pace,
    *,
    guard: CompletionGuard | None = None,
    clock: Clock = time,
) -> RealTimeEpisode:
    """Run one episode on a robot.

    Args:
        robot: What is controlled.
        policy: State -> action; should take less than a period.
        model: Judges in a thread of its own; it must not be used elsewhere meanwhile.
        task: The instruction.
        pace: Rates and times.
        guard: Ends the episode on judged completion; None does not. Its second look runs in the
            judging thread.
        clock: For tests.
    """
    loop = _Loop(robot, policy, _Background(model, task, guard, clock), pace, clock)
    try:
        return loop.run()
    finally:
        robot.stop()
        loop.background.close()


@dataclass
class _Judged:
    tick: int
    step: StepScore
    completed: bool
    seconds: float


class _Background:
    """At most one moment is judged at a time, in order, in a thread.

    Nothing waits for that thread, not even the end of Python (as it would for that of a
    ThreadPoolExecutor): a lost server may never answer.
    """

    def __init__(self, model: RewardModel, task: str, guard: CompletionGuard | None, clock: Clock):
        self._session = model.start(task)
        self._guard, self._clock = guard, clock
        self._thread = ThreadPool(1)
        self._running: AsyncResult[_Judged] | None = None
        self._since = 0.0

    @property
    def busy(self) -> bool:
        return self._running is not None

    def offer(self, tick: int, views: Views) -> None:
        """Begin to judge a moment; only when not busy."""
        self._since = self._clock.monotonic()
        self._running = self._thread.apply_async(self._judge, (tick, views))

    def take(self) -> _Judged | None:
        """The judgement that has become ready, if any; raises what the model raised."""
        if self._running is None or not self._running.ready():
            return None
        ready, self._running = self._running, None
        return ready.get()

    def waits_s(self) -> float:
        """How long the running judgement has taken so far."""
        return self._clock.monotonic() - self._since if self.busy else 0.0

    def close(self) -> None:
        """Let whoever keeps the session forget it, once it answers; returns at once."""
        self._thread.apply_async(close_session, (self._session,))
        self._thread.close()

    def _judge(self, tick: int, views: Mapping[str, np.ndarray]) -> _Judged:
        began = self._clock.monotonic()
        step = self._session.step(views)
        done = self._guard is not None and self._guard.complete(step, dict(views))
        return _Judged(tick, step, done, self._clock.monotonic() - began)


class _Loop:
    def __init__(
        self,
        robot: Robot,
        policy: Callable[[np.ndarray], np.ndarray],
        background: _Background,
        pace: Pace,
        clock: Clock,
    ):
        self.robot, self.policy, self.background = robot, policy, background
        self.pace, self.clock = pace, clock
        self.episode = RealTimeEpisode()
        self.unreadable_since = 0.0
        self.n_unreadable = 0  # in a row

    def run(self) -> RealTimeEpisode:
        period, began, tick = 1 / self.pace.control_hz, self.clock.monotonic(), 0
        while tick < self.pace.n_ticks:
            self._wait_until(began + tick * period)
            if self._ended():
                break
            self._tick(tick)
            due = int((self.clock.monotonic() - began) / period) + 1
            due = min(max(due, tick + 1), self.pace.n_ticks)
            self.episode.n_skipped_ticks += due - tick - 1
            tick = due
        else:
            self._wait_until(began + tick * period)
        self._finish()
        return self.episode

    def _wait_until(self, moment: float) -> None:
        left = moment - self.clock.monotonic()
        if left > 0:
            self.clock.sleep(left)

    def _tick(self, tick: int) -> None:
        """Look, decide, act; pictures go to the judge when it is free."""
        state, views = self.robot.observe()
        action = np.asarray(self.policy(state), np.float32)
        self.robot.act(action)
        index = len(self.episode.observations)
        self.episode.ticks.append(tick)
        self.episode.observations.append(state)
        self.episode.actions.append(action)
        if index % self.pace.judge_every:
            return
        if self.background.busy:
            self.episode.n_skipped_judgements += 1
        else:
            self.background.offer(index, views)

    def _ended(self) -> bool:
        """Take in what was judged; whether the episode is over."""
        try:
            ready = self.background.take()
        except (ServerError, ModelError) as error:
            return self._lost(str(error))
        if ready is not None:
            self._note(ready)
            if ready.completed:
                self.episode.end = "completed"
                return True
        waited = self.background.waits_s()
        if waited > self.pace.lost_after_s:
            return self._lost(f"no judgement for {waited:.1f} s")
        return self._unreadable()

    def _unreadable(self) -> bool:
        """Whether nothing that came for too long could be read; its silence is no judgement."""
        seconds = self.clock.monotonic() - self.unreadable_since
        if self.n_unreadable < 2 or seconds <= self.pace.lost_after_s:
            return False
        last = self.episode.steps[-1].error
        return self._lost(f"no readable judgement for {seconds:.1f} s ({last})")

    def _lost(self, why: str) -> bool:
        self.episode.end, self.episode.error = "reward_lost", why
        return True

    def _note(self, ready: _Judged) -> None:
        self.episode.judged_ticks.append(ready.tick)
        self.episode.steps.append(ready.step)
        slowest = max(self.episode.slowest_judgement_s, ready.seconds)
        self.episode.slowest_judgement_s = slowest
        if ready.step.error is None:
            self.n_unreadable = 0
            return
        if self.n_unreadable == 0:
            self.unreadable_since = self.clock.monotonic() - ready.seconds
        self.n_unreadable += 1

    def _finish(self) -> None:
        """Hold still first; then the last moment is judged, as long as that is allowed to take."""
        self.robot.stop()
        state, views = self.robot.observe()
        self.episode.observations.append(state)
        if self.episode.end != "time":
            return
        while self.background.busy and not self._ended():
            self.clock.sleep(0.25 / self.pace.control_hz)
        if self.episode.end == "time":
            self.background.offer(len(self.episode.observations) - 1, views)
            while self.background.busy and not self._ended():
                self.clock.sleep(0.25 / self.pace.control_hz)
