"""``sole eval cost``: how big and how fast a reward model is on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import progress_bar, stdout
from sole.data.episode import make_example_episode
from sole.errors import ConfigError
from sole.evals.figures import Figure, record_figures
from sole.models.nano.reader import NanoReader
from sole.rewarders.load import load_reward_model
from sole.rewarders.sole import SoleRewardModel


class CostConfig(Config):
    """Measure parameters, size, load time and milliseconds per scored frame."""

    model: str = "nano"
    """nano or a checkpoint folder."""
    n_frames: int = Field(26, gt=2)
    """Frames per episode."""
    repeats: int = Field(3, gt=0)
    """Repetitions; the fastest counts (a shared machine only ever makes it slower)."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    figures: Path | None = None
    """Record the numbers in this figures file, as nano.*."""


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
    model = load_reward_model(config.model)
    load_s = time.perf_counter() - began
    if not isinstance(model, SoleRewardModel):
        raise ConfigError(f"cost: {config.model} has no network to measure; try nano")
    figures = [*_size(model), Figure("nano.load_s", load_s, "s")]
    thinking = model.thinking()
    with progress_bar("measuring", total=4) as advance:
        for mode, chosen in (("fast", model.fast()), ("reason", thinking)):
            for batch in (1, 8):
                times = [_ms_per_frame(chosen, batch, config) for _ in range(config.repeats)]
                name = f"nano.ms_{mode}_b{batch}"
                figures.append(Figure(name, min(times), "ms per scored frame"))
                advance(1)
    costs = thinking.costs
    n_judged = costs.frames - costs.episodes
    figures.append(Figure("nano.tokens_reason", costs.generated_tokens / n_judged, "tokens/frame"))
    return figures


def _size(model: SoleRewardModel) -> list[Figure]:
    reader = model.reader
    if not isinstance(reader, NanoReader):
        raise ConfigError(f"cost: {model.model_id} does not say how big it is; try nano")
    return [
        Figure("nano.params", float(reader.n_parameters), "parameters"),
        Figure("nano.mb", reader.size_mb, "MB"),
    ]


def _ms_per_frame(model: SoleRewardModel, batch: int, config: CostConfig) -> float:
    n_frames = config.n_frames
    episodes = [make_example_episode(n_frames, 96, seed=k, truth=False) for k in range(batch)]
    began = time.perf_counter()
    model.score(episodes)
    return 1000 * (time.perf_counter() - began) / (batch * (n_frames - 1))
