"""``sole sft --model NAME``: supervised training of any image-text-to-text model, by TRL."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState
from transformers import PrinterCallback, TrainerCallback

from sole.config import parse_config
from sole.console import progress_bar, stdout
from sole.data.lerobot import read_episodes
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError, ModelError
from sole.models.hf.network import Network
from sole.protocol.composite import GEOMETRIES
from sole.run import Run
from sole.train.episodes import TrainingEpisode, keep_on_disk, prepare
from sole.train.examples import ExampleSettings
from sole.train.run_dir import (
    about_data,
    check_run_dir,
    check_same_data,
    make_run_dir,
    refuse_held_out_data,
)
from sole.train.vlm_collate import Collator, count_features, layouts
from sole.train.vlm_config import VlmConfig, VlmSftConfig
from sole.train.vlm_examples import VlmExamples, shares, tile_px
from sole.train.vlm_model import (
    accumulation,
    adapters,
    begin,
    check_devices,
    check_same_weights,
    common_arguments,
    open_network,
    weights_hash,
    write_out,
)

#: Settings that may differ when a run is continued: they change no number of it.
FREE = {"run_dir", "export", "checkpoint_every", "workers"}
#: Counted from the start of the process, so a resumed run would log others.
_NOT_LOGGED = {"num_tokens", "step_time", "total_flos"}
_SHIFT_SHARE = 4 / 96  # of a frame's side, as nano's examples are shifted


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole sft`` where ``--model`` names another model than nano."""
    config = parse_config(VlmSftConfig, argv, "sole sft")
    out = train(config)
    if PartialState().is_main_process:
        stdout.print(f"wrote {out}: use it as --model {out}", markup=False, soft_wrap=True)
    return 0


def train(config: VlmSftConfig) -> Path:
    """Train, or continue, and return the folder of the finished model.

    Raises:
        ConfigError: If the folder holds another run, a task is held out, or settings do not fit.
        ModelError: If the model cannot be loaded, or its pictures and their tokens do not agree.
    """
    need_trl()
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig

    check_run_dir(config.run_dir, config, "sole sft", FREE)
    check_same_weights(config)
    refuse_held_out_data(config.data)
    check_same_data(config.run_dir, config.data)
    state = PartialState(cpu=config.device == "cpu")
    check_devices(config, state.num_processes)
    parts = accumulation(config.batch_size, config.device_batch, state.num_processes, "batch_size")
    network = open_network(config)  # before the data: they take longer than to notice a wrong name
    examples, n_moments, kept_px = load_examples(config, config.think_share, config.question_share)
    collator = make_collator(config, network, examples, kept_px)
    steps = config.steps or math.ceil(config.epochs * n_moments / config.batch_size)
    run, checkpoint = begin_together(config, {"n_moments": n_moments, "steps": steps})
    arguments = SFTConfig(
        **common_arguments(config, config.learning_rate),
        max_steps=steps,
        gradient_accumulation_steps=parts,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warm_up * steps),
        weight_decay=config.weight_decay,
        train_sampling_strategy="sequential",  # an example's number is its only draw
        logging_steps=config.log_every,
        save_steps=config.checkpoint_every,
        dataloader_num_workers=config.workers,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    log = RunLog(run, steps)
    trainer = _trainer_class()(
        model=network.model,
        args=arguments,
        data_collator=collator,
        train_dataset=Dataset.from_dict({"index": range(steps * config.batch_size)}),
        processing_class=network.processor,
        peft_config=adapters(config),
        callbacks=[log],
    )
    trainer.remove_callback(PrinterCallback)
    run_through(trainer, log, checkpoint)
    return write_out(config, trainer, network)


def _trainer_class() -> Any:
    from trl.trainer.sft_trainer import SFTTrainer

    class Trainer(SFTTrainer):
        """TRL's, with one weight for every token of a batch however it is cut into parts."""

        def __init__(self, **settings: Any):
            super().__init__(**settings)
            # Qwen-VL says no, of its own loss. The one used is TRL's, which divides by the tokens
            # of all parts; otherwise each part would count alike, however short its replies.
            self.model_accepts_loss_kwargs = True

        def _send_telemetry(self) -> None:
            """Nobody is told of a training."""

    return Trainer


