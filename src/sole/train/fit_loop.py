"""The training loop of ``sole fit``: a head on features that were made once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sole.checkpoint import load_optimizer, save_optimizer, save_tensors
from sole.console import progress_bar
from sole.rewarders.learned import CLASSIFIER_TYPE, REWIND_TYPE
from sole.rewarders.learned_net import (
    LearnedConfig,
    LearnedHead,
    LearnedNetwork,
    Vocabulary,
    make_eye,
    make_head,
)
from sole.run import Run
from sole.train.fit import FitConfig, RewindConfig
from sole.train.fit_data import Clips, ClipSampler, FitEpisode, read_all

_LOG_EVERY = 10
_N_CHECKS = 4


def train(config: FitConfig) -> Path:
    """Train, or continue, and return the folder of the finished model.

    Raises:
        ConfigError: If a task is held out, or the data do not fit the settings.
        DataError: If a data set cannot be read.
        ModelError: If the eye's weights are missing.
    """
    torch.set_num_threads(config.threads)
    began = time.perf_counter()
    eye = make_eye(config.eye, config.grid)
    episodes, views, origin = read_all(config, eye)
    looked_s = time.perf_counter() - began
    trained, aside = split_aside(episodes, config)
    vocabulary = Vocabulary.of(sorted({e.task for e in trained}))
    sampler = ClipSampler(trained, vocabulary, config)
    checks = _checks(aside, vocabulary, config)
    run = Run(config.out / "run", config, {"sources": origin, "episodes": len(episodes)})
    sizes = LearnedConfig.model_validate(
        {
            "model_type": REWIND_TYPE if isinstance(config, RewindConfig) else CLASSIFIER_TYPE,
            "views": views,
            **config.model_dump(include={"eye", "grid", "hidden_size", "word_size"}),
        }
    )
    torch.manual_seed(config.seed)
    head = make_head(sizes, len(vocabulary))
    head.fit_scale([e.features for e in trained])
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    step = _restore(run, head, optimizer)
    if not run.metrics():
        n_frames = sum(len(e.features) for e in episodes)
        run.log(0, kind="data", episodes=len(episodes), frames=n_frames, look_s=looked_s)
    _optimise(config, run, head, optimizer, sampler, checks, step)
    LearnedNetwork(sizes, vocabulary, eye, head).save(config.out)
    return config.out


def split_aside(
    episodes: Sequence[FitEpisode], config: FitConfig
) -> tuple[list[FitEpisode], list[FitEpisode]]:
    """Episodes to train on, and those kept aside."""
    order = np.random.default_rng([config.seed, 1]).permutation(len(episodes))
    n_aside = int(config.held_aside * len(episodes))
    return [episodes[i] for i in order[n_aside:]], [episodes[i] for i in order[:n_aside]]


def _checks(aside: Sequence[FitEpisode], vocabulary: Vocabulary, config: FitConfig) -> list[Clips]:
    """A few fixed batches of what was kept aside; none if it is too little to draw them from."""
    both = {0, 1} <= {int(label) for e in aside for label in e.success}
    if not aside or not (both or isinstance(config, RewindConfig)):
        return []
    sampler = ClipSampler(aside, vocabulary, config, salt=1)
    return [sampler.batch(i) for i in range(_N_CHECKS)]


def batch_loss(head: LearnedHead, clips: Clips, *, rewind: bool) -> Tensor:
    """Squared error of the progress after the first frame, or the cross-entropy of success."""
    logits, _ = head(clips.features, clips.words)
    if rewind:
        return nn.functional.mse_loss(logits[:, 1:].sigmoid(), clips.targets[:, 1:])
    return nn.functional.binary_cross_entropy_with_logits(logits, clips.targets)


def _optimise(
    config: FitConfig, run: Run, head: LearnedHead, optimizer: torch.optim.Optimizer,
    sampler: ClipSampler, checks: Sequence[Clips], start: int,
) -> None:  # fmt: skip
    rewind = isinstance(config, RewindConfig)
    with progress_bar("training", total=config.steps, completed=start) as advance:
        for step in range(start, config.steps):
            began = time.perf_counter()
            head.train()
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout's draws, resumed or not
            optimizer.param_groups[0]["lr"] = config.learning_rate * _rate(step, config.steps)
            loss = batch_loss(head, sampler.batch(step), rewind=rewind)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            advance(1)
            now, seconds = step + 1, time.perf_counter() - began
            saves = now % config.checkpoint_every == 0 or now == config.steps
            if now % _LOG_EVERY == 0 or now == config.steps:
                run.log(now, kind="train", loss=loss.item(), step_s=seconds)
            if saves:
                if checks:
                    run.log(now, kind="aside", loss=_aside_loss(head, checks, rewind=rewind))
                _save(run, now, head, optimizer)


@torch.inference_mode()
def _aside_loss(head: LearnedHead, checks: Sequence[Clips], *, rewind: bool) -> float:
    head.eval()
    losses = [batch_loss(head, clips, rewind=rewind).item() for clips in checks]
    return float(np.mean(losses))


def _rate(step: int, steps: int) -> float:
    """Warm-up over 4 percent, then a cosine to zero."""
    warm_up = max(int(0.04 * steps), 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return float(0.5 * (1 + np.cos(np.pi * (step - warm_up) / max(steps - warm_up, 1))))


def _save(run: Run, step: int, head: LearnedHead, optimizer: torch.optim.Optimizer) -> None:
    with run.checkpoint(step) as folder:
        save_tensors(folder / "head.safetensors", head.state_dict())
        save_optimizer(folder / "optimizer.safetensors", optimizer)


def _restore(run: Run, head: LearnedHead, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint, drop metrics later than it, return its step."""
    step = run.resume_step
    run.cut_metrics(step)
    if step:
        folder = run.checkpoints()[-1]
        head.load_state_dict(load_file(folder / "head.safetensors"))
        load_optimizer(folder / "optimizer.safetensors", optimizer)
    return step
