"""``sole rl``: act, have the episodes judged, learn; report judged against true success.

One round is ``n_envs`` episodes. Everything random in a round follows from (seed, round), and
checkpoints lie between rounds, so a killed run that is resumed ends like one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch

from sole.config import parse_config
from sole.console import progress_bar, stdout
from sole.data.attempts import save_attempts
from sole.errors import ConfigError
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.rl.agent import SacAgent, reseed
from sole.rl.config import RlConfig
from sole.rl.envs import Rollout, has_truth, observation_space, roll_out
from sole.rl.judge import Judge, Judgement
from sole.rl.judging import CollectedRound, InBackground, InTurn, JudgedRound
from sole.rl.ppo import PpoAgent
from sole.rl.record import eval_metrics, round_attempts, round_metrics, save_rollout
from sole.rl.tasks import make_task
from sole.run import Run
from sole.sims.base import TaskEnv

_EVAL_SEED = 10_000_000
#: A run may be continued with another value of these; ``episodes`` may only grow.
_MAY_CHANGE = frozenset({"run_dir", "episodes", "max_minutes", "tensorboard", "threads"})


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole rl``."""
    last = train(parse_config(RlConfig, argv, "sole rl"))
    if last["true_success"] is None:  # an environment of the user's
        stdout.print(
            f"judged success {last['judged_success']:.0%} after {last['episode']} episodes"
        )
        return 0
    stdout.print(
        f"true success {last['true_success']:.0%} "
        f"[{last['true_success_low']:.0%}, {last['true_success_high']:.0%}] "
        f"over {last['n_episodes']} evaluation episodes after {last['episode']} episodes"
    )
    return 0


def train(
    config: RlConfig, *, envs: Sequence[TaskEnv] | None = None, model: RewardModel | None = None
) -> dict[str, Any]:
    """Run or continue the training; return the last evaluation.

    Args:
        config: Settings.
        envs: Ready environments instead of ``config.env`` (tests, your own tasks). They serve
            evaluation too; those made from a name have others for it.
        model: A ready reward model instead of ``config.reward``.
    """
    torch.set_num_threads(config.threads)
    if envs:
        return _Training(config, list(envs), list(envs), model).run()
    return _Training(config, _make_envs(config), _make_envs(config), model).run()


def _make_envs(config: RlConfig) -> list[TaskEnv]:
    settings = {"task": config.task, "views": config.views, "max_steps": config.max_steps}
    return [make_task(config.env, place, **settings) for place in range(config.n_envs)]


def _make_model(config: RlConfig) -> RewardModel:
    return load_reward_model(
        config.reward,
        think="always" if config.think else "fast",
        from_zero_weight=config.from_zero_weight,
        calibration=config.calibration,
    )


def _make_agent(config: RlConfig, space: gymnasium.Space[Any], env: TaskEnv) -> SacAgent | PpoAgent:
    if config.algorithm == "ppo":
        return PpoAgent(
            space, env.action_space, seed=config.seed, learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            settings={"gamma": config.gamma, "gae_lambda": config.gae_lambda,
                      "n_epochs": config.epochs, "clip_range": config.clip_range,
                      "ent_coef": config.entropy_weight},
        )  # fmt: skip
    return SacAgent(
        space, env.action_space, seed=config.seed,
        buffer_size=(config.episodes + config.n_envs) * env.max_steps,
        learning_rate=config.learning_rate,
        settings={"gamma": config.gamma, "batch_size": config.batch_size,
                  "ent_coef": f"auto_{config.entropy_start:g}"},
    )  # fmt: skip


