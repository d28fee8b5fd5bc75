"""From finished roll-outs to the reward of every decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sole.data.episode import Episode, EpisodeScore
from sole.errors import ModelError
from sole.progress.caution import gate, lower_bound, uncertainties
from sole.progress.reward import (
    FailurePolicy,
    RewardForm,
    apply_failure_policy,
    difference_reward,
    directions,
    hold_last_valid,
    level_reward,
    tri_reward,
)
from sole.protocol.chain import interpolate_scores
from sole.rewarders.base import RewardModel
from sole.rewarders.controls import Constant, Ramp
from sole.rl.envs import Rollout, pictured_moments


@dataclass(frozen=True)
class Judgement:
    """One roll-out's rewards, and what the model said of it.

    Attributes:
        rewards: ``(T-1,)`` float32, the reward of each decision; None when the episode is dropped.
        judged_progress: ``(T,)`` percent at every moment, NaN when dropped.
        score: The model's verdict on the pictured moments.
        is_judged: False where the simulator itself paid and nothing was judged.
    """

    rewards: np.ndarray | None
    judged_progress: np.ndarray
    score: EpisodeScore
    is_judged: bool = True


@dataclass(frozen=True)
class Judge:
    """Turns a reward model into rewards; progress is interpolated between pictured moments.

    Attributes:
        model: Sees pictures and the instruction, never the truth, unless it is the oracle.
        psi: Scale of the reward (SOLE-R1's psi).
        clip: Progress is clipped to [-clip, clip] percent first.
        failure: What a failed read means: hold, drop_episode or raise.
        form: What a decision earns: ``level`` the progress it leads to, ``difference`` what it
            gains, ``tri`` progress, completion and direction.
        discount: The agent's own, for what staying would earn where an episode ends early.
        privileged: Show the truth to the model; the oracle's only.
        caution: So many times its uncertainty is taken off the progress.
        gate_points: A moment that is less certain than this keeps the last certain progress.
        own_reward: Pay what the simulator itself paid, psi times, and judge nothing
            (``--reward env``); form, clip, failure and caution are about what is judged.
    """

    model: RewardModel
    psi: float = 1.0
    clip: float = 100.0
    failure: FailurePolicy = "hold"
    privileged: bool = False
    form: RewardForm = "level"
    discount: float = 1.0
    caution: float = 0.0
    gate_points: float | None = None
    own_reward: bool = False

    @property
    def looks(self) -> bool:
        """Whether it needs pictures; who is shown the truth or the simulator's pay does not."""
        return not (self.privileged or self.own_reward)

    @property
    def minds_pictures(self) -> bool:
        """Whether pictures can change what it says of a whole episode; a ramp counts frames."""
        return self.looks and type(self.model) not in (Ramp, Constant)  # a subclass may look

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Judgement]:
        """Judge all roll-outs in one batch."""
        if self.own_reward:
            scores = self.model.score([r.shown() for r in rollouts])
            return [self.paid(r.own_rewards, s) for r, s in zip(rollouts, scores, strict=True)]
        return self.judge([r.with_truth() if self.privileged else r.shown() for r in rollouts])

    def judge(self, episodes: Sequence[Episode]) -> list[Judgement]:
        """Judge filmed episodes, as :class:`~sole.rl.envs.AgentEnv` makes them, in one batch."""
        scores = self.model.score(episodes)
        return [self._judge(e, s) for e, s in zip(episodes, scores, strict=True)]

    def paid(self, own_rewards: Sequence[float], score: EpisodeScore) -> Judgement:
        """What the simulator paid, one number for each decision, in place of a judgement."""
        rewards = self.psi * np.asarray(own_rewards, np.float32)
        unknown = np.full(len(rewards) + 1, np.nan, np.float32)
        return Judgement(rewards.astype(np.float32), unknown, score, is_judged=False)

    def label(self, episodes: list[Episode]) -> list[np.ndarray | None]:
        """Rewards alone, for :class:`~sole.rl.relabel.RelabelledBuffer`."""
        return [judgement.rewards for judgement in self.judge(episodes)]

    def _judge(self, episode: Episode, score: EpisodeScore) -> Judgement:
        frames, n_moments = pictured_moments(episode)
        return self.judgement_of(score, frames, n_moments)

    def judgement_of(self, score: EpisodeScore, frames: np.ndarray, n_moments: int) -> Judgement:
        """Rewards of an episode that was judged already, for example while it ran.

        Args:
            score: One step for each pictured moment.
            frames: Indices of the pictured moments, the first and the last among them.
            n_moments: Moments in all.
        """
        held = apply_failure_policy(score, self.failure).progress
        if held is None:
            return Judgement(None, np.full(n_moments, np.nan, np.float32), score)
        held = self._cautious(held, score)
        progress = interpolate_scores(held, frames, n_moments)
        rewards = self._rewards(progress, frames, held, score)
        return Judgement(np.asarray(rewards, np.float32), np.asarray(progress, np.float32), score)

    def reward_of_staying(self, judgement: Judgement) -> float:
        """What each decision would go on to earn where an episode ended, if nothing changed."""
        last = judgement.judged_progress[-1:].repeat(2).astype(np.float64)
        still = EpisodeScore((judgement.score.steps[-1],) * 2, judgement.score.model_id)
        return float(self._rewards(last, np.array([0, 1]), last, still)[0])

    def _cautious(self, held: np.ndarray, score: EpisodeScore) -> np.ndarray:
        if not self.caution and self.gate_points is None:
            return held
        unsure = uncertainties(score)
        lowered = lower_bound(held, unsure, self.caution)
        return lowered if self.gate_points is None else gate(lowered, unsure, self.gate_points)

    def _rewards(
        self, progress: np.ndarray, frames: np.ndarray, held: np.ndarray, score: EpisodeScore
    ) -> np.ndarray:
        if self.form == "level":
            return level_reward(progress, psi=self.psi, clip=self.clip)[1:]
        clipped = np.clip(progress, -self.clip, self.clip)
        if self.form == "difference":
            # Without the agent's discount: with it all policies are worth the same, see there.
            return self.psi * difference_reward(clipped)
        completion = interpolate_scores(_completion(score), frames, len(progress))
        way = np.zeros(len(progress) - 1)  # after the last judged moment nothing changes
        way[: frames[-1]] = np.repeat(directions(held), np.diff(frames))
        return self.psi * tri_reward(clipped, completion, way)


def _completion(score: EpisodeScore) -> np.ndarray:
    """Probability of completion at the judged moments; a failed read keeps the last one."""
    said = score.judged_success.astype(np.float64)
    if np.isnan(said).all():
        raise ModelError(
            f"{score.model_id} gives no probability of success, which the reward form tri needs; "
            "take --reward-form level or difference"
        )
    return hold_last_valid(said)
