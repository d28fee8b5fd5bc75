"""One refinement: clone, then iterate acting, judging and learning; before and after by truth.

Everything random in an iteration follows from (seed, iteration), and checkpoints lie between
iterations, so a killed run ends like an unbroken one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sole.errors import ConfigError
from sole.refine.cloning import ClonedPolicy, clone, expert
from sole.refine.config import RefineConfig, as_begun
from sole.refine.paired import sign_flip_p_value
from sole.refine.policy import Improver, make_improver
from sole.rewarders.base import RewardModel
from sole.rl.agent import reseed
from sole.rl.clock import Clock
from sole.rl.closed_loop import Decide, LiveEpisode, play
from sole.rl.completion import CompletionGuard, look_again
from sole.rl.env_reward import ENV, check_env
from sole.rl.envs import has_truth
from sole.rl.judge import Judge
from sole.run import Run, check_model, locked, make_folder, write_atomically
from sole.sims.base import TaskEnv

RESULT_FILE = "result.json"
_EVAL_SEED, _EXPERT_SEED = 10_000_000, 20_000_000


@dataclass(frozen=True)
class Refined:
    """What one run came to; each list has one entry for each evaluation layout.

    Attributes:
        task, seed: Which run it was.
        before, after: True success of the clone, and of the refined policy.
        expert_success: Share of the expert's episodes that succeeded.
        p_value: Of the gain on these layouts alone; the policies were trained once.
        ended_early: Share of the training episodes that were judged complete.
        false_endings: Share of those that were not truly complete.
    """

    task: str
    seed: int
    before: list[bool]
    after: list[bool]
    expert_success: float
    p_value: float
    ended_early: float
    false_endings: float | None

    @property
    def gain(self) -> float:
        """Share of true success won."""
        return float(np.mean(self.after) - np.mean(self.before))


def run_folder(config: RefineConfig, task: str, seed: int) -> Path:
    """Where one refinement lies."""
    return config.out / "runs" / task.replace("/", ".") / f"seed{seed}"


def refine(
    config: RefineConfig, task: str, seed: int, envs: Sequence[TaskEnv], model: RewardModel
) -> Refined:
    """Run, or continue, one refinement; a finished one is only read.

    Another process that is at it is waited for.

    Raises:
        ConfigError: If the environment has no truth and so no expert, the folder holds a run with
            other settings, or its expert never succeeds.
    """
    folder = run_folder(config, task, seed)
    make_folder(folder)
    with locked(folder / RESULT_FILE):
        return _refine(config, task, seed, envs, model)


def _refine(
    config: RefineConfig, task: str, seed: int, envs: Sequence[TaskEnv], model: RewardModel
) -> Refined:
    folder = run_folder(config, task, seed)
    check_continued(folder, config)
    check_model(folder, model.model_id)
    if (folder / RESULT_FILE).exists():
        return Refined(**json.loads((folder / RESULT_FILE).read_text())["refined"])
    if not has_truth(envs[0]):
        raise ConfigError(f"task {task}: an environment of your own has no scripted expert")
    if config.reward == ENV:
        check_env(task, envs[0])
    torch.set_num_threads(config.threads)
    refined = _Refinement(config, task, seed, list(envs), model, folder).run()
    result = {"config": config.model_dump(mode="json"), "refined": asdict(refined)}
    write_atomically(folder / RESULT_FILE, json.dumps(result, indent=1))
    return refined


#: Settings that do not change what a run is.
_NOT_COMPARED = frozenset(
    {
        "tasks",
        "out",
        "seeds",
        "first_seed",
        "raw",
        "figures",
        "prefix",
        "print_json",
        "threads",
        "jobs",
    }
)


def compared(config: RefineConfig) -> dict[str, Any]:
    """The settings that make a run what it is."""
    settings = config.model_dump(mode="json")
    return {name: value for name, value in settings.items() if name not in _NOT_COMPARED}


def check_continued(folder: Path, config: RefineConfig) -> None:
    """Refuse to go on with settings that would make it another run.

    Raises:
        ConfigError: If one differs from what the run was begun with.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    defaults = RefineConfig(tasks=config.tasks, out=config.out).model_dump(mode="json")
    stored = {**defaults, **as_begun(json.loads(path.read_text()))}
    changed = [
        f"{k} (was {stored[k]!r}, now {value!r})"
        for k, value in compared(config).items()
        if stored[k] != value
    ]
    if changed:
        raise ConfigError(
            f"run {folder}: was begun with other settings: {', '.join(changed)}; "
            "take the old ones, or another --out"
        )


