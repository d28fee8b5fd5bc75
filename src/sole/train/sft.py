"""``sole sft``: supervised training of nano on reasoning and answers (SOLE-R1's first stage).

The loss is the token likelihood of the reasoning plus, with a weight of its own, the cross-entropy
of the answer's number against a soft label over neighbouring integers: the number is one token
among forty, and 41 is nearly as right as 40.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from sole.checkpoint import load_optimizer, save_optimizer, save_tensors
from sole.config import Config, parse_config
from sole.console import progress_bar
from sole.data.lerobot import read_episodes
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError
from sole.models.nano import SoleNanoConfig, SoleNanoForConditionalGeneration
from sole.models.nano.configuration import nano_text_config
from sole.models.nano.encoder import load_imagenet
from sole.models.nano.tokenizer import train_tokenizer
from sole.run import Run
from sole.synth.reasoning import write_reasoning
from sole.train.episodes import TrainingEpisode, keep_on_disk, prepare
from sole.train.examples import Batch, ExampleSampler, ExampleSettings, ask_about
from sole.train.memory import keep_freed_memory
from sole.train.muon import MuonWithAdamW
from sole.train.run_dir import (
    about_data,
    check_run_dir,
    check_same_data,
    make_run_dir,
    nano_folder,
    refuse_held_out_data,
)
from sole.train.vlm_config import NANO_NAME, asked_model
from sole.train.vlm_examples import shares

#: What steps, saves and loads as an optimiser does.
Trainer = torch.optim.Optimizer | MuonWithAdamW


class SftConfig(Config):
    """Train nano on episodes that `sole synth` wrote."""

    data: tuple[Path, ...]
    """Folders of episodes (LeRobot datasets with true progress and facts)."""
    run_dir: Path
    """Where checkpoints and metrics go; an interrupted run there is continued."""
    weights: tuple[float, ...] = ()
    """How often each folder of --data is drawn from, in its order; default: by its episodes."""
    model: Literal["nano"] = "nano"
    """nano, or any other vision-language model, by name or folder: `sole sft --model NAME --help`
    shows the settings for those."""
    init: Path | None = None
    """A finished model to go on from, with its tokenizer, instead of a fresh one: nano, or its
    folder; size flags and `pretrained_encoder` are then not looked at."""
    steps: int = Field(1700, gt=0)
    """Optimiser steps."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the decoder; warm-up over 4 percent, then a cosine to zero."""
    encoder_lr_factor: float = Field(0.3, ge=0)
    """The encoder learns this much slower: it starts from ImageNet."""
    frozen_blocks: int = Field(3, ge=0, le=9)
    """Encoder blocks that keep their ImageNet weights."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon for the matrices of the decoder and the projector, AdamW for the rest."""
    weight_decay: float = Field(0.05, ge=0)
    """Decoupled weight decay."""
    number_weight: float = Field(1.0, gt=0)
    """Weight of the answer's number in the loss; the reasoning has 1."""
    episodes_per_batch: int = Field(12, gt=0)
    """Episodes in one batch; each gives four moments."""
    think_share: float = Field(0.5, ge=0, le=1)
    """Share of batches with reasoning."""
    question_share: float = Field(0.15, ge=0, le=1)
    """Share of episodes, in batches with reasoning, about which questions of space and time are
    asked instead of progress."""
    vocab_size: int = Field(2048, ge=600)
    """Size of nano's vocabulary."""
    hidden_size: int = Field(256, gt=0)
    """Width of the decoder."""
    n_layers: int = Field(5, gt=0)
    """Layers of the decoder."""
    pretrained_encoder: bool = True
    """Start the encoder from ImageNet weights (needs the `train` extra)."""
    seed: int = Field(0, ge=0)
    """Seeds initial weights and the order of the data."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    bf16: bool = True
    """Decoder in bfloat16 autocast."""
    checkpoint_every: int = Field(200, gt=0)
    """Steps between checkpoints."""
    export: Path | None = None
    """Where the finished model goes; default: RUN_DIR/model."""


#: Settings that may differ when a run is continued: they change no number of it.
_FREE = {"run_dir", "threads", "export", "checkpoint_every"}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole sft``."""
    if asked_model(argv) != NANO_NAME:
        from sole.train.vlm_sft import main as train_another

        return train_another(argv)
    config = parse_config(SftConfig, argv, "sole sft")
    train(config)
    return 0


