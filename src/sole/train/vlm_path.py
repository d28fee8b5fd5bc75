"""The way of an 8B model, walked once: supervised step, GRPO step, reading. No download.

``python -m sole.train.vlm_path --size 8b --out /tmp/path`` needs a large GPU and 40 GB of disk;
``--size tiny`` takes seconds on a CPU and goes through the same code. The numbers are random: this
shows that the path holds, how long its steps take and what memory they need, and no more.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import run_module, stdout
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ConfigError
from sole.models.base import Question
from sole.models.hf.reader import TransformersReader
from sole.train import vlm_grpo, vlm_sft
from sole.train.vlm_config import VlmRlvrConfig, VlmSftConfig
from sole.train.vlm_shapes import make_random


class PathConfig(Config):
    """Walk a random model of a given size through training and reading."""

    out: Path
    """A new folder for all of it; the last model stays."""
    size: Literal["tiny", "8b"] = "tiny"
    """tiny, or the shape of Qwen3-VL-8B."""
    lora_rank: int = Field(16, ge=0)
    """Rank of the adapters; 0 trains every number."""
    steps: int = Field(2, gt=0)
    """Steps of each stage."""
    max_new_tokens: int = Field(32, gt=0)
    """Longest reply."""
    device: Literal["auto", "cpu"] = "auto"
    """cpu keeps a GPU out of it."""


def main(argv: Sequence[str]) -> int:
    """Walk the path; print a line for each step."""
    walk(parse_config(PathConfig, argv, "python -m sole.train.vlm_path"))
    return 0


def walk(config: PathConfig) -> None:
    """Make, train, train on and read.

    Raises:
        ConfigError: If ``out`` exists.
        ModelError: If one of the steps fails.
    """
    if config.out.exists():
        raise ConfigError(f"out {config.out}: exists; choose another")
    gpu = config.device == "auto" and torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    random, data = config.out / "random", config.out / "data"
    with _told("random model") as note:
        note["parameters"] = f"{make_random(random, config.size, device, dtype):,}"
    _free()
    write_episodes(data)
    shared: dict[str, Any] = {
        "data": (data,), "lora_rank": config.lora_rank, "device": config.device,
        "dtype": "bfloat16" if gpu else "float32", "steps": config.steps, "device_batch": 2,
        "geometry": "nano" if config.size == "tiny" else "sole_r1_8b", "learning_rate": 1e-5,
    }  # fmt: skip
    sft_run, rlvr_run = config.out / "sft", config.out / "rlvr"
    with _told("supervised steps"):
        supervised = vlm_sft.train(
            VlmSftConfig(model=str(random), run_dir=sft_run, batch_size=2, log_every=1, **shared)
        )
    shutil.rmtree(random)
    _free()
    with _told("GRPO steps"):
        rewarded = vlm_grpo.train(
            VlmRlvrConfig(
                model=str(supervised), run_dir=rlvr_run, prompts_per_step=1, group_size=2,
                max_new_tokens=config.max_new_tokens, **shared,
            )
        )  # fmt: skip
    shutil.rmtree(supervised)
    _free()
    with _told("reading") as note:
        note.update(_read(rewarded, config))


def _read(folder: Path, config: PathConfig) -> dict[str, str]:
    reader = TransformersReader(str(folder), device=config.device)
    reader.preset = replace(reader.preset, max_new_tokens=config.max_new_tokens)
    episode = make_example_episode(3, 96, seed=9)
    seen = reader.see([{name: film[t] for name, film in episode.views.items()} for t in range(3)])
    question = Question(episode.task, seen[0], seen[2], seen[1], 10)
    said = reader.ask([question], think=True)[0]
    fast = reader.ask([question], think=False)[0]
    return {"tokens": str(said.n_tokens), "expected_progress": f"{fast.progress:.1f}"}


def write_episodes(folder: Path) -> None:
    """Write three short made-up episodes of a training task: enough to train a step on."""
    with EpisodeWriter(folder, fps=10) as writer:
        for seed in range(3):
            episode = make_example_episode(6, 96, seed=seed)
            writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))


@contextmanager
def _told(what: str) -> Iterator[dict[str, str]]:
    """Print how long it took, and the most memory of the GPU so far."""
    note: dict[str, str] = {}
    began = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield note
    note["seconds"] = f"{time.perf_counter() - began:.1f}"
    if torch.cuda.is_available():
        note["gpu_gb"] = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"
    words = ", ".join(f"{name} {value}" for name, value in note.items())
    stdout.print(f"{what}: {words}", markup=False, soft_wrap=True)


def _free() -> None:
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    run_module(main, "vlm_path")
