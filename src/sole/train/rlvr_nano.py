"""The run behind ``sole rlvr`` on nano: questions, replies, rewards, updates, checkpoints."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from sole.console import progress_bar
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError
from sole.models.nano import SoleNanoForConditionalGeneration
from sole.run import Run
from sole.train.episodes import TrainingEpisode
from sole.train.examples import Example, ExampleSampler, ExampleSettings
from sole.train.memory import keep_freed_memory
from sole.train.rlvr import RlvrConfig, check_run_dir
from sole.train.rlvr_log import CompletionLog, Shown, composite_of_tiles
from sole.train.rlvr_step import (
    FAST,
    THINK,
    Clipping,
    NanoPolicy,
    Questions,
    Replies,
    ask,
    group_advantages,
    grpo_loss,
    trained_parameters,
)
from sole.train.run_dir import (
    about_data,
    check_same_data,
    make_run_dir,
    nano_folder,
    refuse_held_out_data,
)
from sole.train.sft import (
    SftConfig,
    batch_loss,
    export,
    load_episodes,
    restore_checkpoint,
    save_checkpoint,
)
from sole.train.verify import Verdict, judge_reply, mean_terms

_OPENINGS = {"think": THINK, "fast": FAST}
_WARM_UP_STEPS = 10
_HELD_ASIDE_SEED = 1_000_003  # its questions must not be those of a training step
_APART = 1_000_033  # supervised examples are of other episodes than the questions of a step
_SHOWN_REPLIES = 8


@dataclass(frozen=True)
class Rollout:
    """Replies to one step's questions in one mode, and what they were worth.

    Attributes:
        questions: What was asked.
        replies: What was drawn.
        verdicts: One for each reply.
        advantages: ``(N,)``.
        reference: ``(N, T)`` those of the frozen model.
    """

    questions: Questions
    replies: Replies
    verdicts: list[Verdict]
    advantages: Tensor
    reference: Tensor


class Trainer:
    """Everything one run holds, each step a function of the seed and the step's number.

    Args:
        config: The settings.
        folder: Of the model that training begins with.
        episodes: To train on.
        changes: Of how moments are drawn (ablations).
    """

    def __init__(
        self,
        config: RlvrConfig,
        folder: Path,
        episodes: Sequence[TrainingEpisode],
        changes: Mapping[str, Any] | None = None,
    ):
        self.config = config
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = _load(folder)
        self._reference = NanoPolicy(
            _load(folder).requires_grad_(False), self.tokenizer, config.temperature
        )
        self._policy = NanoPolicy(self.model, self.tokenizer, config.temperature)
        self._greedy = NanoPolicy(self.model, self.tokenizer, 0.0)
        self.optimizer = torch.optim.AdamW(
            trained_parameters(self.model), lr=config.learning_rate, weight_decay=0.0
        )
        check_held_aside(config, len(episodes))
        held, trained = _set_aside(episodes, config.held_aside, config.seed)
        self.n_held_aside, self.n_trained = len(held), len(trained)
        changes = changes or {}
        drawn = replace(ExampleSettings(episodes_per_batch=config.prompts_per_step), **changes)
        questions = replace(drawn, think_share=0.0)
        self._questions = self._sampler(trained, replace(questions, moments_per_episode=1))
        self._supervised = self._sampler(
            trained, supervised_settings(config, changes), config.seed + _APART
        )
        self._held_aside = None
        if held:
            settings = replace(questions, moments_per_episode=1, max_shift_px=0)
            self._held_aside = self._sampler(held, replace(settings, episodes_per_batch=len(held)))

    def _sampler(
        self,
        episodes: Sequence[TrainingEpisode],
        settings: ExampleSettings,
        seed: int | None = None,
    ) -> ExampleSampler:
        return ExampleSampler(
            episodes,
            self.tokenizer,
            settings,
            seed=self.config.seed if seed is None else seed,
            n_image_tokens=self.model.config.n_image_tokens,
        )

    def step(self, step: int) -> tuple[dict[str, Any], list[Shown]]:
        """Draw, judge and learn; return what is logged, and what was said to each question."""
        began = time.perf_counter()
        tiles, examples = self._questions.draw(step)
        openings = [_OPENINGS[mode] for mode in self.config.modes]
        asked = ask(self.model, self.tokenizer, tiles, examples, openings)
        rollouts = [self._roll_out(questions, examples, step) for questions in asked]
        self._set_rate(step)
        values: dict[str, Any] = {"kind": "train"}
        old: list[Tensor] = []
        n_updates = self.config.updates_per_step
        for update in range(step * n_updates, (step + 1) * n_updates):
            now, parts = self._update(rollouts, old, update)
            old = old or now  # at the first update the model is still the one that drew
            values |= parts
        for mode, rollout in zip(self.config.modes, rollouts, strict=True):
            values |= {f"{mode}_{k}": v for k, v in mean_terms(rollout.verdicts).items()}
            values[f"{mode}_tokens"] = float(rollout.replies.mask.sum(1).float().mean())
        values["step_s"] = time.perf_counter() - began
        shown = [one for r in rollouts for one in _shown(tiles, examples, r)]
        return values, shown

    def _set_rate(self, step: int) -> None:
        rising = min(1.0, (step + 1) / _WARM_UP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rising * (1 - step / self.config.steps)

    def _roll_out(self, questions: Questions, examples: Sequence[Example], step: int) -> Rollout:
        config = self.config
        fast = questions.opening == FAST
        group = config.fast_group_size if fast else config.group_size
        state = np.random.SeedSequence([config.seed, step, int(fast)]).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        replies = self._policy.draw(questions, group, config.max_new_tokens, generator)
        verdicts = [
            judge_reply(text, examples[row // group].known, config.reward_weights())
            for row, text in enumerate(replies.texts)
        ]
        with torch.no_grad(), self._autocast():
            reference = self._reference.logprobs(questions, replies)
        rewards = torch.tensor([verdict.reward for verdict in verdicts])
        advantages = group_advantages(rewards, group)
        return Rollout(questions, replies, verdicts, advantages, reference)

    def _update(
        self, rollouts: Sequence[Rollout], old: Sequence[Tensor], update: int
    ) -> tuple[list[Tensor], dict[str, float]]:
        """One optimiser step; return the log-probabilities before it, and what is logged.

        ``update`` counts those of all steps: each takes supervised examples of its own.
        """
        config = self.config
        clipping = Clipping(config.clip, config.kl_weight)
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        before: list[Tensor] = []
        for i, (mode, rollout) in enumerate(zip(config.modes, rollouts, strict=True)):
            with self._autocast():
                now = self._policy.logprobs(rollout.questions, rollout.replies)
            before.append(now.detach())
            drawn = old[i] if old else before[i]
            loss, parts = grpo_loss(
                now, drawn, rollout.reference, rollout.advantages, rollout.replies.mask, clipping
            )
            loss.backward()
            values |= {f"{mode}_{name}": value for name, value in parts.items()}
        if config.sft_weight > 0:
            batch = self._supervised.batch(update)
            loss, parts = batch_loss(self.model, batch, 1.0, bf16=config.bf16)
            (config.sft_weight * loss).backward()
            values |= {f"sft_{name}": value for name, value in parts.items()}
        norm = nn.utils.clip_grad_norm_(trained_parameters(self.model), 1.0)
        self.optimizer.step()
        return before, {**values, "grad_norm": float(norm)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16)

    def measure_held_aside(self) -> dict[str, Any]:
        """The likeliest replies on episodes that are not trained on: always the same questions."""
        assert self._held_aside is not None
        tiles, examples = self._held_aside.draw(_HELD_ASIDE_SEED)
        openings = [_OPENINGS[mode] for mode in self.config.modes]
        values: dict[str, Any] = {"kind": "held_aside", "n": len(examples)}
        asked = ask(self.model, self.tokenizer, tiles, examples, openings)
        for mode, questions in zip(self.config.modes, asked, strict=True):
            said = self._greedy.draw(
                questions, 1, self.config.max_new_tokens, torch.Generator().manual_seed(0)
            )
            weights = self.config.reward_weights()
            known = [example.known for example in examples]
            verdicts = [judge_reply(t, k, weights) for t, k in zip(said.texts, known, strict=True)]
            values |= {f"{mode}_{name}": value for name, value in mean_terms(verdicts).items()}
            true = torch.tensor([k.true_progress for k in known])
            apart = (self._greedy.expectations(questions, said) - true).abs()
            values[f"{mode}_readout_mae"] = float(apart.nanmean())
        return values


def supervised_settings(config: RlvrConfig, changes: Mapping[str, Any]) -> ExampleSettings:
    """How ``--sft-weight``'s examples are drawn: as ``sole sft`` draws by default."""
    usual = SftConfig.model_fields
    settings = ExampleSettings(
        episodes_per_batch=config.prompts_per_step,
        think_share=usual["think_share"].default,
        question_share=usual["question_share"].default,
    )
    return replace(settings, **changes)


