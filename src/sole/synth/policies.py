"""Ways to act in a simulated task, most of them wrong: what a reward model must learn not to trust.

Every policy is made of the task's scripted expert and random numbers, so it works in any suite
whose actions are (dx, dy, dz, gripper) in [-1, 1]. Sources of the kinds: the SOLE-R1 paper's
perturb-and-recover, ROVER's levels of expertise, and what RL agents do when they hack a reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

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
    switch, drift = rng.uniform(0.15, 0.7) * n_steps, _walk(rng)
    step = 0
    while True:
        yield env.expert_action() if step < switch else next(drift)
        step += 1


def perturb_and_recover(
    env: TaskEnv, rng: np.random.Generator, n_steps: int
) -> Iterator[np.ndarray]:
    """Expert, a burst of random motion, expert again (SOLE-R1's non-expert synthesis)."""
    start = rng.uniform(0.1, 0.5) * n_steps
    end, drift = start + rng.uniform(0.1, 0.3) * n_steps, _walk(rng)
    step = 0
    while True:
        yield next(drift) if start <= step < end else env.expert_action()
        step += 1


def stop_short(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, who freezes before the task is done and stays there."""
    stop, step = rng.uniform(0.1, 0.5) * n_steps, 0
    last = np.zeros(4)
    while True:
        if step < stop:
            last = np.asarray(env.expert_action(), float)
        yield last if step < stop else np.array([0.0, 0.0, 0.0, last[3]])
        step += 1


def freeze(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """Nothing moves: progress must stay at zero however long the video is."""
    grip = rng.choice([OPEN, CLOSED])
    while True:
        yield np.array([0.0, 0.0, 0.0, grip])


def undo(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, then its own motions backwards: what was reached is given up again."""
    turn, past, step = rng.uniform(0.35, 0.7) * n_steps, [], 0
    while True:
        if step < turn or not past:
            action = np.asarray(env.expert_action(), float)
            past.append(action)
            yield action
        else:
            back = past.pop()
            yield np.array([*(-back[:3]), back[3]])
        step += 1


def near_miss(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert with a constant push sideways: it works right beside the object, or above it."""
    bias = rng.normal(0, 1, 3)
    bias *= rng.uniform(0.4, 1.0) / np.linalg.norm(bias)
    while True:
        action = np.asarray(env.expert_action(), float)
        yield np.array([*(action[:3] + bias), action[3]])


def hover(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert held up in the air over the object: close to it, never touching."""
    lift, begin, step = rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.35) * n_steps, 0
    while True:
        action = np.asarray(env.expert_action(), float)
        if step >= begin:
            action[2] = max(action[2], 0.0) if rng.random() < 0.5 else lift
        yield action
        step += 1


def wrong_direction(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert up to contact or so, then its horizontal motion reversed: the task is undone."""
    turn, step = rng.uniform(0.2, 0.5) * n_steps, 0
    while True:
        action = np.asarray(env.expert_action(), float)
        if step >= turn:
            action[:2] *= -1.0
        yield action
        step += 1


def grasp_and_drop(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert, whose gripper opens at a random moment and stays open."""
    moment, step = rng.uniform(0.3, 0.6) * n_steps, 0
    while True:
        action = np.asarray(env.expert_action(), float)
        if step >= moment:
            action[3] = OPEN
        yield action
        step += 1


def push_away(env: TaskEnv, rng: np.random.Generator, n_steps: int) -> Iterator[np.ndarray]:
    """The expert until near the object, then a long straight shove in some direction."""
    turn, step = rng.uniform(0.2, 0.45) * n_steps, 0
    angle = rng.uniform(0, 2 * np.pi)
    shove = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.3, 0.2), CLOSED])
    while True:
        yield env.expert_action() if step < turn else shove
        step += 1


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


def _walk(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Smooth random actions; each walk has its own speed and a mild preferred direction."""
    keep, spread = rng.uniform(0.7, 0.95), rng.uniform(0.4, 1.0)
    mean = np.array([*rng.normal(0, 0.3, 3), rng.uniform(-1, 1)])
    action = mean + rng.normal(0, spread, 4)
    while True:
        action = keep * action + (1 - keep) * mean
        action = action + np.sqrt(1 - keep**2) * rng.normal(0, spread, 4)
        yield action
