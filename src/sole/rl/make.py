"""The parts of a run by its settings: environments, judge and agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from sole.errors import ConfigError
from sole.rewarders.base import RewardModel
from sole.rewarders.ensemble import EnsembleRewardModel
from sole.rewarders.load import load_reward_model
from sole.rl.agent import SacAgent, falling
from sole.rl.config import RlConfig
from sole.rl.env_reward import ENV, EnvReward, check_settings
from sole.rl.ppo import PpoAgent
from sole.rl.tasks import make_task
from sole.sims.base import TaskEnv

if TYPE_CHECKING:
    from sole.rl.drqv2 import DrqAgent


#: SB3's own network for pictures cannot make anything of smaller ones.
_SMALLEST_PX = 36


def make_envs(config: RlConfig) -> list[TaskEnv]:
    """One environment for each episode that runs side by side."""
    return [
        make_task(
            config.env, place, task=config.task, views=config.views, max_steps=config.max_steps,
            relative_state=config.relative_state,
        )
        for place in range(config.n_envs)
    ]  # fmt: skip


def make_model(config: RlConfig) -> RewardModel:
    """The reward model, or an ensemble with its jury and copies."""
    if config.reward == ENV:
        check_settings(config)
        return EnvReward()
    members = [
        load_reward_model(
            name,
            think="always" if config.think else "fast",
            from_zero_weight=config.from_zero_weight,
            calibration=config.calibration if name == config.reward else None,
        )
        for name in (config.reward, *config.jury)
    ]
    if len(members) == 1 and config.copies == 1:
        return members[0]
    if config.reward == "oracle" or "oracle" in config.jury:
        raise ConfigError("the oracle knows the truth: it takes no copies and sits on no jury")
    return EnsembleRewardModel(members, config.copies)


def make_agent(
    config: RlConfig, space: gymnasium.Space[Any], env: TaskEnv
) -> SacAgent | PpoAgent | DrqAgent:
    """The algorithm that ``config`` names.

    Raises:
        ConfigError: If it cannot act in this environment, or see its pictures.
    """
    _check_actions(env)
    if config.algorithm != "drqv2":
        _check_pictures(space)
    learning_rate = falling(config.learning_rate, config.learning_rate_end)
    if config.algorithm == "ppo":
        return PpoAgent(
            space, env.action_space, seed=config.seed, learning_rate=learning_rate,
            batch_size=config.batch_size,
            settings={"gamma": config.gamma, "gae_lambda": config.gae_lambda,
                      "n_epochs": config.epochs, "clip_range": config.clip_range,
                      "ent_coef": config.entropy_weight},
        )  # fmt: skip
    buffer_size = (config.episodes + config.n_envs) * env.max_steps
    if config.algorithm == "drqv2":
        from sole.rl.drqv2 import DrqAgent

        return DrqAgent(
            space, env.action_space, seed=config.seed, buffer_size=buffer_size,
            learning_rate=learning_rate, n_step=config.n_step, shift_px=config.shift_px,
            settings={"gamma": config.gamma, "batch_size": config.batch_size, "tau": config.tau},
        )  # fmt: skip
    return SacAgent(
        space, env.action_space, seed=config.seed, buffer_size=buffer_size,
        learning_rate=learning_rate,
        settings={"gamma": config.gamma, "batch_size": config.batch_size, "tau": config.tau,
                  "ent_coef": f"auto_{config.entropy_start:g}"},
        critic_layer_norm=config.critic_layer_norm,
    )  # fmt: skip


def _check_actions(env: TaskEnv) -> None:
    """Random actions are drawn from [-1, 1], and the replay buffer holds what was carried out."""
    space = env.action_space
    fits = isinstance(space, Box) and bool(np.all(space.low == -1) and np.all(space.high == 1))
    if not fits:
        raise ConfigError(f"{env.env_name}: expected actions in [-1, 1], got {space}")


def _check_pictures(space: gymnasium.Space[Any]) -> None:
    parts = space.spaces.values() if isinstance(space, Dict) else ()
    sides = [min((part.shape or ())[1:]) for part in parts if len(part.shape or ()) == 3]
    if sides and min(sides) < _SMALLEST_PX:
        raise ConfigError(
            f"observation pixels: expected pictures of {_SMALLEST_PX} px or more, got "
            f"{min(sides)} px; take a larger --picture-px, --observation state or --algorithm drqv2"
        )
