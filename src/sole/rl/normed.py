"""SB3's SAC with layer normalisation in its critics.

After each hidden layer, before its ReLU (Ba et al. 2016, arXiv 1607.06450). It bounds what a critic
makes of actions that nobody has tried (Ball et al. 2023, arXiv 2302.02948, section 4.2). The actor
is SB3's own.
"""

from __future__ import annotations

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import MultiInputPolicy, SACPolicy
from torch import nn


class NormedSacPolicy(SACPolicy):
    """SB3's policy of SAC for vectors, with normalised critics."""

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> ContinuousCritic:
        """SB3's critics (the learned one and the delayed one) with normalisation put in."""
        return _normed(super().make_critic(features_extractor))


class NormedMultiInputPolicy(MultiInputPolicy):
    """The same for pictures and proprioception."""

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> ContinuousCritic:
        """SB3's critics (the learned one and the delayed one) with normalisation put in."""
        return _normed(super().make_critic(features_extractor))


def _normed(critic: ContinuousCritic) -> ContinuousCritic:
    for number, network in enumerate(critic.q_networks):
        assert isinstance(network, nn.Sequential)
        normed = with_layer_norm(network).to(critic.device)
        critic.q_networks[number] = normed
        critic.add_module(f"qf{number}", normed)
    return critic


def with_layer_norm(network: nn.Sequential) -> nn.Sequential:
    """The same layers with a LayerNorm before each ReLU; weights are shared, not copied.

    Example:
        >>> plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> [type(layer).__name__ for layer in with_layer_norm(plain)]
        ['Linear', 'LayerNorm', 'ReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.ReLU):
            before = layers[-1]
            assert isinstance(before, nn.Linear)
            layers.append(nn.LayerNorm(before.out_features))
        layers.append(layer)
    return nn.Sequential(*layers)
