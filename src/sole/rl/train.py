"""``sole rl``: act, have the episodes judged, learn; report judged against true success.

One round is ``n_envs`` episodes. Everything random in a round follows from (seed, round), and
checkpoints lie between rounds, so a killed run that is resumed ends like one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sole.config import parse_config
from sole.console import progress_bar, stderr, stdout
from sole.data.attempts import save_attempts
from sole.errors import ConfigError
from sole.rewarders.base import RewardModel
from sole.rewarders.beside import in_way
from sole.rewarders.calibrated import success_at
from sole.rl.agent import reseed
from sole.rl.choice import JudgedEvaluation, best_judged, has_plateaued
from sole.rl.clock import EVALUATE_SCORE, PARTS, Clock, seconds_per_1000_steps
from sole.rl.config import RlConfig
from sole.rl.env_reward import ENV, check_env, check_settings
from sole.rl.envs import Rollout, has_truth, observation_space, roll_out
from sole.rl.eye import EyeView
from sole.rl.judge import Judge, Judgement
from sole.rl.judging import CollectedRound, InBackground, InTurn, JudgedRound
from sole.rl.make import make_agent, make_envs, make_model
from sole.rl.record import eval_metrics, round_attempts, round_metrics, save_rollout
from sole.run import Run, check_model, make_folder, newest_step
from sole.sims.base import TaskEnv

_EVAL_SEED, _CHOSEN_SEED = 10_000_000, 11_000_000
#: A run may be continued with another value of these; ``episodes`` may only grow.
_MAY_CHANGE = frozenset({"run_dir", "episodes", "max_minutes", "tensorboard", "threads"})


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole rl``."""
    config = parse_config(RlConfig, argv, "sole rl")
    last = train(config)
    _show_costs(config.run_dir)
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


def _show_costs(run_dir: Path) -> None:
    """Say on stderr where the time went; the run's folder holds it round by round."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    spent = seconds_per_1000_steps([line for line in lines if line["kind"] == "episodes"])
    parts = ", ".join(f"{part} {spent[part]:.1f}" for part in PARTS)
    stderr.print(f"seconds per 1,000 environment steps: {parts}", markup=False)


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
    check_settings(config)
    torch.set_num_threads(config.threads)
    if envs:
        return _Training(config, list(envs), list(envs), model).run()
    return _Training(config, make_envs(config), make_envs(config), model).run()


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
        if config.reward == ENV:
            check_env(config.env, envs[0])
        self.judge = Judge(
            model or make_model(config), config.psi, config.clip, config.failure, self.oracle,
            form=config.reward_form, caution=config.caution, gate_points=config.gate_points,
            own_reward=config.reward == ENV,
        )  # fmt: skip
        if config.asynchronous and config.stale_rounds and config.algorithm == "ppo":
            raise ConfigError("PPO learns from its newest round: it needs --stale-rounds 0")
        self.judging = (
            InBackground(self.judge, config.stale_rounds)
            if config.asynchronous
            else InTurn(self.judge)
        )
        space = observation_space(envs[0], self._kind, self._picture_px)
        self.see = EyeView(space, config.eye_grid) if config.observation == "eye" else None
        self.agent = make_agent(config, self.see.space if self.see else space, envs[0])
        make_folder(config.run_dir)
        check_continued(config)
        check_model(config.run_dir, self.judge.model.model_id)
        self.judged_success_at = success_at(self.judge.model, config.judged_success_at)
        if self.see:
            self.see.check_same(config.run_dir)
        self.run_ = Run(
            config.run_dir, config,
            {"env": config.env, "reward_model": self.judge.model.model_id,
             "judged_success_at": self.judged_success_at,
             **({"eye": self.see.eye_id} if self.see else {})},
        )  # fmt: skip
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
        config, agent, began = self.config, self.agent, time.monotonic()
        done = self._resume()
        final = done > 0 and self._stands_still()
        last: dict[str, Any] = {}
        with progress_bar("episodes", total=config.episodes, completed=done) as advance:
            if done == 0:
                self._film("start", 0)
            while done < config.episodes and not final:
                before, done = done, done + config.n_envs
                agent.schedule(1 - before / config.episodes)
                self._round(before)
                half = config.episodes // 2
                if before < half <= done:
                    self._film("middle", done)
                final = done >= config.episodes or self._is_late(began)
                if final or before // config.eval_every < done // config.eval_every:
                    last = self._evaluate(done)
                    final = final or self._stands_still()
                if final or before // config.checkpoint_every < done // config.checkpoint_every:
                    self._save(done)
                advance(config.n_envs)
            if config.keep == "judged":
                last = self._keep_best(done) or last
            self._film("end", done)
        return last or self._evaluations()[-1]

    def _evaluations(self) -> list[dict[str, Any]]:
        return [line for line in self.run_.metrics() if line["kind"] == "eval"]

    def _stands_still(self) -> bool:
        """Whether the judged outcome has not risen for as long as the settings allow."""
        patience = self.config.plateau
        return patience is not None and has_plateaued(self._judged_evaluations(), patience)

    def _judged_evaluations(self) -> list[JudgedEvaluation]:
        lines = [line for line in self._evaluations() if "chosen_episode" not in line]
        return [JudgedEvaluation.of(line) for line in lines]

    def _keep_best(self, done: int) -> dict[str, Any] | None:
        """Go back to the policy that was judged best; it is reported on layouts of their own."""
        chosen = self._evaluations()[-1].get("chosen_episode")
        best = best_judged(self._judged_evaluations()).episode if chosen is None else chosen
        self.agent.load_policy(self._policy_folder(best))
        return None if chosen else self._evaluate(done, _CHOSEN_SEED, chosen_episode=best)

    def _policy_folder(self, episode: int) -> Path:
        return self.config.run_dir / "policies" / f"step_{episode:08d}"

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
        unscaled = agent.scaling.mean is None and config.observation != "pixels"
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
        values = round_metrics(one.collected.rollouts, one.judged, self.judged_success_at)
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

    def _evaluate(self, done: int, first_seed: int = _EVAL_SEED, **notes: int) -> dict[str, Any]:
        """The policy on fixed layouts; nothing of it reaches the learner."""
        self._finish_judging(done)
        reseed(self.config.seed, 2_000_000 + done)
        rollouts: list[Rollout] = []
        judged: list[Judgement] = []
        judge = replace(self.judge, failure="hold")  # a bad read must not end an evaluation
        for first in range(0, self.config.eval_episodes, self.config.n_envs):
            count = min(self.config.n_envs, self.config.eval_episodes - first)
            seeds = [first_seed + first + k for k in range(count)]
            with self.clock.part("evaluate"):
                batch = self._roll_out(self.eval_envs, seeds, self._exploit)
            with self.clock.part(EVALUATE_SCORE):
                judged += judge(batch)
            rollouts += batch
        measured = eval_metrics(rollouts, judged, self.judged_success_at)
        values = {"episode": done, **notes, **measured}
        if self.config.keep == "judged" and not notes:
            self._policy_folder(done).mkdir(parents=True, exist_ok=True)
            self.agent.save_policy(self._policy_folder(done))
        self.run_.log(done * self.envs[0].max_steps, kind="eval", **values, **self.clock.take())
        return values

    def _film(self, name: str, done: int) -> None:
        """Record one evaluation episode with the model's reasoning under its frames."""
        self._finish_judging(done)
        reseed(self.config.seed, 1_000_000 + done)
        act = self._random if done == 0 else self._exploit
        rollout = self._roll_out(self.eval_envs, [_EVAL_SEED], act, every=1)[0]
        model = in_way(self.judge.model, "thinking")
        score = model.score([rollout.with_truth() if self.oracle else rollout.shown()])[0]
        save_rollout(self.config.run_dir / "rollouts", name, rollout, score, done)

    def _roll_out(
        self, envs: list[TaskEnv], seeds: list[int], act: Any, every: int | None = None
    ) -> list[Rollout]:
        return roll_out(
            envs[: len(seeds)], seeds, act, kind=self._kind, task=self.config.task,
            every=every or self.config.score_every, picture_px=self._picture_px, see=self.see,
            own_reward=self.judge.own_reward,
            pictured=every is not None or self.judge.minds_pictures,
        )  # fmt: skip

    @property
    def _kind(self) -> str:
        """What the environments show; the eye looks at their full pictures."""
        return "state" if self.config.observation == "state" else "pixels"

    @property
    def _picture_px(self) -> int | None:
        return self.config.picture_px if self.config.observation == "pixels" else None

    def _random(self, observations: list[Any]) -> np.ndarray:
        shape = self.envs[0].action_space.shape or ()
        return np.random.uniform(-1, 1, (len(observations), *shape)).astype(np.float32)  # noqa: NPY002

    def _explore(self, observations: list[Any]) -> np.ndarray:
        return self.agent.act(observations, deterministic=False)

    def _exploit(self, observations: list[Any]) -> np.ndarray:
        return self.agent.act(observations, deterministic=self.config.eval_deterministic)


