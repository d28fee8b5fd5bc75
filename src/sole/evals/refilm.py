"""Simulated episodes filmed again with a changed scene: the attacks that pictures cannot make.

The same policy, seed and random numbers act once more, so the same actions follow; beside the usual
pictures the cameras draw the changed scenes (:mod:`sole.sims.restage`). That the truth is the same
at every frame is checked, and a difference is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sole.data.episode import Episode
from sole.errors import DataError
from sole.evals.attacks import attack_generator
from sole.sims import restage
from sole.sims.base import TaskEnv
from sole.sims.registry import make_env
from sole.synth.collect import FINE_REPEAT, FRAME_HZ
from sole.synth.policies import ALL_POLICIES

SIM_ATTACKS = ("lookalike_sim", "clutter_sim", "camera_sim", "lighting_sim")
#: An attack and its strength.
Take = tuple[str, float]
Views = dict[str, np.ndarray]

_SAME_POINTS = 1e-3


def can_refilm(episode: Episode) -> bool:
    """Whether the episode can be simulated again: its task, policy and seed say how."""
    known = restage.can_restage(episode.env_name) and episode.policy in ALL_POLICIES
    return known and len({f.shape[1:3] for f in episode.views.values()}) == 1


class Refilm:
    """Films episodes again; one simulator is kept, so episodes of a task should come together.

    Args:
        seed: With an episode's own seed and the attack's name it decides every draw.
    """

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._env: TaskEnv | None = None
        self._key: tuple[str, int, int] | None = None

    def film(self, episode: Episode, takes: Sequence[Take]) -> dict[Take, Episode]:
        """The episode under each attack, with the same truth.

        Args:
            episode: :func:`can_refilm` holds for it.
            takes: Attacks of :data:`SIM_ATTACKS` with strengths in (0, 1].

        Raises:
            DataError: If the simulator does something else now than it did then.
        """
        env = self._environment(episode)
        per_frame = max(round(env.control_hz / FRAME_HZ), 1)
        n_steps = (episode.n_frames - 1) * per_frame
        finished = []
        if any(name == "lookalike_sim" for name, _ in takes):
            finished = restage.finished_object(env, episode.seed, n_steps)
        env.reset(seed=episode.seed)
        changes = self._changes(env, episode, takes, finished)
        shots = {take: [_shot(env, change)] for take, change in changes.items()}
        progress = [env.truth()[0]]
        rng = np.random.default_rng([episode.seed, *episode.policy.encode()])
        acting = ALL_POLICIES[episode.policy][0](env, rng, n_steps)
        for _ in range(episode.n_frames - 1):
            for _ in range(per_frame):
                env.step(np.clip(np.asarray(next(acting), np.float32), -1.0, 1.0))
            progress.append(env.truth()[0])
            for take, change in changes.items():
                shots[take].append(_shot(env, change))
        _check_same(episode, np.array(progress))
        return {take: replace(episode, views=_stacked(views)) for take, views in shots.items()}

    def close(self) -> None:
        """Free the simulator."""
        if self._env is not None:
            self._env.close()
        self._env = self._key = None

    def _changes(
        self, env: TaskEnv, episode: Episode, takes: Sequence[Take],
        finished: Sequence[restage.Shape],
    ) -> dict[Take, restage.Change]:  # fmt: skip
        start = restage.object_shapes(env)
        made = {}
        for name, strength in takes:
            rng = attack_generator(name, episode.seed, self._seed)
            if name == "lookalike_sim":
                made[name, strength] = restage.twins(finished, start, strength, rng)
            elif name == "clutter_sim":
                made[name, strength] = restage.clutter(start, strength, rng)
            elif name == "camera_sim":
                made[name, strength] = restage.shifted_camera(strength, rng)
            else:
                made[name, strength] = restage.relit(strength, rng)
        return made

    def _environment(self, episode: Episode) -> TaskEnv:
        """As :func:`sole.synth.collect.collect_episode` makes it."""
        size_px = int(next(iter(episode.views.values())).shape[1])
        of_worlds = episode.env_name.startswith("worlds/")
        key = (episode.env_name, size_px, episode.seed if of_worlds else 0)
        if self._env is None or key != self._key:
            self.close()
            how = {"seed": episode.seed} if of_worlds else {
                "action_repeat": FINE_REPEAT, "max_steps": 10_000,
            }  # fmt: skip
            self._env, self._key = make_env(episode.env_name, size_px=size_px, **how), key
        return self._env


def _shot(env: TaskEnv, change: restage.Change) -> Views:
    with restage.restaged(env, change):
        return env.views()


def _stacked(shots: Sequence[Mapping[str, np.ndarray]]) -> Views:
    return {name: np.stack([shot[name] for shot in shots]) for name in shots[0]}


def _check_same(episode: Episode, progress: np.ndarray) -> None:
    assert episode.truth is not None
    off = float(np.abs(progress - episode.truth.true_progress).max())
    if off > _SAME_POINTS:
        raise DataError(
            f"{episode.env_name}, {episode.policy}, seed {episode.seed}: simulated again, its true "
            f"progress differs by up to {off:.1f} points; the simulator or the policies have "
            "changed since: delete --cache, or leave out " + ", ".join(SIM_ATTACKS)
        )
