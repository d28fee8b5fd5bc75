"""Layer normalisation in SAC's critics, and what must stay as it is."""

import numpy as np
import pytest
import torch
from fake_env import PointEnv
from test_rl import config
from test_rl_pixels import BigPoint
from test_rl_plain_sb3 import SETTINGS, judged
from torch import nn

from sole.rl.agent import SacAgent
from sole.rl.envs import observation_space
from sole.rl.make import make_agent


def agent(kind: str, **options) -> SacAgent:
    """An agent for the small task, from its state or its pictures."""
    env = BigPoint()
    return SacAgent(
        observation_space(env, kind), env.action_space, seed=0, buffer_size=100, learning_rate=1e-3,
        settings=SETTINGS, **options,
    )  # fmt: skip


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.LayerNorm) for part in module.modules())


@pytest.mark.parametrize("kind", ["state", "pixels"])
def test_both_critics_and_their_delayed_copies_are_normalised_and_nothing_else(kind):
    policy = agent(kind, critic_layer_norm=True).sac.policy
    assert norms(policy.critic) == norms(policy.critic_target) == 4
    assert norms(policy) == 8
    assert norms(agent(kind).sac.policy) == 0


@pytest.mark.parametrize("kind", ["state", "pixels"])
def test_every_layer_of_the_critics_learns_and_a_saved_agent_goes_on_the_same(kind, tmp_path):
    rollouts, rewards = judged(kind)
    ours, again = (agent(kind, critic_layer_norm=True) for _ in range(2))
    before = {name: part.clone() for name, part in ours.sac.critic.named_parameters()}
    for rollout, paid in zip(rollouts, rewards, strict=True):
        ours.store(rollout, paid)
    ours.learn(3)
    assert all(not torch.equal(p, before[n]) for n, p in ours.sac.critic.named_parameters())
    ours.save(tmp_path)
    again.load(tmp_path)
    for one in (ours, again):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        one.learn(2)
    theirs = again.sac.policy.state_dict()
    assert all(torch.equal(p, theirs[n]) for n, p in ours.sac.policy.state_dict().items())


def test_a_normalised_critic_makes_little_of_what_it_never_saw():
    critics = agent("state").sac.critic, agent("state", critic_layer_norm=True).sac.critic
    near = torch.ones(1, 2)
    far = 1e4 * torch.ones(1, BigPoint().observation_space.shape[0])
    plain, normed = (float(one(far, near)[0].detach().abs()) for one in critics)
    assert normed < 10 < plain


@pytest.mark.parametrize("wanted", [True, False])
def test_the_setting_reaches_the_agent(wanted, tmp_path):
    env = PointEnv()
    settings = config(tmp_path, critic_layer_norm=wanted)
    made = make_agent(settings, env.observation_space, env)
    assert norms(made.engine.policy.critic) == (4 if wanted else 0)
