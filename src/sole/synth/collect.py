"""Runs one policy in one simulated task and records an :class:`Episode` with its truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sole.data.episode import Episode, Facts, Truth
from sole.sims.base import TaskEnv
from sole.sims.registry import make_env
from sole.synth.policies import ALL_POLICIES

#: Frames per second of a recorded episode: an agent's decision (6 Meta-World steps) is one frame.
FRAME_HZ = 80 / 6
#: Meta-World's experts need finer control than agents get, so they decide twice per frame.
FINE_REPEAT = 3
_UNSEEN_PX = 32

_MADE: dict[tuple[str, int], TaskEnv] = {}


def collect_episode(
    env_name: str,
    policy: str,
    seed: int,
    *,
    size_px: int = 96,
    n_frames: int = 26,
    options: dict[str, Any] | None = None,
    landmarks: bool = False,
) -> Episode:
    """Record one episode; the same arguments give the same episode.

    Args:
        env_name: Full name, for example ``metaworld/drawer-open``.
        policy: A key of :data:`sole.synth.policies.ALL_POLICIES`.
        seed: Seeds the task's layout and the policy's random numbers.
        size_px: Height and width of the frames.
        n_frames: Frames recorded, the first one before any action.
        options: Passed to ``reset`` (``task``: a paraphrase, ``look``: a seed of colours).
        landmarks: Also note where things are in the outside picture, in ``extra["landmarks"]``,
            where the suite can tell (``worlds``).
    """
    env = _environment(env_name, size_px, seed)
    tell = getattr(env, "landmarks", None) if landmarks else None
    views, truths, actions, proprio, places = [], [], [], [], []
    for action in _acted(env, policy, seed, n_frames, options):
        if action is not None:
            actions.append(action)
        views.append(env.views())
        truths.append(env.truth())
        proprio.append(env.proprio())
        if tell is not None:
            places.append(tell())
    return pack_episode(
        env, views, truths, actions, proprio,
        env_name=env_name, policy=policy, seed=seed, fps=env.control_hz / _per_frame(env),
        extra={"landmarks": places} if places else {},
    )  # fmt: skip


def collect_truth(
    env_name: str,
    policy: str,
    seed: int,
    *,
    n_frames: int = 26,
    options: dict[str, Any] | None = None,
) -> Truth:
    """What :func:`collect_episode` would call the truth, without drawing a picture."""
    env = _environment(env_name, _UNSEEN_PX, seed)
    return _truth([env.truth() for _ in _acted(env, policy, seed, n_frames, options)])


def close_simulators(keep: str = "") -> None:
    """Free the simulators that are kept for further episodes of their tasks; LIBERO's are large.

    Args:
        keep: Full name of a task whose simulator stays.
    """
    for key in [key for key in _MADE if key[0] != keep]:
        _MADE.pop(key).close()


def _acted(
    env: TaskEnv, policy: str, seed: int, n_frames: int, options: dict[str, Any] | None
) -> Iterator[np.ndarray | None]:
    """Act; stop at every recorded moment with the action that led there, None for the first."""
    rng = np.random.default_rng([seed, *policy.encode()])
    env.reset(seed=seed, options=options)
    per_frame = _per_frame(env)
    acting = ALL_POLICIES[policy][0](env, rng, (n_frames - 1) * per_frame)
    yield None
    for _ in range(n_frames - 1):
        for _ in range(per_frame):
            action = np.clip(np.asarray(next(acting), np.float32), -1.0, 1.0)
            env.step(action)
        yield action


def _per_frame(env: TaskEnv) -> int:
    return max(round(env.control_hz / FRAME_HZ), 1)


def pack_episode(
    env: TaskEnv,
    views: Sequence[Mapping[str, np.ndarray]],
    moments: Sequence[tuple[float, bool, Facts]],
    actions: Sequence[np.ndarray],
    proprio: Sequence[np.ndarray],
    **about: Any,
) -> Episode:
    """Make a record of what was seen and done; the last moment's action is zero.

    Args:
        env: The environment as it stands, for its instruction and suite.
        views: Pictures of each moment.
        moments: Its truths.
        actions: One fewer than moments.
        proprio: One for each moment.
        about: ``env_name``, ``policy``, ``seed`` and ``fps`` of the record.
    """
    return Episode(
        task=env.task,
        suite=env.suite,
        views={name: np.stack([v[name] for v in views]) for name in views[0]},
        actions=np.stack([*actions, np.zeros_like(actions[0])]),
        proprio=np.stack(proprio),
        truth=_truth(moments),
        **{**about, "fps": float(about["fps"])},
    )


def _truth(moments: Sequence[tuple[float, bool, Facts]]) -> Truth:
    progress = np.array([m[0] for m in moments], np.float32)
    return Truth(progress, np.array([m[1] for m in moments]), tuple(m[2] for m in moments))


def _environment(env_name: str, size_px: int, seed: int) -> TaskEnv:
    """One simulator per task and process: making one costs seconds.

    A world's geometry is drawn when it is made, so it is made anew for every seed.
    """
    if env_name.startswith("worlds/"):
        old = _MADE.pop(("worlds", size_px), None)
        if old is not None:
            old.close()
        made = make_env(env_name, seed=seed, size_px=size_px)
        _MADE[("worlds", size_px)] = made
        return made
    key = (env_name, size_px)
    if key not in _MADE:
        _MADE[key] = make_env(
            env_name, size_px=size_px, action_repeat=FINE_REPEAT, max_steps=10_000
        )
    return _MADE[key]
