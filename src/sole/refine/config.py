"""Settings of ``sole refine``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field

from sole.config import Config

#: What runs did before there were settings for it, where that is not their default.
_BEFORE = {"critic_layer_norm": False, "relative_state": False}


class RefineConfig(Config):
    """Clone a policy from a few expert episodes, then improve it by what a reward model judges."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Simulated tasks with an expert, as `sole rl --env` names them; each once."""
    out: Path
    """Where runs and the result go; a finished run is not repeated, a broken one goes on."""
    reward: str = "nano"
    """Any reward model that can judge a running episode; oracle is the ceiling. env is
    the simulator's own dense reward, paid as it is, whatever the form; no episode ends early."""
    seeds: int = Field(default=1, gt=0)
    """Seeds of each task."""
    first_seed: int = Field(default=0, ge=0)
    """The smallest of them."""
    variant: Literal["weighted", "residual", "whole"] = "weighted"
    """What is learned: the clone's own weights, by cloning what was done the more the better the
    critic finds it; a small correction beside the frozen clone; or the clone's own weights by SAC's
    gradient."""
    expert_episodes: int = Field(default=10, gt=0)
    """Episodes of the scripted expert that the clone is made of."""
    expert_noise: float = Field(default=0.1, ge=0)
    """Deviation of the noise on what the expert carries out; what it meant is what is cloned."""
    clone_updates: int = Field(default=2000, gt=0)
    """Gradient steps of the cloning."""
    iterations: int = Field(default=30, ge=0)
    """Rounds of acting, judging and learning."""
    n_envs: int = Field(default=8, gt=0)
    """Episodes of an iteration."""
    updates: int = Field(default=480, ge=0)
    """Gradient steps of the critics in an iteration, and of the policy as many."""
    warm_up: int = Field(default=4, ge=0)
    """Iterations in which only the critic learns; the policy acts as it was cloned."""
    advantage_temperature: float = Field(default=0.05, gt=0)
    """Weighted variant: an action counts e times as much for every so much that its worth, in
    discounted rewards of this form, is above that of the policy's own; at most 20 times. Other
    forms pay on another scale."""
    exploration: float = Field(default=0.1, gt=0, lt=1)
    """Deviation of the noise on actions at the start (weighted: always), before the bounds squash
    it; a grasp already fails of 0.2."""
    residual_scale: float = Field(default=0.1, gt=0, le=1)
    """Largest correction of each action, which is in [-1, 1]. Far beyond what is explored the
    critic only guesses: keep it within twice `exploration` or so."""
    correction_cost: float = Field(default=0.05, ge=0)
    """Residual variant: what a largest correction costs, in rewards of one decision; smaller ones
    cost their square of it. Without a cost the correction drifts where rewards differ little."""
    relative_state: bool = True
    """Meta-World: states also hold the ways from hand to object and from object to goal. Changes
    nothing elsewhere."""
    critic_layer_norm: bool = True
    """Normalise the critics' hidden layers."""
    anchor: float = Field(default=0.1, ge=0)
    """Whole variant: steps of cloning after each iteration, as a share of `updates`; they keep the
    policy near the expert's episodes."""
    keep_expert: bool = True
    """Also learn from the expert's episodes, judged like all others."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Adam's, for actor, critic and entropy."""
    gamma: float = Field(default=0.95, gt=0, lt=1)
    """Discount per decision."""
    batch_size: int = Field(default=256, gt=1)
    """Transitions per gradient step."""
    reward_form: Literal["level", "difference", "tri"] = "level"
    """level: judged progress; tri: progress, completion and direction of change by thirds; see
    `sole rl --help`."""
    score_every: int = Field(default=2, gt=0)
    """Judge a moment every this many decisions, while the episode runs."""
    think: bool = False
    """Let the model write reasoning for every judged moment (slower)."""
    from_zero_weight: float = Field(default=0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    calibration: Path | None = None
    """What `sole calibrate` saved for this model in this mode."""
    caution: float = Field(default=0.0, ge=0)
    """Reward the judged progress less this many times its uncertainty."""
    end_on_completion: bool = False
    """End an episode when it was judged complete; better with a judge that is seldom fooled."""
    completion_at: float = Field(default=0.5, gt=0, lt=1)
    """Success probability that counts as complete."""
    completion_in_a_row: int = Field(default=2, gt=0)
    """Judged moments that must be complete one after the other."""
    second_look_copies: int = Field(default=3, ge=0)
    """Altered copies of the film in which the end must be complete as well; 0 takes no second
    look."""
    eval_episodes: int = Field(default=50, gt=0)
    """Layouts on which clone and refined policy are compared, the same for both."""
    checkpoint_every: int = Field(default=5, gt=0)
    """Iterations between checkpoints."""
    threads: int = Field(default=1, gt=0)
    """CPU threads of a run."""
    jobs: int = Field(default=1, gt=0)
    """Runs at a time, each in a process of its own."""
    prefix: str = Field(default="refine", pattern=r"^[a-z0-9_.-]+$")
    """First part of the figures' names."""
    raw: Path | None = None
    """Also keep the results there (docs/raw), in PREFIX.outcomes.parquet. A run that stands in it
    is not run again, on whatever machine it was."""
    figures: Path | None = None
    """Record before, after and p_value in this figures file."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def as_begun(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings of a run, completed where it is older than a setting.

    What is still missing had its default.

    Example:
        >>> as_begun({"updates": 480})
        {'critic_layer_norm': False, 'relative_state': False, 'updates': 480}
    """
    return {**_BEFORE, **stored}