def train(
    config: SftConfig,
    *,
    episodes: list[TrainingEpisode] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Train, or continue, and return the folder of the finished model.

    Args:
        config: The settings.
        episodes: Chosen ones instead of all of ``config.data``.
        changes: Of how moments are drawn, beside what ``config`` says (ablations).

    Raises:
        ConfigError: If the folder holds another run, a task of the data is held out, ``init`` is no
            nano, or the weights do not fit.
    """
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    begun = nano_folder(str(config.init)) if config.init else None
    check_run_dir(config.run_dir, config, "sole sft", _FREE)
    refuse_held_out_data(config.data)
    check_same_data(config.run_dir, config.data)
    chances = None if episodes else _chances(config)
    make_run_dir(config.run_dir, config.export)
    episodes = episodes or load_episodes(config.data, config.run_dir)
    run = Run(config.run_dir, config, {**about_data(config.data), "n": len(episodes)})
    tokenizer = _tokenizer(config, run, episodes, begun)
    model = load_model(config, begun) if begun else make_model(config, len(tokenizer), tokenizer)
    optimizer = _optimizer(config, model)
    step = restore_checkpoint(run, model, optimizer)
    settings = ExampleSettings(
        episodes_per_batch=config.episodes_per_batch,
        think_share=config.think_share,
        question_share=config.question_share,
    )
    settings = replace(settings, **(changes or {}))
    sampler = ExampleSampler(
        episodes,
        tokenizer,
        settings,
        seed=config.seed,
        n_image_tokens=model.config.n_image_tokens,
        chances=chances,
    )
    for now, losses in _steps(config, model, optimizer, sampler, step):
        if now % 10 == 0 or now == config.steps:
            run.log(now, **losses)
        if now % config.checkpoint_every == 0 or now == config.steps:
            save_checkpoint(run, now, model, optimizer)
    out = config.export or config.run_dir / "model"
    export(model, tokenizer, out)
    return out


def _chances(config: SftConfig) -> np.ndarray | None:
    """Probability of each episode, or None where all are alike.

    Raises:
        ConfigError: If the weights do not fit, or there is nothing to draw from.
    """
    if not config.weights:
        return None
    counts = [open_dataset(folder).n_episodes for folder in config.data]
    chances = shares(config.weights, counts)
    empty = [f for f, n, p in zip(config.data, counts, chances, strict=True) if p and not n]
    if empty:
        raise ConfigError(f"weights: {empty[0]} holds no episode to draw")
    each = np.divide(chances, np.maximum(counts, 1))
    return np.repeat(each, counts)


def load_episodes(folders: Sequence[Path], scratch: Path) -> list[TrainingEpisode]:
    """Read every episode of the data sets; their tiles lie in a nameless file in ``scratch``."""
    records = itertools.chain.from_iterable(read_episodes(folder) for folder in folders)
    episodes = keep_on_disk(prepare(records), scratch)
    if not episodes:
        raise ConfigError("no episodes in --data; run `sole synth` first")
    return episodes


def make_model(config: SftConfig, vocab_size: int, tokenizer) -> SoleNanoForConditionalGeneration:  # noqa: ANN001
    """A fresh model: random decoder, ImageNet encoder."""
    torch.manual_seed(config.seed)
    text = nano_text_config(
        vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=3 * config.hidden_size,
        num_hidden_layers=config.n_layers,
    )
    number = tokenizer.convert_tokens_to_ids("-100")
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = SoleNanoForConditionalGeneration(
        SoleNanoConfig(text_config=text, image_token_id=image, first_number_token_id=number)
    )
    if config.pretrained_encoder:
        load_imagenet(model.encoder)
        model.encoder.freeze_first(config.frozen_blocks)
    model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def load_model(config: SftConfig, folder: Path) -> SoleNanoForConditionalGeneration:
    """The model to go on from, in full precision."""
    torch.manual_seed(config.seed)
    model = SoleNanoForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.encoder.freeze_first(config.frozen_blocks)
    model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def batch_loss(
    model: SoleNanoForConditionalGeneration, batch: Batch, number_weight: float, *, bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch and its parts, which are what gets logged."""
    maps = model.encode_tiles(batch.tiles)
    tile_maps = maps[batch.tile_index.clamp(min=0)]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            tile_maps=tile_maps,
            tile_mask=batch.tile_index >= 0,
        ).logits
    rows = torch.arange(len(batch.number_positions))
    answers = logits[rows, batch.number_positions].float()
    numbers = model.number_logits(answers)
    # Over the whole vocabulary: that nothing but a number comes there is learned too.
    chosen = model.number_logits(answers.log_softmax(-1))
    asked = (batch.number_labels.sum(-1) > 0).float()
    n_asked = asked.sum().clamp(min=1)
    number_loss = -(batch.number_labels * chosen).sum() / n_asked
    targets = batch.labels[:, 1:]
    wanted = targets != -100
    text_loss = nn.functional.cross_entropy(logits[:, :-1][wanted].float(), targets[wanted])
    values = torch.arange(-100, 101, dtype=torch.float32)
    errors = ((numbers.softmax(-1) - batch.number_labels) @ values).abs()
    mae = (errors * asked).sum() / n_asked
    parts = {"number_loss": number_loss.item(), "text_loss": text_loss.item(), "mae": mae.item()}
    return text_loss + number_weight * number_loss, parts


