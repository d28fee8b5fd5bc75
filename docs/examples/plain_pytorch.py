"""REINFORCE in plain PyTorch on judged progress: no library between you and the gradient.

    python docs/examples/plain_pytorch.py

The environment is a toy of 50 lines that draws itself; in its place put any Gymnasium environment
with a picture. The judge is a control that looks at nothing (`ramp`); in its place put
`load_reward_model("nano")`.
"""

import gymnasium
import numpy as np
import torch

from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.rl.wrapper import SoleRewardWrapper


class Reach(gymnasium.Env):
    """A dot moves along a line to the right end; its own reward is never used."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    render_mode = "rgb_array"
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.n_steps = 0.2, 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place = float(np.clip(self.place + 0.1 * np.clip(action[0], -1, 1), 0, 1))
        self.n_steps += 1
        own_reward = float("nan")  # the wrapper throws it away
        return np.array([self.place], np.float32), own_reward, False, self.n_steps >= 10, {}

    def render(self):
        picture = np.zeros((32, 32, 3), np.uint8)
        at = int(self.place * 28)
        picture[14:18, at : at + 4] = 255
        return picture


def train(
    model: RewardModel, n_updates: int = 20, n_episodes: int = 8, seed: int = 0
) -> list[float]:
    """Return the mean place at the end of the episodes of each update; 1 is the goal."""
    torch.manual_seed(seed)
    env = SoleRewardWrapper(Reach(), model, "move the dot to the right", {"external": "render"})
    policy = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-2)
    ends = []
    for _ in range(n_updates):
        log_likelihoods, returns, places = [], [], []
        for _ in range(n_episodes):
            observation, _ = env.reset(seed=seed)
            likelihood, rewards, ended = [], [], False
            while not ended:
                action = torch.distributions.Normal(policy(torch.as_tensor(observation)), 0.5)
                drawn = action.sample()
                likelihood.append(action.log_prob(drawn).sum())
                observation, reward, terminated, truncated, _ = env.step(drawn.numpy())
                rewards.append(reward)
                ended = terminated or truncated
            log_likelihoods.append(torch.stack(likelihood))
            returns.append(torch.as_tensor(rewards).flip(0).cumsum(0).flip(0))  # what still came
            places.append(observation[0])
        gains = torch.stack(returns)
        loss = -((gains - gains.mean(0)) * torch.stack(log_likelihoods)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ends.append(float(np.mean(places)))
    return ends


if __name__ == "__main__":
    print(f"mean place at the end: {train(load_reward_model('ramp'))[-1]:.2f}")
