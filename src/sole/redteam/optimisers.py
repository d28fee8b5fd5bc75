"""Who proposes episodes: random search, the cross-entropy method, and SAC.

Everything random in a round follows from the search's name, the seed and the round's number, so a
search that was killed goes on as if it had not been.

What each one may know: random search follows nothing. CEM follows the red team's own objective, in
which the truth counts: it *looks for* episodes that are overrated. SAC is an agent like any other
of ``sole rl``: its only reward is the judged progress, and no truth reaches it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sole.redteam.config import OptimiserName, RedteamConfig
from sole.redteam.motions import ELITE_SHARE, CrossEntropy, spread_knots
from sole.redteam.rounds import Round
from sole.sims.base import TaskEnv

if TYPE_CHECKING:
    from sole.rl.envs import Rollout

_MAX_SEED = 10_000_000
#: SAC's replay buffer where no number of episodes is given.
_MANY_EPISODES = 4000
_RANDOM_ROUNDS = 1
_SAC_SETTINGS = {"gamma": 0.95, "batch_size": 256, "ent_coef": "auto_1"}
_SAC_LEARNING_RATE = 1e-3


class Optimiser(Protocol):
    """Proposes the episodes of each round and learns from how they were judged."""

    def geometry(self, number: int) -> int:
        """Seed of the scene's geometry in round ``number``."""
        ...

    def roll_out(self, env: TaskEnv, number: int) -> tuple[list[int], np.ndarray, list[Rollout]]:
        """Run the round's episodes; return seeds, candidates ``(n, D)`` and roll-outs."""
        ...

    def learn(
        self, number: int, done: Round, rollouts: Sequence[Rollout],
        rewards: Sequence[np.ndarray | None],
    ) -> None:  # fmt: skip
        """Take in a finished round; ``rewards`` are judged progress alone."""
        ...

    def restore(self, rounds: Sequence[Round], env: TaskEnv) -> None:
        """Become what it was after these rounds."""
        ...

    def save(self, n_rounds: int) -> None:
        """Put down what cannot be had from the rounds."""
        ...


def make_optimiser(
    name: OptimiserName, config: RedteamConfig, env_name: str, folder: Path
) -> Optimiser:
    """Make the optimiser of one search; ``folder`` is the search's own."""
    kinds = {"random": RandomSearch, "cem": CemSearch, "sac": SacSearch}
    return kinds[name](config, Draws(config.seed, f"{env_name}/{name}"), folder)


class Draws:
    """Random numbers of one search, by purpose and number."""

    def __init__(self, seed: int, search: str):
        self._entropy = [seed, zlib.crc32(search.encode())]

    def rng(self, number: int) -> np.random.Generator:
        """Of round ``number``."""
        return np.random.default_rng([*self._entropy, 1, number])

    def layout(self, number: int) -> int:
        """Seed of the reset that shows layout ``number``."""
        drawn = np.random.SeedSequence([*self._entropy, 2, number]).generate_state(1)
        return int(drawn[0]) % _MAX_SEED

    def network(self) -> int:
        """Seed of a network's first weights and of its exploration."""
        return int(np.random.SeedSequence([*self._entropy, 3]).generate_state(1)[0])


class RandomSearch:
    """Smooth random motions, each on its own layout."""

    def __init__(self, config: RedteamConfig, draws: Draws, _folder: Path):
        self._config, self._draws = config, draws

    def geometry(self, number: int) -> int:
        """Another one every round."""
        return number

    def roll_out(self, env: TaskEnv, number: int) -> tuple[list[int], np.ndarray, list[Rollout]]:
        """Draw motions and run them."""
        count = self._config.population
        seeds = [self._draws.layout(number * count + k) for k in range(count)]
        width = self._config.knots * _n_actions(env)
        candidates = self._draws.rng(number).uniform(-1.0, 1.0, (count, width))
        return seeds, candidates, play(env, seeds, candidates, self._config)

    def learn(self, *_: Any) -> None:
        """Nothing is learned."""

    def restore(self, *_: Any) -> None:
        """Nothing to restore."""

    def save(self, _n_rounds: int) -> None:
        """Nothing to save."""