def _steps(
    config: SftConfig,
    model: SoleNanoForConditionalGeneration,
    optimizer: Trainer,
    sampler: ExampleSampler,
    start: int,
) -> Iterator[tuple[int, dict[str, Any]]]:
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    with progress_bar("training", total=config.steps, completed=start) as advance:
        for step in range(start, config.steps):
            began = time.perf_counter()
            _set_rate(config, optimizer, step)
            loss, parts = batch_loss(
                model, sampler.batch(step), config.number_weight, bf16=config.bf16
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            advance(1)
            # This step's values, not a running mean: a resumed run must log the same.
            yield step + 1, {"kind": "train", **parts, "step_s": time.perf_counter() - began}


def _optimizer(config: SftConfig, model: nn.Module) -> Trainer:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    muon = config.optimizer == "muon"
    eye = [p for name, p in trained.items() if name.startswith("encoder.")]
    matrices = {name: p for name, p in trained.items() if muon and _is_hidden_matrix(name, p)}
    seen = {id(p) for p in (*eye, *matrices.values())}
    rest = [p for p in trained.values() if id(p) not in seen]
    groups: list[dict[str, Any]] = [{"params": rest, "factor": 1.0}]
    if eye:
        groups.append({"params": eye, "factor": config.encoder_lr_factor})
    rate, decay = config.learning_rate, config.weight_decay
    if muon:
        return MuonWithAdamW(matrices.values(), groups, rate, decay)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and name.startswith(("decoder.layers.", "projector."))


def _set_rate(config: SftConfig, optimizer: Trainer, step: int) -> None:
    warm_up = max(int(0.04 * config.steps), 1)
    done = (step - warm_up) / max(config.steps - warm_up, 1)
    scale = (step + 1) / warm_up if step < warm_up else 0.5 * (1 + np.cos(np.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * group["factor"] * float(scale)


def _tokenizer(  # noqa: ANN202
    config: SftConfig, run: Run, episodes: Sequence[TrainingEpisode], begun: Path | None
):
    from transformers import AutoTokenizer

    folder = begun or run.folder / "tokenizer"
    if begun is None and not (folder / "tokenizer.json").exists():
        corpus = itertools.chain(
            _corpus(episodes, config.seed),
            _asked(episodes, config.seed) if config.question_share else (),
        )
        train_tokenizer(corpus, config.vocab_size).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _corpus(episodes: Sequence[TrainingEpisode], seed: int) -> Iterator[str]:
    """Instructions and reasoning as they will be seen; a few per episode are enough for merges."""
    rng = np.random.default_rng(seed)
    for episode in episodes:
        yield f"Task: {episode.task.lower()}. Previous progress: 0%."
        for t in rng.integers(1, len(episode.facts), size=4):
            previous = episode.facts[t - 1]
            before, now = episode.true_progress[t - 1], episode.true_progress[t]
            yield write_reasoning(
                episode.task, episode.facts[0], previous, episode.facts[t], before, now, rng
            )


def _asked(episodes: Sequence[TrainingEpisode], seed: int) -> Iterator[str]:
    """The same of questions about space and time."""
    rng = np.random.default_rng([seed, 1])
    for episode in episodes:
        for question in ask_about(episode, 2, rng):
            yield f"{question.with_choices} {question.reply}".lower()


def save_checkpoint(run: Run, step: int, model: nn.Module, optimizer: Trainer) -> None:
    """Write weights and optimiser as the run's newest checkpoint."""
    with run.checkpoint(step) as folder:
        weights = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
        save_tensors(folder / "model.safetensors", weights)
        save_optimizer(folder / "optimizer.safetensors", optimizer)


def restore_checkpoint(run: Run, model: nn.Module, optimizer: Trainer) -> int:
    """Load the newest checkpoint, drop metrics later than it, return its step."""
    step = run.resume_step
    run.cut_metrics(step)
    if step == 0:
        return 0
    folder = run.checkpoints()[-1]
    missing = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"]), missing
    load_optimizer(folder / "optimizer.safetensors", optimizer)
    return step


def export(model: SoleNanoForConditionalGeneration, tokenizer, folder: Path) -> None:  # noqa: ANN001
    """Write the model in half precision with its tokenizer, as `from_pretrained` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.readout_temperature = 1.0  # one that was fitted is of the weights before these
    trained = model.state_dict()
    half = {name: tensor.to(torch.float16) for name, tensor in trained.items()}
    model.save_pretrained(folder, state_dict=half)
    tokenizer.save_pretrained(folder)
