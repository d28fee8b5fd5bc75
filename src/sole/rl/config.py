"""Settings of ``sole rl``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sole.config import Config


class RlConfig(Config):
    """Train a policy with SAC, PPO or DrQ-v2; its only reward is what the reward model judges."""

    env: str
    """Task by full name, for example metaworld/faucet-close, or my_package:make_env, a function of
    yours that returns a Gymnasium environment (with --task and --views)."""
    run_dir: Path
    """Where metrics, checkpoints and roll-outs go; an interrupted run there is continued."""
    reward: str = "nano"
    """Any reward model that `sole models list` shows: nano, a folder of sole sft or sole fit, the
    address of a sole serve, a model on Hugging Face, METHOD:MODEL, openai:ADDRESS#MODEL, or a
    control: oracle, ramp, random, constant:PERCENT. env is the simulator's own dense reward
    (Meta-World, robosuite, ManiSkill), to compare with."""
    task: str | None = None
    """A wording that replaces the task's own sentence."""
    views: str | None = None
    """Pictures of an environment of yours: front=SOURCE,wrist=SOURCE (or one of them). A SOURCE is
    a key of the observation, render, or render:CAMERA."""
    max_steps: int | None = Field(default=None, gt=0)
    """Decisions of an episode in an environment of yours; its own time limit where it has one."""
    algorithm: Literal["sac", "ppo", "drqv2"] = "sac"
    """SAC and DrQ-v2 (pictures only) learn from all episodes so far, PPO from each round once."""
    observation: Literal["state", "pixels", "eye"] = "state"
    """What the policy sees: the state vector; its views and proprioception; or what the frozen eye
    of nano makes of the views, and proprioception (one encoding instead of a trained one)."""
    relative_state: bool = False
    """Meta-World with state observations: the ways from hand to object and object to goal as well.
    Changes nothing elsewhere."""
    picture_px: int = Field(default=48, ge=8)
    """With pixels: side of the pictures that the policy sees; larger ones are shrunk."""
    eye_grid: int = Field(default=3, ge=1, le=6)
    """With eye: the features of a picture are averaged within grid x grid cells."""
    episodes: int = Field(default=400, gt=0)
    """Training episodes in all."""
    n_envs: int = Field(default=8, gt=0)
    """Episodes that run side by side and are judged in one batch."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds networks, exploration and the layouts of the training episodes."""
    random_episodes: int = Field(default=16, ge=0)
    """Episodes of uniformly random actions at the start; PPO takes only the scaling of its
    observations from them."""
    updates_per_episode: int = Field(default=60, ge=0)
    """SAC's gradient steps per training episode."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's at the start of the run, for actor, critic and entropy."""
    learning_rate_end: float = Field(default=0.1, gt=0, le=1)
    """The learning rate falls linearly to this share of itself; 1 keeps it."""
    tau: float = Field(default=0.005, gt=0, le=1)
    """SAC and DrQ-v2: share of the new critic in the delayed one at each gradient step."""
    critic_layer_norm: bool = False
    """SAC: normalise the critics' hidden layers (docs/rl.md says what came of it)."""
    n_step: int = Field(default=3, gt=0)
    """DrQ-v2: decisions whose rewards are added before the critic's estimate takes over."""
    shift_px: int = Field(default=2, ge=0)
    """DrQ-v2: largest random shift of a picture."""
    epochs: int = Field(default=10, gt=0)
    """PPO's passes over a round."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """PPO: weight of later rewards against the critic in the advantages."""
    clip_range: float = Field(default=0.2, gt=0)
    """PPO: how far the ratio of new to old likelihoods may go from 1."""
    entropy_weight: float = Field(default=0.0, ge=0)
    """PPO: weight of the entropy."""
    gamma: float = Field(default=0.95, gt=0, lt=1)
    """Discount per decision."""
    entropy_start: float = Field(default=1.0, gt=0)
    """Weight of the entropy at the start; SAC tunes it from there, more slowly with few updates."""
    batch_size: int = Field(default=256, gt=1)
    """Transitions per gradient step."""
    score_every: int = Field(default=2, gt=0)
    """Take and judge a picture every this many decisions; the reward between is interpolated."""
    think: bool = False
    """Let the model write reasoning for every judged picture (slower); else one forward pass."""
    from_zero_weight: float = Field(default=0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    psi: float = Field(default=1.0, gt=0)
    """Reward per decision is psi * clip(progress, -c, c) / 100."""
    clip: float = Field(default=100.0, gt=0, le=100)
    """The c of the line above, percent."""
    reward_form: Literal["level", "difference", "tri"] = "level"
    """What a decision earns: the progress it leads to (the line above), psi times what it gains
    (p[t+1] - p[t]), or progress, completion and direction by thirds."""
    calibration: Path | None = None
    """What `sole calibrate` saved for this model in this mode; rewards are then calibrated."""
    failure: Literal["hold", "drop_episode", "raise"] = "hold"
    """What a reply that cannot be read means: keep the last valid progress, give the episode up, or
    stop the run."""
    asynchronous: bool = False
    """Judge in the background while the agent acts and learns (worth it with a served model)."""
    stale_rounds: int = Field(default=1, ge=0)
    """With --asynchronous: a judgement is taken in this many rounds later (0: waited for at once).
    PPO learns from its newest round only and needs 0."""
    copies: int = Field(default=1, gt=0)
    """Judge each film this many times, shifted and recoloured a little; the mean counts, and how
    far they are apart is the uncertainty."""
    jury: tuple[str, ...] = ()
    """More reward models that judge each film; as for the copies, the mean counts."""
    caution: float = Field(default=0.0, ge=0)
    """Reward the judged progress less this many times its uncertainty (of the read-out, or between
    copies and jury)."""
    gate_points: float | None = Field(default=None, gt=0)
    """A moment whose uncertainty is larger keeps the progress of the last certain moment."""
    judged_success_at: float | None = Field(default=None, gt=0, le=1)
    """An episode counts as judged successful when its success probability ever reaches this;
    without it the calibration's threshold, or 0.5 for a model that is not calibrated."""
    eval_episodes: int = Field(default=20, gt=0)
    """Episodes of each evaluation (fixed layouts, truth only)."""
    keep: Literal["last", "judged"] = "last"
    """The policy that a run ends with: the last one, or that of the evaluation that was judged best
    (success, then progress; never by the truth), evaluated once more on other layouts."""
    plateau: int | None = Field(default=None, gt=0)
    """Stop when this many evaluations in a row were not judged better than the best before."""
    eval_deterministic: bool = True
    """Evaluate the mean action, as is usual; without it actions are sampled, as in exploration."""
    eval_every: int = Field(default=96, gt=0)
    """Training episodes between evaluations."""
    checkpoint_every: int = Field(default=48, gt=0)
    """Training episodes between checkpoints."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop after the round in which this is exceeded; evaluation, checkpoint and film still come,
    and the same command goes on from there."""
    threads: int = Field(default=1, gt=0)
    """CPU threads; networks this small gain nothing from more, and results depend on the number."""
    tensorboard: bool = False
    """Also write TensorBoard files."""
