"""A vision-language model before, during and after training: opened, adapted, written out."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from sole.config import load_preset
from sole.errors import ConfigError, ModelError
from sole.models.hf.loading import explained, open_model
from sole.models.hf.network import Network
from sole.run import Run
from sole.train.vlm_config import VlmConfig

_STATE = "trainer_state.json"
_ADAPTER_RATE_FACTOR = 10.0  # adapters start at nothing and have few numbers


def on_gpu(config: VlmConfig) -> bool:
    """Whether a GPU takes part."""
    return config.device == "auto" and torch.cuda.is_available()


def open_network(config: VlmConfig) -> Network:
    """The model on the CPU, in the precision to train in; the trainer moves it.

    Raises:
        ConfigError: If there is no such model, or no such layer for adapters.
        ModelError: If it cannot be loaded, or lacks a package.
    """
    if config.lora_rank and not config.train_vision:
        raise ConfigError(
            "train_vision: with adapters, --lora-target says which layers get one; leave it on"
        )
    adapters_on_gpu = config.lora_rank > 0 and on_gpu(config)
    auto = "bfloat16" if adapters_on_gpu else "float32"
    dtype = auto if config.dtype == "auto" else config.dtype
    opened = open_model(config.model, config.revision, "cpu", dtype)
    if not config.train_vision:
        _freeze_vision(opened.model)
    if config.lora_rank:
        _check_target(config, opened.model)
    return Network(opened, config.model)


def _freeze_vision(model: Any) -> None:
    """Freeze every part that the configuration describes as vision."""
    parts = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in {"visual", "vision_tower", "vision_model"}
    ]
    if not parts:
        raise ModelError(
            f"train_vision: a {model.config.model_type} has no part called visual, vision_tower or "
            "vision_model; leave it on"
        )
    for part in parts:
        part.requires_grad_(False)


def _check_target(config: VlmConfig, model: Any) -> None:
    """Refuse a pattern that no layer has; peft would notice it after the data were read."""
    if config.lora_target == "all-linear":
        return
    try:
        wanted = re.compile(config.lora_target)
    except re.error as error:
        raise ConfigError(f"lora_target {config.lora_target}: no pattern ({error})") from error
    names = [name for name, _ in model.named_modules() if name]
    if not any(wanted.fullmatch(name) for name in names):
        raise ConfigError(
            f"lora_target {config.lora_target}: fits the whole name of no layer of a "
            f"{model.config.model_type}, such as {names[-1]}; expected all-linear or a pattern"
        )


def adapters(config: VlmConfig) -> Any:
    """What peft needs to know, or None where every number is trained."""
    if not config.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
        target_modules=config.lora_target,
        task_type="CAUSAL_LM",
    )


def rate(config: VlmConfig, learning_rate: float) -> float:
    """The learning rate: adapters take more."""
    return learning_rate * (_ADAPTER_RATE_FACTOR if config.lora_rank else 1.0)


def common_arguments(config: VlmConfig, learning_rate: float) -> dict[str, Any]:
    """What both of TRL's trainers are told alike."""
    gpu = on_gpu(config)
    return {
        "output_dir": str(config.run_dir / "checkpoints"),
        "learning_rate": rate(config, learning_rate),
        "per_device_train_batch_size": config.device_batch,
        "max_grad_norm": 1.0,
        "bf16": config.bf16 == "yes" or (config.bf16 == "auto" and gpu),
        "activation_checkpointing": config.gradient_checkpointing,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": config.device == "cpu",
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "logging_nan_inf_filter": False,
    }


def check_devices(config: VlmConfig, n_processes: int) -> None:
    """Refuse to train in one process where there are several GPUs: TRL would stop later on.

    Raises:
        ConfigError: If that is so.
    """
    if n_processes == 1 and on_gpu(config) and torch.cuda.device_count() > 1:
        raise ConfigError(
            f"device: one process and {torch.cuda.device_count()} GPUs; begin with accelerate "
            "launch (docs/training.md), or choose one: CUDA_VISIBLE_DEVICES=0"
        )


def accumulation(total: int, device_batch: int, n_devices: int, setting: str) -> int:
    """How many parts one optimiser step is computed in.

    Raises:
        ConfigError: If the parts would not be equal.

    Example:
        >>> accumulation(48, 2, 8, "batch_size")
        3
    """
    parts, rest = divmod(total, device_batch * n_devices)
    if rest or not parts:
        raise ConfigError(
            f"{setting}: {total} cannot be cut into equal parts of device_batch {device_batch} on "
            f"{n_devices} devices; choose a multiple of {device_batch * n_devices}"
        )
    return parts


def newest_checkpoint(run: Path) -> Path | None:
    """The newest whole one: its state is what the trainer writes last."""
    found = [path.parent for path in (run / "checkpoints").glob(f"checkpoint-*/{_STATE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def check_same_weights(config: VlmConfig) -> None:
    """Refuse to go on from other weights than the run began with, where they lie in a folder.

    A checkpoint holds the trained numbers alone where adapters are trained, and GRPO measures its
    divergence from the first weights to the end.

    Raises:
        ConfigError: If those of a run that was begun have been replaced, or its record is damaged.
    """
    if not (config.run_dir / "config.json").exists():
        return
    record = load_preset(config.run_dir / "data.json")
    begun = record.get("model_sha256")  # runs of before it was kept have none
    if begun is not None and begun != weights_hash(config.model):
        raise ConfigError(
            f"run_dir {config.run_dir}: the weights in --model {config.model} are not those that "
            "the run began with; choose another folder, or put them back"
        )


def weights_hash(model: str) -> str | None:
    """SHA-256 over the configuration and all weights of a model's folder; None without a folder.

    All of the weights: models of one shape have files of one size.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    whole = hashlib.sha256()
    for path in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name} {own}\n".encode())
    return whole.hexdigest()


def begin(config: VlmConfig, data: dict[str, Any]) -> tuple[Run, Path | None]:
    """Open the run's folder; metrics later than its newest checkpoint are dropped."""
    checkpoint = newest_checkpoint(config.run_dir)
    run = Run(config.run_dir, config, data)
    run.cut_metrics(int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0)
    for path in (config.run_dir / "checkpoints").glob("checkpoint-*"):
        if not (path / _STATE).exists():
            shutil.rmtree(path)  # half-written when the run was killed
    return run, checkpoint


def write_out(config: VlmConfig, trainer: Any, network: Network) -> Path:
    """Write the finished model as `from_pretrained` and `sole eval` read it.

    Adapters go to RUN_DIR/adapter and are then added to the weights they were trained beside.
    """
    out = config.out
    if not config.lora_rank:
        trainer.save_model(str(out))
    else:
        trainer.save_model(str(config.run_dir / "adapter"))
        if trainer.accelerator.is_main_process:
            _merge(config, config.run_dir / "adapter", out)
    if trainer.accelerator.is_main_process:
        network.processor.save_pretrained(out)
    trainer.accelerator.wait_for_everyone()
    return out


def _merge(config: VlmConfig, adapter: Path, out: Path) -> None:
    from peft import PeftModel

    dtype = "bfloat16" if config.dtype == "auto" and on_gpu(config) else config.dtype
    opened = open_model(config.model, config.revision, "cpu", dtype)
    with explained(config.model):
        merged: Any = PeftModel.from_pretrained(opened.model, str(adapter)).merge_and_unload()
        merged.save_pretrained(out)
