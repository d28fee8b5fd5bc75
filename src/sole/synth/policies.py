"""Ways to act in a simulated task, most of them wrong: what a reward model must learn not to trust.

Every policy is made of the task's scripted expert and random numbers, so it works in any suite
whose actions are (dx, dy, dz, gripper) in [-1, 1]. Sources of the kinds: the SOLE-R1 paper's
perturb-and-recover, ROVER's levels of expertise, and what RL agents do when they hack a reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from sole.errors import ConfigError
from sole.sims.base import TaskEnv

Policy = Callable[[TaskEnv, np.random.Generator, int], Iterator[np.ndarray]]
OPEN, CLOSED = -1.0, 1.0


def expert(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The scripted expert, undisturbed."""
    while True:
        yield env.expert_action()


def noisy(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert with Gaussian noise on every action: slower and wandering, often successful."""
    scale = rng.uniform(0.2, 0.8)
    while True:
        yield env.expert_action() + rng.normal(0, scale, 4)


def random(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """Smooth random motion (an Ornstein-Uhlenbeck walk), as an untrained agent moves."""
    drift = _walk(rng)
    while True:
        yield next(drift)


def expert_then_random(
    env: TaskEnv, rng: np.random.Generator, n_steps: int
) -> Iterator[np.ndarray]:
    """The expert up to a random moment, then random motion: progress is made and lost."""
    turned = _turning_point(env, rng, n_steps, (0.15, 0.7))
    drift = _walk(rng)
    while True:
        yield next(drift) if turned() else env.expert_action()


def perturb_and_recover(
    env: TaskEnv, rng: np.random.Generator, n_steps: int
) -> Iterator[np.ndarray]:
    """Expert, a burst of random motion, expert again (SOLE-R1's non-expert synthesis)."""
    turned = _turning_point(env, rng, n_steps, (0.1, 0.5))
    left, drift = rng.uniform(0.1, 0.3) * n_steps, _walk(rng)
    while not turned():
        yield env.expert_action()
    while left > 0:
        yield next(drift)
        left -= 1
    while True:
        yield env.expert_action()


def stop_short(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, who freezes before the task is done and stays there."""
    turned = _turning_point(env, rng, n_steps, (0.1, 0.5), after_success=0.0)
    last = np.zeros(4)
    while not turned():
        last = np.asarray(env.expert_action(), float)
        yield last
    while True:
        yield np.array([0.0, 0.0, 0.0, last[3]])


def freeze(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """Nothing moves: progress must stay at zero however long the video is."""
    grip = rng.choice([OPEN, CLOSED])
    while True:
        yield np.array([0.0, 0.0, 0.0, grip])


def undo(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, then its own motions backwards: what was reached is given up again."""
    turned = _turning_point(env, rng, n_steps, (0.35, 0.7), after_success=0.4)
    past: list[np.ndarray] = []
    while True:
        if turned() and past:
            back = past.pop()
            yield np.array([*(-back[:3]), back[3]])
        else:
            action = np.asarray(env.expert_action(), float)
            past.append(action)
            yield action


def near_miss(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert with a constant push sideways: it works right beside the object, or above it."""
    bias = rng.normal(0, 1, 3)
    bias *= rng.uniform(0.4, 1.0) / np.linalg.norm(bias)
    while True:
        action = np.asarray(env.expert_action(), float)
        yield np.array([*(action[:3] + bias), action[3]])


def hover(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert held up in the air over the object: close to it, never touching."""
    lift = rng.uniform(0.5, 1.0)
    turned = _turning_point(env, rng, n_steps, (0.1, 0.35), highest=35.0, after_success=0.0)
    while True:
        action = np.asarray(env.expert_action(), float)
        if turned():
            action[2] = max(action[2], 0.0) if rng.random() < 0.5 else lift
        yield action


def wrong_direction(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert up to contact or so, then its horizontal motion reversed: the task is undone."""
    turned = _turning_point(env, rng, n_steps, (0.2, 0.5))
    while True:
        action = np.asarray(env.expert_action(), float)
        if turned():
            action[:2] *= -1.0
        yield action


def grasp_and_drop(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, whose gripper opens at a random moment and stays open."""
    turned = _turning_point(env, rng, n_steps, (0.3, 0.6), after_success=0.0)
    while True:
        action = np.asarray(env.expert_action(), float)
        if turned():
            action[3] = OPEN
        yield action


def push_away(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert until near the object, then a long straight shove in some direction."""
    turned = _turning_point(env, rng, n_steps, (0.2, 0.45), after_success=0.1)
    angle = rng.uniform(0, 2 * np.pi)
    shove = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.3, 0.2), CLOSED])
    while True:
        yield shove if turned() else env.expert_action()


def elsewhere(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """Moves with purpose, but to a place that has nothing to do with the task, and acts there."""
    heading = np.array([*rng.normal(0, 1, 3), 0.0])
    heading /= np.linalg.norm(heading)
    legs = int(rng.integers(2, 5))
    while True:
        for _ in range(max(n_steps // legs, 1)):
            yield np.array([*(heading[:3] + rng.normal(0, 0.15, 3)), rng.choice([OPEN, CLOSED])])
        heading[:3] = rng.normal(0, 1, 3)
        heading /= np.linalg.norm(heading)


def wrong_object(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """A flawless expert, but with the other object in the scene; alone on the table, `opposite`."""
    assert isinstance(env, Contrary)
    while True:
        yield env.wrong_object_action()


def opposite(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """A flawless expert in the opposite task: turns left for right, shuts what was to be opened."""
    assert isinstance(env, Contrary)
    if rng.random() < 0.5:
        turned = _turning_point(env, rng, n_steps, (0.1, 0.6))
        while not turned():
            yield env.expert_action()
    while True:
        yield env.opposite_action()


def leave(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert until the task is done, or half done; then the arm lets go and goes elsewhere.

    What was reached stays reached, though nothing is near it any more: progress is what became of
    the object. An agent that the truth pays ends like this, an expert never does.
    """
    level = 100.0 if rng.random() < 0.6 else rng.uniform(20.0, 90.0)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
    wait, rise, way = (rng.uniform(0, high) * n_steps for high in (0.08, 0.15, 0.4))
    while env.truth()[0] < level:
        yield env.expert_action()
    for _ in range(int(wait)):
        yield env.expert_action()
    for _ in range(int(rise)):  # first away from what it may hold
        yield np.array([0.0, 0.0, 1.0, OPEN])
    for _ in range(int(way)):
        yield np.array([speed * np.cos(angle), speed * np.sin(angle), rng.uniform(-0.3, 0.3), OPEN])
    drift = _walk(rng)
    while True:
        yield 0.3 * next(drift)


def linger(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert until near the object; then the arm stays about there and does nothing to it.

    It is what an agent finds that is paid for looking busy.
    """
    turned = _turning_point(env, rng, n_steps, (0.1, 0.35), highest=30.0, after_success=0.0)
    while not turned():
        yield env.expert_action()
    grip, drift = rng.choice([OPEN, CLOSED]), _walk(rng)
    for _ in range(int(rng.uniform(0, 0.1) * n_steps)):
        yield np.array([0.0, 0.0, rng.uniform(0.2, 1.0), grip])
    while True:
        yield np.array([*(rng.uniform(0.1, 0.3) * next(drift)[:3]), grip])


@runtime_checkable
class Contrary(Protocol):
    """A task whose simulator also has experts in doing the wrong thing."""

    def wrong_object_action(self) -> np.ndarray:
        """The action ``(4,)`` of an expert who takes another object for the one that was named."""
        ...

    def opposite_action(self) -> np.ndarray:
        """The action ``(4,)`` of an expert who moves the right object the wrong way."""
        ...


#: Kind -> (policy, its share of a data set).
POLICIES: dict[str, tuple[Policy, float]] = {
    "expert": (expert, 0.16),
    "noisy": (noisy, 0.12),
    "perturb_and_recover": (perturb_and_recover, 0.12),
    "expert_then_random": (expert_then_random, 0.09),
    "undo": (undo, 0.09),
    "near_miss": (near_miss, 0.09),
    "wrong_direction": (wrong_direction, 0.07),
    "stop_short": (stop_short, 0.06),
    "push_away": (push_away, 0.05),
    "random": (random, 0.05),
    "hover": (hover, 0.04),
    "grasp_and_drop": (grasp_and_drop, 0.03),
    "elsewhere": (elsewhere, 0.02),
    "freeze": (freeze, 0.01),
}

#: Kinds that never ask for the scripted expert; all that a task without one can be filmed with.
WITHOUT_EXPERT = ("random",)
#: The same for kinds that only a :class:`Contrary` environment can act out.
CONTRARY_POLICIES: dict[str, tuple[Policy, float]] = {
    "wrong_object": (wrong_object, 0.12),
    "opposite": (opposite, 0.08),
}
#: Kinds that are drawn only when they are asked for by name (``--policies``), so that the plans of
#: recipes from before them stay what they were.
NAMED_POLICIES: dict[str, tuple[Policy, float]] = {"leave": (leave, 0.6), "linger": (linger, 0.4)}
ALL_POLICIES = POLICIES | CONTRARY_POLICIES | NAMED_POLICIES


def policies_of(suite: str) -> dict[str, tuple[Policy, float]]:
    """The kinds that a suite can act out.

    Example:
        >>> "wrong_object" in policies_of("worlds"), "wrong_object" in policies_of("metaworld")
        (True, False)
    """
    return POLICIES | CONTRARY_POLICIES if suite == "worlds" else POLICIES


def named_policies(names: Sequence[str], suite: str) -> dict[str, tuple[Policy, float]]:
    """Chosen kinds with their shares.

    Raises:
        ConfigError: If one is unknown, or the suite cannot act it out.
    """
    possible = policies_of(suite) | NAMED_POLICIES
    if unknown := sorted(set(names) - set(possible)):
        raise ConfigError(
            f"--policies {' '.join(unknown)}: {suite} has no such kind; choose from: "
            f"{', '.join(possible)}"
        )
    return {name: possible[name] for name in names}


def _turning_point(
    env: TaskEnv,
    rng: np.random.Generator,
    n_steps: int,
    latest: tuple[float, float],
    *,
    highest: float = 95.0,
    after_success: float = 0.2,
) -> Callable[[], bool]:
    """Make a question asked once a step, before acting: has the wrong part begun?

    It begins at a share of the episode drawn from ``latest``. The experts of our own worlds are
    done in half an episode, and what goes wrong afterwards is not seen; there it begins earlier
    when true progress reaches a level drawn up to ``highest`` (with probability ``after_success``:
    when the task is done).
    """
    time = rng.uniform(*latest) * n_steps
    level = np.inf
    if isinstance(env, Contrary):
        level = 100.0 if rng.random() < after_success else rng.uniform(5.0, highest)
        time = max(time, 0.7 * n_steps)
    asked, begun = 0, False

    def has_begun() -> bool:
        nonlocal asked, begun
        begun = begun or asked >= time or (level < np.inf and env.truth()[0] >= level)
        asked += 1
        return begun

    return has_begun


def _walk(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Smooth random actions; each walk has its own speed and a mild preferred direction."""
    keep, spread = rng.uniform(0.7, 0.95), rng.uniform(0.4, 1.0)
    mean = np.array([*rng.normal(0, 0.3, 3), rng.uniform(-1, 1)])
    action = mean + rng.normal(0, spread, 4)
    while True:
        action = keep * action + (1 - keep) * mean
        action = action + np.sqrt(1 - keep**2) * rng.normal(0, spread, 4)
        yield action
