"""``sole rlvr``: reinforcement learning from verifiable rewards (SOLE-R1's second stage).

A supervised model gives the answer's number one token of weight among forty. Here it draws several
replies to each question; the simulator's truth says what each is worth (:mod:`sole.train.verify`),
and the better ones are made likelier, by GRPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sole.config import Config, parse_config
from sole.train import run_dir
from sole.train.verify import RewardWeights
from sole.train.vlm_config import NANO_NAME, asked_model


class RlvrConfig(Config):
    """Train a finished reward model on, by rewards for form, accuracy and true sentences."""

    data: tuple[Path, ...]
    """Folders of episodes (LeRobot datasets with true progress and facts)."""
    run_dir: Path
    """Where checkpoints, metrics and replies go; an interrupted run there is continued."""
    model: Literal["nano"] = "nano"
    """nano (see --init), or any other vision-language model, by name or folder:
    `sole rlvr --model NAME --help` shows the settings for those."""
    init: str = "nano"
    """The model to go on from: nano, or the folder of one that `sole sft` wrote."""
    steps: int = Field(300, gt=0)
    """Rounds of drawing replies and learning from them."""
    learning_rate: float = Field(5e-5, gt=0)
    """AdamW's rate after a warm-up of ten steps; from there it falls in a line to zero."""
    prompts_per_step: int = Field(8, gt=0)
    """Questions in one step."""
    group_size: int = Field(8, gt=1)
    """Reasoned replies to one question, which are compared with each other."""
    fast_group_size: int = Field(32, gt=1)
    """Replies without reasoning to one question: one token each, so they cost next to nothing."""
    modes: tuple[Literal["think", "fast"], ...] = Field(("think", "fast"), min_length=1)
    """Which replies are trained; each has groups of its own."""
    updates_per_step: int = Field(2, gt=0)
    """Optimiser steps on the same replies; from the second on the clip range matters."""
    temperature: float = Field(1.0, gt=0)
    """At which replies are drawn."""
    max_new_tokens: int = Field(64, gt=0)
    """Longest reply."""
    clip: float = Field(0.2, gt=0)
    """Largest relative change of a token's probability that still pays within one step."""
    kl_weight: float = Field(0.04, ge=0)
    """Weight of the divergence from the model that training began with."""
    tau: float = Field(10.0, gt=0)
    """Points of error after which the reward for accuracy has fallen to a third."""
    truth_weight: float = Field(0.5, ge=0)
    """Reward of a reasoning whose checkable claims are all true."""
    direction_weight: float = Field(0.25, ge=0)
    """Reward of a change told in the right direction; 0 leaves it out."""
    sft_weight: float = Field(0.0, ge=0)
    """Above 0, each step also takes this much of the supervised loss on examples of its own."""
    held_aside: int = Field(64, ge=0)
    """Episodes kept out of training, whose reward is measured before, at checkpoints and after."""
    seed: int = Field(0, ge=0)
    """Seeds the questions and the replies."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    bf16: bool = True
    """Probabilities of drawn replies in bfloat16 autocast; they are drawn in float32."""
    checkpoint_every: int = Field(50, gt=0)
    """Steps between checkpoints."""
    show_every: int = Field(50, gt=0)
    """Steps between logged replies with their pictures."""
    export: Path | None = None
    """Where the finished model goes; default: RUN_DIR/model."""

    def reward_weights(self) -> RewardWeights:
        """How the rewards are mixed."""
        return RewardWeights(self.tau, self.truth_weight, self.direction_weight)


#: Settings that may differ when a run is continued: they change no number of it.
_FREE = {"run_dir", "threads", "export", "show_every", "checkpoint_every"}


def check_run_dir(config: RlvrConfig) -> None:
    """Refuse, before anything is written, a folder that holds another run than this one.

    Raises:
        ConfigError: If it does.
    """
    run_dir.check_run_dir(config.run_dir, config, "sole rlvr", _FREE)


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole rlvr``."""
    if asked_model(argv) != NANO_NAME:
        from sole.train.vlm_grpo import main as train_another

        return train_another(argv)
    config = parse_config(RlvrConfig, argv, "sole rlvr")
    from sole.train.rlvr_nano import train

    train(config)
    return 0