class _Refinement:
    def __init__(
        self,
        config: RefineConfig,
        task: str,
        seed: int,
        envs: list[TaskEnv],
        model: RewardModel,
        folder: Path,
    ):
        self.config, self.task, self.seed, self.envs = config, task, seed, envs
        self.judge = Judge(
            model, privileged=config.reward == "oracle", form=config.reward_form,
            discount=config.gamma, caution=config.caution, own_reward=config.reward == ENV,
        )  # fmt: skip
        self.run_ = Run(folder, config, {"task": task, "reward_model": model.model_id})
        self.clock = Clock()

    def run(self) -> Refined:
        demos = self._demonstrations()
        base, error = self._clone(demos)
        capacity = (self.config.iterations * self.config.n_envs + len(demos)) * self._horizon
        pairs = _pairs(demos)
        improver = make_improver(self.config, base, capacity, self.seed, pairs)
        done = self.run_.resume_step
        self.run_.cut_metrics(done or -1)  # without a checkpoint everything is done again
        if done:
            improver.load(self.run_.checkpoints()[-1])
        else:
            before = self._evaluate(_clone_alone(base))
            self.run_.log(0, kind="clone", true_success=float(np.mean(before)), error=error,
                          outcomes=json.dumps(before), **self.clock.take())  # fmt: skip
            self._store_expert(improver, demos)
        for iteration in range(done, self.config.iterations):
            self._iterate(improver, iteration)
            last = iteration + 1 == self.config.iterations
            if last or (iteration + 1) % self.config.checkpoint_every == 0:
                with self.run_.checkpoint(iteration + 1) as folder:
                    improver.save(folder)
        after = self._evaluate(partial(improver.decide, explore=False))
        return self._result(demos, after)

    @property
    def _horizon(self) -> int:
        return self.envs[0].max_steps

    def _demonstrations(self) -> list[LiveEpisode]:
        """The expert's episodes, judged like all others."""
        config, demos = self.config, list[LiveEpisode]()
        reseed(self.seed, 3_000_000)
        while len(demos) < config.expert_episodes:
            count = min(config.n_envs, config.expert_episodes - len(demos))
            envs = self.envs[:count]
            first = _EXPERT_SEED + 1000 * self.seed + len(demos)
            decide = expert(envs, config.expert_noise, first)
            with self.clock.part("expert"):
                demos += self._play(envs, range(first, first + count), decide)
        if not any(any(demo.true_success) for demo in demos):
            raise ConfigError(f"task {self.task}: its expert succeeded in none of {len(demos)}")
        return demos

    def _clone(self, demos: Sequence[LiveEpisode]) -> tuple[ClonedPolicy, float]:
        states, actions = _pairs(demos)
        with self.clock.part("clone"):
            return clone(states, actions, self.config.clone_updates, self.seed)

    def _play(
        self,
        envs: Sequence[TaskEnv],
        seeds: Sequence[int],
        decide: Decide,
        *,
        guarded: bool = False,
    ) -> list[LiveEpisode]:
        ends = self.config.end_on_completion and not self.judge.own_reward  # nothing is judged
        guard = self._guard if guarded and ends else None
        every = self.config.score_every
        return play(envs, seeds, decide, self.judge, every=every, guarded=guard)

    def _guard(self, task: str) -> CompletionGuard:
        config, look = self.config, None
        if config.second_look_copies and self.judge.looks:
            look = look_again(
                self.judge.model, task, config.completion_at, config.second_look_copies
            )
        return CompletionGuard(config.completion_at, config.completion_in_a_row, look)

    def _store_expert(self, improver: Improver, demos: Sequence[LiveEpisode]) -> None:
        """Consequences belong to what was carried out, noise included, not to what was meant."""
        if not self.config.keep_expert:
            return
        for demo in demos:
            states = np.stack(demo.observations[:-1])
            demo.decisions = list(improver.decisions_for(states, np.stack(demo.actions)))
            self._store(improver, demo)

    def _store(self, improver: Improver, episode: LiveEpisode) -> bool:
        judgement = episode.judgement(self.judge)
        if judgement.rewards is None or not episode.decisions:
            return False
        decisions, seen = np.stack(episode.decisions), improver.seen(episode.observations)
        rewards = judgement.rewards - improver.cost(decisions)
        for first, end in runs_of(~np.isnan(decisions).any(1)):
            improver.agent.store_steps(
                seen[first : end + 1], decisions[first:end], rewards[first:end],
                completed=episode.completed and end == len(decisions),
            )  # fmt: skip
        return True

    def _iterate(self, improver: Improver, iteration: int) -> None:
        """Act and judge at once, then learn."""
        config = self.config
        reseed(self.seed, iteration)
        asked = self.judge.model.costs.model_calls
        seeds = np.random.SeedSequence([self.seed, 99, iteration]).generate_state(config.n_envs)
        with self.clock.part("act_and_judge"):
            episodes = self._play(
                self.envs, [int(s) % _EVAL_SEED for s in seeds],
                partial(improver.decide, explore=True), guarded=True,
            )  # fmt: skip
        stored = [self._store(improver, episode) for episode in episodes]
        with self.clock.part("learn"):
            improver.learn(critic_only=iteration < config.warm_up)
        self.run_.log(
            iteration + 1, kind="iteration", stored=sum(stored), **_summary(episodes, self.judge),
            reward_model_calls=self.judge.model.costs.model_calls - asked, **self.clock.take(),
        )  # fmt: skip

    def _evaluate(self, decide: Callable[[np.ndarray], Any]) -> list[bool]:
        """True success on the fixed layouts; nothing is rendered or judged."""
        outcomes: list[bool] = []
        n = self.config.eval_episodes
        with self.clock.part("evaluate"):
            for first in range(0, n, len(self.envs)):
                envs = self.envs[: n - first]
                outcomes += true_outcomes(envs, range(_EVAL_SEED + first, _EVAL_SEED + n), decide)
        return outcomes

    def _result(self, demos: Sequence[LiveEpisode], after: list[bool]) -> Refined:
        lines = self.run_.metrics()
        before = json.loads(next(m for m in lines if m["kind"] == "clone")["outcomes"])
        rounds = [m for m in lines if m["kind"] == "iteration"]
        ended = sum(m["ended_early"] for m in rounds)
        played = self.config.n_envs * len(rounds)
        gains = np.asarray(after, float) - np.asarray(before, float)
        self.run_.log(self.config.iterations, kind="after", true_success=float(np.mean(after)),
                      **self.clock.take())  # fmt: skip
        return Refined(
            self.task, self.seed, before, after,
            float(np.mean([any(demo.true_success) for demo in demos])),
            sign_flip_p_value(gains),
            ended / played if played else 0.0,
            sum(m["false_endings"] for m in rounds) / ended if ended else None,
        )  # fmt: skip