def check_continued(config: RlConfig) -> None:
    """Refuse to continue a run with settings that would make it another run.

    A setting that did not exist when the run was begun had its default.

    Raises:
        ConfigError: If a setting differs from what the run was begun with.
    """
    path = config.run_dir / "config.json"
    if not path.exists():
        return
    now = config.model_dump(mode="json")
    defaults = RlConfig(env=config.env, run_dir=config.run_dir).model_dump(mode="json")
    stored = {**defaults, **json.loads(path.read_text())}
    # Its config.json keeps what it was begun with; a later call may have trained it for longer.
    had = newest_step(config.run_dir)
    changed = [k for k in now if k not in _MAY_CHANGE and stored[k] != now[k]]
    if config.episodes < stored["episodes"] or whole_rounds(config) < had:
        stored["episodes"] = max(stored["episodes"], had)
        changed.append("episodes")
    if changed:
        what = ", ".join(f"{k} (was {stored[k]!r}, now {now[k]!r})" for k in changed)
        raise ConfigError(
            f"run {config.run_dir}: was begun with other settings: {what}; continue it with the "
            "old ones, or choose another --run-dir"
        )


def whole_rounds(config: RlConfig) -> int:
    """Episodes that a run of these settings plays: all environments play in every round.

    Example:
        >>> whole_rounds(RlConfig(env="fake/point", run_dir=Path("run"), episodes=10, n_envs=4))
        12
    """
    return math.ceil(config.episodes / config.n_envs) * config.n_envs


def _seeds(seed: int, first: int, count: int) -> list[int]:
    """Layout seeds of training episodes ``first`` .. ``first + count``; far from evaluation's."""
    numbers = np.random.SeedSequence([seed, 77]).generate_state(first + count)
    return [int(n) % _EVAL_SEED for n in numbers[first:]]
