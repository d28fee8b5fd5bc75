"""``sole eval cost``: how big and how fast a reward model is on this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import progress_bar, stdout
from sole.data.episode import make_example_episode
from sole.errors import ConfigError
from sole.evals.figures import Figure, record_figures
from sole.models.nano.reader import NanoReader
from sole.rewarders.base import RewardModel
from sole.rewarders.beside import UNCALIBRATED
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.rewarders.load import load_reward_model


class CostConfig(Config):
    """Measure parameters, size, load time and milliseconds per scored frame."""

    model: str = "nano"
    """Any reward model with a network; sole models list names them."""
    think: Literal["both", "always"] = "both"
    """both measures numbers alone and reasoning, where a model has both ways; always is for models
    that cannot be read without their words."""
    n_frames: int = Field(26, gt=2)
    """Frames per episode."""
    repeats: int = Field(3, gt=0)
    """Repetitions; the fastest counts (a shared machine only ever makes it slower)."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    figures: Path | None = None
    """Record the numbers in this figures file, as nano.* or cost.MODEL.*."""


def run_cost(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval cost``."""
    config = parse_config(CostConfig, argv, "sole eval cost")
    figures = measure_cost(config)
    table = Table("what", "value", "unit", title=f"{config.model} on {config.threads} threads")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit)
    stdout.print(table)
    if config.figures:
        record_figures(config.figures, figures, " ".join(["sole eval cost", *argv]))
    return 0


def measure_cost(config: CostConfig) -> list[Figure]:
    """Load the model, score random episodes, return the figures.

    Random pictures cost what real ones do in fast mode; with reasoning the length of the text
    decides, so the tokens per frame stand beside the milliseconds.

    Raises:
        ConfigError: If the model is a control, which costs nothing.
    """
    torch.set_num_threads(config.threads)
    began = time.perf_counter()
    model = load_reward_model(
        config.model,
        think="always" if config.think == "always" else "fast",
        calibration=UNCALIBRATED,
    )
    load_s = time.perf_counter() - began
    if isinstance(model, Ramp | Constant | RandomWalk | Oracle):
        raise ConfigError(f"cost: {config.model} has no network to measure; try nano")
    prefix = _prefix(config.model, model)
    figures = [*_size(prefix, model), Figure(f"{prefix}.load_s", load_s, "s")]
    ways = _ways(model, config.think)
    with progress_bar("measuring", total=2 * len(ways)) as advance:
        for mode, chosen in ways.items():
            for batch in (1, 8):
                times = [_ms_per_frame(chosen, batch, config) for _ in range(config.repeats)]
                name = f"{prefix}.ms_{mode}_b{batch}"
                figures.append(Figure(name, min(times), "ms per scored frame"))
                advance(1)
    if "reason" in ways:
        costs = ways["reason"].costs
        per_frame = costs.generated_tokens / (costs.frames - costs.episodes)
        figures.append(Figure(f"{prefix}.tokens_reason", per_frame, "tokens/frame"))
    return figures


def _ways(model: RewardModel, think: str) -> Mapping[str, RewardModel]:
    """How a model can judge: not every one can think, nor leave it."""
    thinking, fast = getattr(model, "thinking", None), getattr(model, "fast", None)
    if think == "always":
        return {"reason": model}
    if thinking is None or fast is None:
        return {"fast": model}
    return {"fast": fast(), "reason": thinking()}


def _prefix(name: str, model: RewardModel) -> str:
    if isinstance(getattr(model, "reader", None), NanoReader):
        return "nano"
    return "cost." + re.sub(r"[^a-z0-9]+", "-", Path(name).name.lower()).strip("-")


def _size(prefix: str, model: RewardModel) -> list[Figure]:
    """Parameters and megabytes, of a model that says them."""
    reader = getattr(model, "reader", None)
    n_parameters, size_mb = (getattr(reader, n, None) for n in ("n_parameters", "size_mb"))
    if n_parameters is None or size_mb is None:
        return []
    return [
        Figure(f"{prefix}.params", float(n_parameters), "parameters"),
        Figure(f"{prefix}.mb", size_mb, "MB"),
    ]


def _ms_per_frame(model: RewardModel, batch: int, config: CostConfig) -> float:
    n_frames = config.n_frames
    episodes = [make_example_episode(n_frames, 96, seed=k, truth=False) for k in range(batch)]
    began = time.perf_counter()
    model.score(episodes)
    return 1000 * (time.perf_counter() - began) / (batch * (n_frames - 1))
