"""DrQ-v2 for pictures and proprioception, composed of Stable-Baselines3's TD3.

Yarats et al. 2021 (arXiv 2107.09645): random shifts of the pictures, an encoder that only the
critic trains, n-step returns, and exploration noise that falls over the run. SB3's ``TD3.train`` is
called as it is; the shifts and the n-step returns are in the buffer, the encoder in the policy.
What is smaller than in the paper, so that a CPU can do it: the pictures (48 px), the encoder (four
layers of which two halve the picture) and the two hidden layers (256). The target of the critic
takes the delayed actor, as TD3 does; the paper takes the current one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Dict
from stable_baselines3 import TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, Schedule
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from sole.errors import ConfigError
from sole.rl.agent import ReplayAgent, Spaces
from sole.rl.envs import Observation
from sole.rl.relabel import HeldStep, RelabelledDictBuffer

_TRUNK_FEATURES = 50
_CHANNELS = 32
_SMALLEST_PX = 32
#: Standard deviation of the exploration noise at the start and from half of the run on.
_NOISE_START, _NOISE_END = 1.0, 0.1
_TARGET_NOISE_CLIP = 0.3


def random_shift(pictures: Tensor, n_pixels: int) -> Tensor:
    """Move each picture by up to ``n_pixels`` along both axes; its edge is repeated.

    Args:
        pictures: ``(B, C, H, W)`` of any type; draws come from torch's global generator.
        n_pixels: Largest shift.

    Example:
        >>> random_shift(torch.ones(2, 3, 4, 4), 1).shape
        torch.Size([2, 3, 4, 4])
    """
    batch, _, height, width = pictures.shape
    moved = torch.randint(-n_pixels, n_pixels + 1, (2, batch, 1))
    rows = (torch.arange(height) + moved[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + moved[1]).clamp(0, width - 1)
    each = torch.arange(batch)[:, None, None]
    shifted = pictures.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


def noise_at(remaining: float) -> float:
    """Exploration noise when this share of the run is still to come: linear over the first half.

    Example:
        >>> noise_at(1.0), round(noise_at(0.75), 2), round(noise_at(0.2), 2)
        (1.0, 0.55, 0.1)
    """
    share = min(max(2 * (1 - remaining), 0.0), 1.0)
    return _NOISE_START + share * (_NOISE_END - _NOISE_START)


class DrqBuffer(RelabelledDictBuffer):
    """Keeps n-step returns of judged episodes and shifts the pictures that it hands out.

    Args:
        n_step: Decisions whose rewards are added before the value takes over; fewer at an episode's
            end.
        discount: The agent's own.
        shift_px: Largest shift.
        **options: Of :class:`RelabelledDictBuffer`.
    """

    def __init__(
        self, *args: Any, n_step: int = 3, discount: float = 0.99, shift_px: int = 2, **options: Any
    ):
        super().__init__(*args, **options)
        self.n_step, self.discount, self.shift_px = n_step, discount, shift_px
        self.discounts = np.ones((self.buffer_size, 1), np.float32)

    def _store(self, held: Sequence[HeldStep], rewards: np.ndarray) -> None:
        lengths = np.minimum(self.n_step, len(held) - np.arange(len(held)))
        powers = self.discount ** np.arange(self.n_step)
        sums = [rewards[t : t + m] @ powers[:m] for t, m in enumerate(lengths)]
        ends = [held[t + m - 1] for t, m in enumerate(lengths)]
        folded = [
            HeldStep(one.observation, end.next_observation, one.action, end.done, end.cut_off)
            for one, end in zip(held, ends, strict=True)
        ]
        places = (self.pos + np.arange(len(held))) % self.buffer_size
        self.discounts[places, 0] = self.discount**lengths
        super()._store(folded, np.asarray(sums, np.float32))

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> DictReplayBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(
            observations=self._shifted(samples.observations),
            next_observations=self._shifted(samples.next_observations),
            discounts=self.to_torch(self.discounts[batch_inds]),
        )

    def _shifted(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: random_shift(part, self.shift_px) if part.dim() == 4 else part
            for name, part in observations.items()
        }


class PixelFeatures(BaseFeaturesExtractor):
    """All views through one small convolutional eye, then a trunk; proprioception beside it.

    Args:
        observation_space: A dict of pictures of one size, channel first, and vectors.
    """

    def __init__(self, observation_space: Dict):
        spaces = observation_space.spaces
        self.views = sorted(name for name, space in spaces.items() if len(space.shape or ()) == 3)
        self.vectors = sorted(set(spaces) - set(self.views))
        n_numbers = sum(int(np.prod(spaces[name].shape or ())) for name in self.vectors)
        super().__init__(observation_space, _TRUNK_FEATURES + n_numbers)
        sample = torch.zeros(1, *_stacked_shape(observation_space, self.views))
        self.eye = _make_eye(sample.shape[1])
        n_features = int(self.eye(sample).shape[1])
        self.trunk = nn.Sequential(
            nn.Linear(n_features, _TRUNK_FEATURES), nn.LayerNorm(_TRUNK_FEATURES), nn.Tanh()
        )
        self._lender: tuple[PixelFeatures, ...] = ()

    def borrow(self, lender: PixelFeatures) -> None:
        """See through another one's eye from now on, without training it."""
        del self.eye
        self._lender = (lender,)  # in a tuple, so that its weights do not become ours

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:  # noqa: D102
        pictures = torch.cat([observations[name] for name in self.views], 1) - 0.5
        if self._lender:
            with torch.no_grad():
                seen = self._lender[0].eye(pictures)
        else:
            seen = self.eye(pictures)
        numbers = [observations[name].flatten(1) for name in self.vectors]
        return torch.cat([self.trunk(seen), *numbers], 1)