@dataclass
class Clock:
    """Seconds spent in each part of a round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Any:
        """Add the block's duration to ``name``."""
        began = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - began)

    def split(self, name: str, parts: Mapping[str, float]) -> None:
        """Take seconds that were measured inside ``name`` out of it, to stand by themselves."""
        for part, seconds in parts.items():
            self._add(part, seconds)
            self._add(name, -seconds)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Return and forget what was measured."""
        taken, self.seconds = self.seconds, {}
        return {f"{name}_seconds": round(s, 3) for name, s in taken.items()}


class _Training:
    def __init__(
        self,
        config: RlConfig,
        envs: list[TaskEnv],
        eval_envs: list[TaskEnv],
        model: RewardModel | None,
    ):
        if len(envs) != config.n_envs:
            raise ConfigError(f"n_envs is {config.n_envs}, but {len(envs)} environments were given")
        self.config, self.envs, self.eval_envs = config, envs, eval_envs
        self.oracle = config.reward == "oracle"
        if self.oracle and not has_truth(envs[0]):
            raise ConfigError(f"env {config.env}: has no truth, so it has no oracle")
        self.judge = Judge(
            model or _make_model(config), config.psi, config.clip, config.failure, self.oracle,
            form=config.reward_form, discount=config.gamma,
        )  # fmt: skip
        if config.asynchronous and config.stale_rounds and config.algorithm == "ppo":
            raise ConfigError("PPO learns from its newest round: it needs --stale-rounds 0")
        self.judging = (
            InBackground(self.judge, config.stale_rounds)
            if config.asynchronous
            else InTurn(self.judge)
        )
        space = observation_space(envs[0], config.observation)
        self.agent = _make_agent(config, space, envs[0])
        _check_continued(config)
        self.run_ = Run(
            config.run_dir, config, {"env": config.env, "reward_model": self.judge.model.model_id}
        )
        self.clock = Clock()
        self.n_calls = 0
        """Questions asked for rewards, over all the run's processes."""

    def run(self) -> dict[str, Any]:
        """Train to the end; return the last evaluation."""
        try:
            return self._run()
        finally:
            self.judging.close()

    def _run(self) -> dict[str, Any]:
        config, began = self.config, time.monotonic()
        done = self._resume()
        final = False
        last: dict[str, Any] = {}
        with progress_bar("episodes", total=config.episodes, completed=done) as advance:
            if done == 0:
                self._film("start", 0)
            while done < config.episodes and not final:
                before, done = done, done + config.n_envs
                self._round(before)
                half = config.episodes // 2
                if before < half <= done:
                    self._film("middle", done)
                final = done >= config.episodes or self._is_late(began)
                if final or before // config.eval_every < done // config.eval_every:
                    last = self._evaluate(done)
                if final or before // config.checkpoint_every < done // config.checkpoint_every:
                    self._save(done)
                advance(config.n_envs)
            self._film("end", done)
        return last or next(m for m in reversed(self.run_.metrics()) if m["kind"] == "eval")

    def _resume(self) -> int:
        done = self.run_.resume_step
        kept = done * self.envs[0].max_steps
        self.run_.cut_metrics(kept)
        if done:
            folder = self.run_.checkpoints()[-1]
            self.agent.load(folder)
            self.n_calls = json.loads((folder / "counts.json").read_text())["reward_model_calls"]
        return done

    def _save(self, done: int) -> None:
        self._finish_judging(done)
        with self.run_.checkpoint(done) as folder:
            self.agent.save(folder)
            (folder / "counts.json").write_text(json.dumps({"reward_model_calls": self.n_calls}))

    def _is_late(self, began: float) -> bool:
        budget = self.config.max_minutes
        return budget is not None and time.monotonic() - began > 60 * budget

    def _round(self, done: int) -> None:
        """Collect ``n_envs`` episodes, have them judged, store them, learn."""
        config, agent = self.config, self.agent
        number = done // config.n_envs
        reseed(config.seed, number)
        seeds = _seeds(config.seed, done, config.n_envs)
        random = done < config.random_episodes
        with self.clock.part("collect"):
            rollouts = self._roll_out(self.envs, seeds, self._random if random else self._explore)
        for rollout in rollouts:
            self.clock.split("collect", rollout.seconds)
        unscaled = agent.scaling.mean is None and config.observation == "state"
        if unscaled:
            agent.scaling.fit(rollouts)
        learnable = agent.off_policy or not (random or unscaled)
        with self.clock.part("reward_model"):  # in the background: only what is waited for
            due = self.judging.submit(CollectedRound(done, seeds, rollouts, learnable))
        for one in due:
            self._take_in(one)
        with self.clock.part("learn"):
            if not random:
                agent.learn(
                    config.updates_per_episode * config.n_envs, remaining=1 - done / config.episodes
                )
        for one in due:
            self._log_round(one, done)

    def _finish_judging(self, done: int) -> None:
        """Take in what is outstanding: nothing lies between a checkpoint and its run."""
        if not self.config.asynchronous:
            return
        with self.clock.part("reward_model"):
            due = self.judging.finish()
        for one in due:
            self._take_in(one)
            self._log_round(one, done - self.config.n_envs)

    def _take_in(self, one: JudgedRound) -> None:
        """Keep a judged round, and hand the agent what it may learn from."""
        collected = one.collected
        self.n_calls += one.n_calls
        attempts = round_attempts(
            collected.first_episode, collected.seeds, collected.rollouts, one.judged
        )
        save_attempts(self.config.run_dir / "attempts", collected.first_episode, attempts)
        for rollout, judgement in zip(collected.rollouts, one.judged, strict=True):
            if judgement.rewards is not None and collected.learnable:
                self.agent.store(rollout, judgement.rewards)

    def _log_round(self, one: JudgedRound, now: int) -> None:
        """Write a round's line; ``now`` is the first episode of the round that is running."""
        config, first = self.config, one.collected.first_episode
        values = round_metrics(one.collected.rollouts, one.judged, config.judged_success_at)
        step = (first + config.n_envs) * self.envs[0].max_steps
        late: dict[str, float] = {}
        if config.asynchronous:
            late = {"stale_rounds": (now - first) // config.n_envs, "judging_s": one.seconds}
        self.run_.log(
            step,
            kind="episodes",
            episode=first + config.n_envs,
            reward_model_calls=self.n_calls,
            **values,
            **late,
            **self.clock.take(),
        )
        if config.tensorboard:
            self._tensorboard(step, values)

    def _tensorboard(self, step: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.config.run_dir / "tensorboard"))

    def _evaluate(self, done: int) -> dict[str, Any]:
        """The policy on fixed layouts; nothing of it reaches the learner."""
        self._finish_judging(done)
        reseed(self.config.seed, 2_000_000 + done)
        rollouts: list[Rollout] = []
        judged: list[Judgement] = []
        judge = replace(self.judge, failure="hold")  # a bad read must not end an evaluation
        with self.clock.part("evaluate"):
            for first in range(0, self.config.eval_episodes, self.config.n_envs):
                count = min(self.config.n_envs, self.config.eval_episodes - first)
                seeds = [_EVAL_SEED + first + k for k in range(count)]
                batch = self._roll_out(self.eval_envs, seeds, self._exploit)
                rollouts, judged = rollouts + batch, judged + judge(batch)
        at = self.config.judged_success_at
        values = {"episode": done, **eval_metrics(rollouts, judged, at)}
        self.run_.log(done * self.envs[0].max_steps, kind="eval", **values, **self.clock.take())
        return values

    def _film(self, name: str, done: int) -> None:
        """Record one evaluation episode with the model's reasoning under its frames."""
        self._finish_judging(done)
        reseed(self.config.seed, 1_000_000 + done)
        act = self._random if done == 0 else self._exploit
        kind, task = self.config.observation, self.config.task
        rollout = roll_out(self.eval_envs[:1], [_EVAL_SEED], act, kind=kind, task=task)[0]
        thinking = getattr(self.judge.model, "thinking", None)
        model = thinking() if thinking else self.judge.model
        score = model.score([rollout.with_truth() if self.oracle else rollout.shown()])[0]
        save_rollout(self.config.run_dir / "rollouts", name, rollout, score, done)

    def _roll_out(self, envs: list[TaskEnv], seeds: list[int], act: Any) -> list[Rollout]:
        config = self.config
        return roll_out(
            envs[: len(seeds)], seeds, act, kind=config.observation,
            every=config.score_every, task=config.task,
        )  # fmt: skip

    def _random(self, observations: list[Any]) -> np.ndarray:
        shape = self.envs[0].action_space.shape or ()
        return np.random.uniform(-1, 1, (len(observations), *shape)).astype(np.float32)  # noqa: NPY002

    def _explore(self, observations: list[Any]) -> np.ndarray:
        return self.agent.act(observations, deterministic=False)

    def _exploit(self, observations: list[Any]) -> np.ndarray:
        return self.agent.act(observations, deterministic=self.config.eval_deterministic)


def _check_continued(config: RlConfig) -> None:
    """Refuse to continue a run with settings that would make it another run."""
    path = config.run_dir / "config.json"
    if not path.exists():
        return
    stored, now = json.loads(path.read_text()), config.model_dump(mode="json")
    changed = [k for k in now if k not in _MAY_CHANGE and stored.get(k, now[k]) != now[k]]
    if config.episodes < stored.get("episodes", 0):
        changed.append("episodes")
    if changed:
        what = ", ".join(f"{k} (was {stored[k]!r}, now {now[k]!r})" for k in changed)
        raise ConfigError(
            f"run {config.run_dir}: was begun with other settings: {what}; continue it with the "
            "old ones, or choose another --run-dir"
        )


def _seeds(seed: int, first: int, count: int) -> list[int]:
    """Layout seeds of training episodes ``first`` .. ``first + count``; far from evaluation's."""
    numbers = np.random.SeedSequence([seed, 77]).generate_state(first + count)
    return [int(n) % _EVAL_SEED for n in numbers[first:]]
