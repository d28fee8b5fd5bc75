"""Is nano as sure of its number as it is right? ``python -m sole.evals.temperature``.

A temperature divides the logits of the 201 numbers before expectation and spread are read (Guo et
al. 2017, arXiv 1706.04599). It is fitted on dev tasks, each task measured with the temperature that
the others gave. nano's checkpoint stores what its reader uses, ``readout_temperature``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor

from sole.config import Config, parse_config
from sole.console import progress_bar, run_module, stdout
from sole.data.episode import Episode
from sole.errors import DataError
from sole.evals.figures import Figure, record_figures
from sole.evals.labelled import LabelledConfig, labelled_episodes
from sole.models.base import Answer, Question
from sole.models.nano.reader import WEIGHTS, NanoReader, SeenMoment
from sole.protocol.readout import PROGRESS_VALUES, read_expectation
from sole.rewarders.sole import SoleRewardModel
from sole.run import write_atomically

_UNITS = {"temperature": "", "nll": "nats", "mae": "points", "covered": "share"}
_LOWEST, _HIGHEST = 0.1, 10.0
_FIRST_VALUE = int(PROGRESS_VALUES[0])


class TemperatureConfig(Config):
    """Fit the temperature of nano's number on dev tasks, without words."""

    model: Path = WEIGHTS
    """Folder of the checkpoint."""
    cache: Path = Path("runs/eval-cache")
    """Where simulated episodes are kept."""
    episodes_per_task: int = Field(10, gt=0)
    """Episodes of each dev task."""
    threads: int = Field(1, gt=0)
    """CPU threads."""
    write: bool = False
    """Store it in the checkpoint's config.json, which changes every later judgement."""
    figures: Path | None = None
    """Record the numbers in this figures file, as readout.*."""


@dataclass(frozen=True)
class Reads:
    """What was answered to every question about some episodes.

    Attributes:
        logits: ``(N, 201)`` of the numbers -100..100, at temperature 1.
        true_progress: ``(N,)`` percent.
        tasks: ``(N,)`` names.
    """

    logits: np.ndarray
    true_progress: np.ndarray
    tasks: np.ndarray


class _Recording(NanoReader):
    """Keeps the logits of each answer, and which moment was asked about."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.restart()

    def restart(self) -> None:
        self.seen: list[SeenMoment] = []
        self.asked: list[int] = []
        self.logits: list[np.ndarray] = []

    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenMoment]:
        moments = super().see(views)
        self.seen += moments
        return moments

    def ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        places = {id(moment): k for k, moment in enumerate(self.seen)}
        self.asked += [places[id(question.current)] for question in questions]
        return super().ask(questions, think=think)

    def _answer(self, logits: Tensor, reply: str, n_tokens: int) -> Answer:
        self.logits.append(self.model.number_logits(logits).float().cpu().numpy())
        return super()._answer(logits, reply, n_tokens)


def collect_reads(folder: Path, episodes: Sequence[Episode]) -> Reads:
    """Judge each episode as the model is used (chained and from zero), and keep every read.

    Raises:
        ModelError: If there is no checkpoint.
    """
    reader = _Recording(folder)
    model = SoleRewardModel(reader)
    logits: list[np.ndarray] = []
    true: list[float] = []
    tasks: list[str] = []
    with progress_bar("judging", total=len(episodes)) as advance:
        for episode in episodes:
            assert episode.truth is not None
            reader.restart()
            model.score([episode])
            logits += reader.logits
            true += [float(episode.truth.true_progress[t]) for t in reader.asked]
            tasks += [episode.env_name] * len(reader.asked)
            advance(1)
    return Reads(np.array(logits, np.float64), np.array(true), np.array(tasks))


def surprise(logits: np.ndarray, true_progress: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood, nats, of the integer nearest to the truth.

    Example:
        >>> even = np.zeros((1, 201))
        >>> round(surprise(even, np.array([40.0]), 2.0), 3) == round(float(np.log(201)), 3)
        True
    """
    places = np.rint(true_progress).astype(int) - _FIRST_VALUE
    likely = log_softmax(logits / temperature, axis=1)[np.arange(len(logits)), places]
    return -float(likely.mean())


def fit_readout_temperature(logits: np.ndarray, true_progress: np.ndarray) -> float:
    """The temperature between 0.1 and 10 at which the truth surprises least.

    Args:
        logits: ``(N, 201)`` of the numbers -100..100.
        true_progress: ``(N,)`` percent.

    Example:
        A model that is four times as sure as it may be:

        >>> rng = np.random.default_rng(0)
        >>> true = rng.integers(0, 101, 4000).astype(float)
        >>> told = true + rng.normal(0, 8, 4000)
        >>> right = -((PROGRESS_VALUES - told[:, None]) ** 2) / (2 * 8**2)
        >>> round(fit_readout_temperature(4 * right, true))
        4
    """
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    found = minimize_scalar(
        lambda log_t: surprise(logits, true_progress, float(np.exp(log_t))),
        bounds=(low, high), method="bounded",
    )  # fmt: skip
    return float(np.exp(found.x))


def describe(reads: Reads) -> dict[str, float]:
    """The temperature, and what it does to reads of tasks that it was not fitted on.

    ``covered`` is the share of reads whose truth lies within one spread of the number; of a
    Gaussian that is right it is 0.68.

    Raises:
        DataError: If there are fewer than two tasks.
    """
    names = sorted(set(reads.tasks))
    if len(names) < 2:
        raise DataError(f"temperature: expected reads of two tasks or more, got {names}")
    own = np.ones(len(reads.tasks))
    for name in names:
        here = reads.tasks == name
        own[here] = fit_readout_temperature(reads.logits[~here], reads.true_progress[~here])
    found = {"temperature": fit_readout_temperature(reads.logits, reads.true_progress)}
    for label, temperature in (("before", np.ones_like(own)), ("after", own)):
        scaled = reads.logits / temperature[:, None]
        mean, spread = read_expectation(scaled)
        off = np.abs(mean - reads.true_progress)
        found[f"nll_{label}"] = surprise(scaled, reads.true_progress, 1.0)
        found[f"mae_{label}"] = float(off.mean())
        found[f"covered_{label}"] = float(np.mean(off <= spread))
    return found


def store(folder: Path, temperature: float) -> None:
    """Write the temperature into a checkpoint's config.json; the reader uses it from then on."""
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    settings["readout_temperature"] = round(temperature, 4)
    write_atomically(path, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def main(argv: Sequence[str]) -> int:
    """Fit, print, and store or record what was asked for."""
    config = parse_config(TemperatureConfig, argv, "python -m sole.evals.temperature")
    torch.set_num_threads(config.threads)
    asked = {"cache": config.cache, "episodes_per_task": config.episodes_per_task}
    labelled = LabelledConfig.model_validate(asked)
    reads = collect_reads(config.model, labelled_episodes(labelled, "dev"))
    found = describe(reads)
    for name, value in found.items():
        stdout.print(f"{name:15} {value:.3f}")
    if config.write:
        store(config.model, found["temperature"])
    if config.figures:
        command = " ".join(["python -m sole.evals.temperature", *argv])
        record_figures(config.figures, [_figure(*item) for item in found.items()], command)
    return 0


def _figure(name: str, value: float) -> Figure:
    return Figure(f"readout.{name}", value, _UNITS[name.split("_")[0]])


if __name__ == "__main__":
    run_module(main, "temperature")