def true_outcomes(
    envs: Sequence[TaskEnv], seeds: Sequence[int], decide: Callable[[np.ndarray], Any]
) -> list[bool]:
    """Whether each episode ever succeeded, by the simulator; the first seeds, one for each env."""
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=False)]
    succeeded = [env.truth()[1] for env in envs]
    for _ in range(envs[0].max_steps):
        actions = decide(np.stack(seen))[1]
        seen = [env.step(action)[0] for env, action in zip(envs, actions, strict=True)]
        succeeded = [was or env.truth()[1] for was, env in zip(succeeded, envs, strict=True)]
    return [bool(one) for one in succeeded]


def runs_of(flags: np.ndarray) -> list[tuple[int, int]]:
    """Where the flags ``(T,)`` are set without a gap: first index, and the one after the last.

    Example:
        >>> runs_of(np.array([True, True, False, True]))
        [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _clone_alone(base: ClonedPolicy) -> Decide:
    def decide(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        actions = base.act(states)
        return actions, actions

    return decide


def _pairs(demos: Sequence[LiveEpisode]) -> tuple[np.ndarray, np.ndarray]:
    """All states and what the expert meant to do in them."""
    states = np.concatenate([np.stack(demo.observations[:-1]) for demo in demos])
    return states, np.concatenate([np.stack(demo.decisions) for demo in demos])


def _summary(episodes: Sequence[LiveEpisode], judge: Judge) -> dict[str, float | None]:
    """One iteration's counts; what is true is for reports only."""
    ended = [episode for episode in episodes if episode.completed]
    last = [e.judgement(judge).judged_progress[-1] for e in episodes]
    known = [float(p) for p in last if not np.isnan(p)]
    unknown = None if judge.own_reward else 0.0
    return {
        "ended_early": len(ended),
        "false_endings": sum(not e.true_success[-1] for e in ended),
        "second_looks_refused": sum(e.n_refused for e in episodes),
        "true_success": float(np.mean([any(e.true_success) for e in episodes])),
        "judged_progress_final": float(np.mean(known)) if known else unknown,
        "steps": sum(len(e.decisions) for e in episodes),
    }