def train(
    config: RlvrConfig,
    *,
    episodes: Sequence[TrainingEpisode] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Train, or continue, and return the folder of the finished model.

    Args:
        config: The settings.
        episodes: Chosen ones instead of all of ``config.data``.
        changes: Of how moments are drawn (ablations).

    Raises:
        ConfigError: If the run's folder holds another run, a task of the data is held out, no
            episode is left to train on, or ``init`` is no nano.
    """
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    folder = nano_folder(config.init)
    check_run_dir(config)
    _check_same_init(config, folder)
    refuse_held_out_data(config.data)
    check_same_data(config.run_dir, config.data)
    if episodes is None:
        check_held_aside(config, sum(open_dataset(folder).n_episodes for folder in config.data))
    make_run_dir(config.run_dir, config.export)
    episodes = episodes or load_episodes(config.data, config.run_dir)
    trainer = Trainer(config, folder, episodes, changes)
    run = Run(config.run_dir, config, _manifest(config, folder, trainer))
    start = restore_checkpoint(run, trainer.model, trainer.optimizer)
    log = CompletionLog(run.folder, start)
    if trainer.n_held_aside and not run.metrics():
        run.log(0, **trainer.measure_held_aside())
    for now, values, shown in _steps(trainer, start):
        run.log(now, **values)
        if now % config.show_every == 0 or now in (1, config.steps):
            log.add(now, shown)
        if now % config.checkpoint_every == 0 or now == config.steps:
            if trainer.n_held_aside:
                run.log(now, **trainer.measure_held_aside())
            save_checkpoint(run, now, trainer.model, trainer.optimizer)
    out = config.export or config.run_dir / "model"
    export(trainer.model, trainer.tokenizer, out)
    return out


def check_held_aside(config: RlvrConfig, n_episodes: int) -> None:
    """Refuse to set all of the episodes aside.

    Raises:
        ConfigError: If nothing would be left to train on.
    """
    if config.held_aside >= max(n_episodes, 1):
        raise ConfigError(
            f"held_aside: expected fewer than the {n_episodes} episodes of --data, got "
            f"{config.held_aside}"
        )


def _check_same_init(config: RlvrConfig, folder: Path) -> None:
    """Refuse to go on from other weights: the divergence is measured from them to the end.

    Raises:
        ConfigError: If those of a run that was begun have been replaced.
    """
    path = config.run_dir / "data.json"
    begun = (config.run_dir / "config.json").exists() and path.exists()
    if begun and json.loads(path.read_text()).get("init_sha256") != _weights_hash(folder):
        raise ConfigError(
            f"run_dir {config.run_dir}: the weights in --init {config.init} are not those that the "
            "run began with; choose another folder, or put them back"
        )


def _weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _load(folder: Path) -> SoleNanoForConditionalGeneration:
    transformers_logging.disable_progress_bar()
    model = SoleNanoForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.encoder.requires_grad_(False)
    model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def _set_aside(
    episodes: Sequence[TrainingEpisode], n: int, seed: int
) -> tuple[list[TrainingEpisode], list[TrainingEpisode]]:
    """Draw the episodes that are measured on; the rest is trained on."""
    held = set(np.random.default_rng(seed).permutation(len(episodes))[:n].tolist())
    return (
        [e for i, e in enumerate(episodes) if i in held],
        [e for i, e in enumerate(episodes) if i not in held],
    )


def _manifest(config: RlvrConfig, folder: Path, trainer: Trainer) -> dict[str, Any]:
    return {
        **about_data(config.data),
        "n": trainer.n_trained,
        "n_held_aside": trainer.n_held_aside,
        "init": str(folder),
        "init_sha256": _weights_hash(folder),
    }


def _steps(trainer: Trainer, start: int) -> Iterator[tuple[int, dict[str, Any], list[Shown]]]:
    steps = trainer.config.steps
    with progress_bar("rlvr", total=steps, completed=start) as advance:
        for step in range(start, steps):
            yield step + 1, *trainer.step(step)
            advance(1)


def _shown(tiles: np.ndarray, examples: Sequence[Example], rollout: Rollout) -> list[Shown]:
    """Each question with its first replies."""
    flat = tiles.reshape(-1, *tiles.shape[2:])
    group = len(rollout.verdicts) // len(examples)
    shown = []
    for i, example in enumerate(examples):
        rows = slice(i * group, i * group + min(group, _SHOWN_REPLIES))
        picture = composite_of_tiles(flat, example.tile_index)
        replies, verdicts = rollout.replies.texts[rows], rollout.verdicts[rows]
        shown.append(Shown(example.task, picture, example.known, replies, verdicts))
    return shown