def run_through(trainer: Any, log: RunLog, checkpoint: Path | None) -> None:
    """Train to the end, or on from a checkpoint; however it ends, the bar goes.

    Raises:
        ModelError: If the GPU's memory is full.
    """
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            "the GPU's memory is full: take a smaller --device-batch, --lora-rank, or more GPUs "
            "(docs/training.md, Memory), and another --run-dir"
        ) from error
    finally:
        log.close()


def need_trl() -> None:
    """Say which extra is missing, before anything is loaded.

    Raises:
        ModelError: If TRL or peft is not installed.
    """
    try:
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"training vision-language models needs the package {error.name}: "
            "pip install 'sole-rewards[train]'"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    # Peft asks transformers by a name that is being retired; no user can do anything about it.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)


def load_examples(
    config: VlmConfig, think_share: float, question_share: float
) -> tuple[VlmExamples, int, int]:
    """Read every data set.

    Returns:
        The examples, how many moments there are to ask about, and the side in pixels at which
        frames are kept.

    Raises:
        ConfigError: If there is no episode, or the weights do not fit.
    """
    geometry = GEOMETRIES[config.geometry]
    if config.weights:  # noticed before hours of films are read
        shares(config.weights, [open_dataset(folder).n_episodes for folder in config.data])
    kept_px = tile_px([size for folder in config.data for size in _sizes(folder)], geometry)
    make_run_dir(config.run_dir, config.export)
    sources: list[list[TrainingEpisode]] = [
        keep_on_disk(prepare(read_episodes(folder), kept_px), config.run_dir)
        for folder in config.data
    ]
    if not sources or not all(sources):
        raise ConfigError("no episodes in --data; run `sole synth` first")
    settings = ExampleSettings(
        episodes_per_batch=1,
        moments_per_episode=1,
        think_share=think_share,
        question_share=question_share,
        max_shift_px=round(_SHIFT_SHARE * kept_px),
        from_zero_share=config.from_zero_share,
        unstated_share=config.unstated_share,
        perturbed_share=config.perturbed_share,
        perturbation=config.perturbation,
        wild_share=config.wild_share,
    )
    n_moments = sum(len(e.true_progress) - 1 for source in sources for e in source)
    examples = VlmExamples(sources, config.weights, settings, geometry, config.seed)
    return examples, n_moments, kept_px


def _sizes(folder: Path) -> list[tuple[int, int]]:
    info = open_dataset(folder)
    if info.sizes:
        return [(height, width) for height, width in info.sizes.values()]
    shapes = [f["shape"] for f in info.features.values() if f["dtype"] in {"video", "image"}]
    return [(int(height), int(width)) for height, width, _ in shapes]


def make_collator(
    config: VlmConfig, network: Network, examples: VlmExamples, kept_px: int
) -> Collator:
    """Count what the model makes of each picture, and make what checks it ever after."""
    pictures = layouts(GEOMETRIES[config.geometry], kept_px)
    messages = examples[0].messages
    features = count_features(network, pictures, messages)
    collator = Collator(examples, network, features, getattr(config, "max_tokens", None))
    for picture in pictures:
        collator.check_picture(picture, messages)
    return collator


def begin_together(config: VlmConfig, data: dict[str, Any]) -> tuple[Run | None, Path | None]:
    """One of several processes opens the run's folder; the others wait and get no run."""
    from sole.train.vlm_model import newest_checkpoint

    state = PartialState()
    run = None
    if state.is_main_process:
        about = {**about_data(config.data), **data}
        if not (config.run_dir / "config.json").exists():  # gigabytes are read; kept from then on
            about["model_sha256"] = weights_hash(config.model)
        run, _ = begin(config, about)
    state.wait_for_everyone()
    return run, newest_checkpoint(config.run_dir)


class RunLog(TrainerCallback):
    """Writes what the trainer measures into the run's folder, and shows how far it is."""

    def __init__(self, run: Run | None, steps: int):
        self._run, self._steps = run, steps
        self._open = ExitStack()
        self._advance: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show a bar."""
        if self._run is not None:
            bar = progress_bar("training", total=self._steps, completed=state.global_step)
            self._advance = self._open.enter_context(bar)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance it."""
        if self._advance is not None:
            self._advance(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Take the bar away: one that is left behind hides the terminal's cursor."""
        self._open.close()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the step's values; the summary at the end is about this process alone."""
        if self._run is None or not logs or "train_runtime" in logs:
            return
        values = {k: v for k, v in logs.items() if k not in _NOT_LOGGED}
        self._run.log(state.global_step, kind="train", **values)
