"""When a round is judged: in turn, or in the background while the agent acts and learns.

In the background a judgement is taken in after a fixed number of rounds, not whenever it happens to
be ready, so that a run is reproducible and no reward is older than that. With a delay of zero
rounds the result is the same, bit for bit, as judging in turn.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sole.rl.envs import Rollout
from sole.rl.judge import Judge, Judgement


@dataclass(frozen=True)
class CollectedRound:
    """Finished episodes that wait for their rewards.

    Attributes:
        first_episode: Number of the first one in the run.
        seeds: Reset seeds.
        rollouts: One per env.
        learnable: Whether the agent may learn from them (PPO not from random actions).
    """

    first_episode: int
    seeds: list[int]
    rollouts: list[Rollout]
    learnable: bool


@dataclass(frozen=True)
class JudgedRound:
    """The same with the verdicts.

    Attributes:
        collected: What was judged.
        judged: One per roll-out.
        n_calls: Questions that were asked.
        seconds: What judging took, in whatever thread.
    """

    collected: CollectedRound
    judged: list[Judgement]
    n_calls: int
    seconds: float


def judge_round(judge: Judge, collected: CollectedRound) -> JudgedRound:
    """Judge all roll-outs of a round in one batch."""
    began, before = time.perf_counter(), judge.model.costs.model_calls
    judged = judge(collected.rollouts)
    n_calls = judge.model.costs.model_calls - before
    return JudgedRound(collected, judged, n_calls, time.perf_counter() - began)


class InTurn:
    """Every round is judged at once; nothing is ever outstanding."""

    def __init__(self, judge: Judge):
        self._judge = judge

    def submit(self, collected: CollectedRound) -> list[JudgedRound]:
        """Judge a round; return what is to be learned from now."""
        return [judge_round(self._judge, collected)]

    def finish(self) -> list[JudgedRound]:
        """What was still outstanding: nothing."""
        return []

    def close(self) -> None:
        """Nothing to close."""


class InBackground:
    """Rounds are judged one after the other in a thread, while the agent acts and learns.

    Args:
        judge: Of the run. Whoever uses its model for something else calls :meth:`finish` first.
        stale_rounds: How many rounds may be outstanding when the agent learns, and after the first
            ones always are.
    """

    def __init__(self, judge: Judge, stale_rounds: int):
        if stale_rounds < 0:
            raise ValueError(f"judging: expected stale_rounds >= 0, got {stale_rounds}")
        self._judge, self._stale_rounds = judge, stale_rounds
        self._thread = ThreadPoolExecutor(1, "judging")
        self._outstanding: deque[Future[JudgedRound]] = deque()

    def submit(self, collected: CollectedRound) -> list[JudgedRound]:
        """Queue a round; wait for and return those that are due, oldest first.

        An error of the model is raised here, in the round in which its judgement is due.
        """
        self._outstanding.append(self._thread.submit(judge_round, self._judge, collected))
        return self._take(self._stale_rounds)

    def finish(self) -> list[JudgedRound]:
        """Wait for everything outstanding."""
        return self._take(0)

    def close(self) -> None:
        """Forget what has not begun, and wait for what has."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _take(self, leave: int) -> list[JudgedRound]:
        due = []
        while len(self._outstanding) > leave:
            due.append(self._outstanding.popleft().result())
        return due