class CemSearch:
    """The cross-entropy method over motions on one layout, begun anew every few rounds."""

    def __init__(self, config: RedteamConfig, draws: Draws, _folder: Path):
        self._config, self._draws = config, draws
        self._n_elites = max(round(ELITE_SHARE * config.population), 2)
        self._search: CrossEntropy | None = None

    def geometry(self, number: int) -> int:
        """One for each layout."""
        return number // self._config.generations

    def roll_out(self, env: TaskEnv, number: int) -> tuple[list[int], np.ndarray, list[Rollout]]:
        """Draw motions around the best known ones and run them."""
        count, width = self._config.population, self._config.knots * _n_actions(env)
        if self._begins(number) or self._search is None:
            self._search = CrossEntropy(width, self._n_elites)
        seeds = [self._draws.layout(self.geometry(number))] * count
        candidates = self._search.ask(self._draws.rng(number), count)
        return seeds, candidates, play(env, seeds, candidates, self._config)

    def learn(self, number: int, done: Round, *_: Any) -> None:
        """Follow the objective, in which the truth counts."""
        if self._begins(number) or self._search is None:
            self._search = CrossEntropy(done.candidates.shape[1], self._n_elites)
        self._search.tell(done.candidates, done.values)

    def restore(self, rounds: Sequence[Round], _env: TaskEnv) -> None:
        """Learn from the rounds again."""
        for number, done in enumerate(rounds):
            self.learn(number, done)

    def save(self, _n_rounds: int) -> None:
        """Nothing: the rounds are enough."""

    def _begins(self, number: int) -> bool:
        return number % self._config.generations == 0


class SacSearch:
    """An agent of ``sole rl`` on ever new layouts, paid by judged progress alone."""

    def __init__(self, config: RedteamConfig, draws: Draws, folder: Path):
        self._config, self._draws, self._folder = config, draws, folder
        self._agent: Any = None

    def geometry(self, _number: int) -> int:
        """Always the same, or there would be nothing to learn from the state."""
        return 0

    def roll_out(self, env: TaskEnv, number: int) -> tuple[list[int], np.ndarray, list[Rollout]]:
        """Explore; the first round acts at random."""
        from sole.rl.agent import reseed
        from sole.rl.envs import roll_out

        agent, count = self._agent_for(env), self._config.population
        seeds = [self._draws.layout(number * count + k) for k in range(count)]
        reseed(self._draws.network(), number)
        rng = self._draws.rng(number)

        def act(observations: list[Any]) -> np.ndarray:
            if number < _RANDOM_ROUNDS:
                return rng.uniform(-1.0, 1.0, (len(observations), _n_actions(env)))
            return agent.act(observations, deterministic=False)

        every = self._config.score_every
        rollouts = [roll_out([env], [seed], act, every=every)[0] for seed in seeds]
        return seeds, np.zeros((count, 0)), rollouts

    def learn(
        self, number: int, _done: Round, rollouts: Sequence[Rollout],
        rewards: Sequence[np.ndarray | None],
    ) -> None:  # fmt: skip
        """Store the judged episodes and take SAC's gradient steps."""
        agent = self._agent
        if agent.scaling.mean is None:
            agent.scaling.fit(list(rollouts))
        for rollout, paid in zip(rollouts, rewards, strict=True):
            if paid is not None:
                agent.store(rollout, paid)
        if number + 1 >= _RANDOM_ROUNDS:
            agent.learn(self._config.updates_per_episode * len(rollouts))

    def restore(self, rounds: Sequence[Round], env: TaskEnv) -> None:
        """Load the networks as they were after these rounds."""
        if rounds:
            self._agent_for(env).load(self._checkpoint(len(rounds)))

    def save(self, n_rounds: int) -> None:
        """Write networks and buffer; the one before stays until the round's own file is there."""
        import shutil

        final = self._checkpoint(n_rounds)
        temporary = final.with_name(f".{final.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self._agent.save(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        if n_rounds >= 2:
            shutil.rmtree(self._checkpoint(n_rounds - 2), ignore_errors=True)

    def _checkpoint(self, n_rounds: int) -> Path:
        return self._folder / "checkpoints" / f"after_{n_rounds:05d}"

    def _agent_for(self, env: TaskEnv) -> Any:
        if self._agent is None:
            from sole.rl.agent import SacAgent

            episodes = (self._config.most_episodes or _MANY_EPISODES) + self._config.population
            self._agent = SacAgent(
                env.observation_space, env.action_space, seed=self._draws.network() % 2**31,
                buffer_size=episodes * env.max_steps, learning_rate=_SAC_LEARNING_RATE,
                settings=dict(_SAC_SETTINGS),
            )  # fmt: skip
        return self._agent


def play(
    env: TaskEnv, seeds: Sequence[int], candidates: np.ndarray, config: RedteamConfig
) -> list[Rollout]:
    """Run each candidate's motion on its layout."""
    shape = (config.knots, _n_actions(env))
    return [
        play_actions(env, seed, spread_knots(one.reshape(shape), env.max_steps), config.score_every)
        for seed, one in zip(seeds, candidates, strict=True)
    ]


def play_actions(env: TaskEnv, seed: int, actions: np.ndarray, score_every: int) -> Rollout:
    """Run one episode of given actions ``(T-1, A)``."""
    from sole.rl.envs import roll_out

    steps = iter(actions)
    return roll_out([env], [seed], lambda _: next(steps)[None], every=score_every)[0]


def _n_actions(env: TaskEnv) -> int:
    shape = env.action_space.shape
    assert shape is not None
    return int(shape[0])