def _make_eye(n_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stride in (2, 2, 1, 1):
        layers += [nn.Conv2d(n_channels, _CHANNELS, 3, stride), nn.ReLU()]
        n_channels = _CHANNELS
    return nn.Sequential(*layers, nn.Flatten())


def _stacked_shape(space: Dict, views: Sequence[str]) -> tuple[int, int, int]:
    shapes = [tuple(space.spaces[name].shape or ()) for name in views]
    sides = {(height, width) for _, height, width in shapes}
    if len(sides) != 1:
        raise ConfigError(f"drqv2: expected pictures of one size, got {shapes}")
    height, width = sides.pop()
    if min(height, width) < _SMALLEST_PX:
        raise ConfigError(f"drqv2: expected pictures of {_SMALLEST_PX} px or more, got {shapes}")
    return sum(shape[0] for shape in shapes), height, width


class DrqPolicy(TD3Policy):
    """TD3's policy whose actor sees through the critic's eye."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        for actor, critic in (
            (self.actor, self.critic), (self.actor_target, self.critic_target),
        ):  # fmt: skip
            assert isinstance(actor.features_extractor, PixelFeatures)
            assert isinstance(critic.features_extractor, PixelFeatures)
            actor.features_extractor.borrow(critic.features_extractor)
        self.actor.optimizer = self.optimizer_class(
            self.actor.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )


class DrqAgent(ReplayAgent):
    """DrQ-v2 with held-back rewards.

    Args:
        observation_space: A dict of pictures and proprioception.
        action_space: The env's, in [-1, 1].
        seed: Seeds the initial networks.
        buffer_size: Transitions kept.
        learning_rate: Adam's, or its schedule.
        n_step: Of the returns.
        shift_px: Of the pictures.
        settings: Passed to SB3's TD3; ``gamma`` must be among them.

    Raises:
        ConfigError: If the observations are not pictures of one size of at least 32 px.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        seed: int,
        buffer_size: int,
        learning_rate: float | Schedule,
        n_step: int,
        shift_px: int,
        settings: dict[str, Any],
    ):
        if not isinstance(observation_space, Dict):
            raise ConfigError("drqv2 learns from pictures: take --observation pixels")
        self.td3 = TD3(
            DrqPolicy,
            Spaces(observation_space, action_space),
            seed=seed, buffer_size=buffer_size, device="cpu",
            replay_buffer_class=DrqBuffer,
            replay_buffer_kwargs={
                "n_step": n_step, "discount": settings["gamma"], "shift_px": shift_px,
            },
            learning_rate=learning_rate,
            policy_delay=1, target_noise_clip=_TARGET_NOISE_CLIP,
            policy_kwargs={"features_extractor_class": PixelFeatures, "net_arch": [256, 256]},
            **settings,
        )  # fmt: skip
        super().__init__(self.td3)
        self._noise = _NOISE_START

    def act(self, observations: list[Observation], *, deterministic: bool) -> np.ndarray:
        """Actions ``(n, A)``; exploring adds the noise of this part of the run."""
        actions = super().act(observations, deterministic=True)
        if deterministic:
            return actions
        noise = torch.randn(actions.shape).numpy() * self._noise
        return np.clip(actions + noise, -1, 1).astype(np.float32)

    def schedule(self, remaining: float) -> None:
        """Take this part's noise, for acting and for the critic's target."""
        self._noise = self.td3.target_policy_noise = noise_at(remaining)
