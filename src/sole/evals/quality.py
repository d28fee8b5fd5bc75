"""``sole eval quality``: a reward model against the truth, with rows that must not win."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sole.config import parse_config, run_word
from sole.console import stderr, stdout
from sole.data.episode import Episode, EpisodeScore
from sole.errors import ConfigError
from sole.evals import metrics
from sole.evals.control_rows import ALWAYS, control_rows, say_left_out
from sole.evals.controls import control_metrics
from sole.evals.figures import record_figures
from sole.evals.labelled import LabelledConfig, judge, labelled_episodes, labelled_judge
from sole.evals.output import make_room
from sole.evals.overlap import say_fitted_on
from sole.evals.per_episode import (
    episode_metrics,
    held,
    moves,
    succeeds,
    success_score,
    table_row,
    write_episode_table,
)
from sole.evals.recorded import recorded_successes
from sole.evals.result import Row, result_figures, result_json, summary_tables, task_tables
from sole.evals.stepwise import number_metrics, parse_rate, told, word_metrics
from sole.rewarders.base import RewardModel
from sole.rewarders.beside import UNCALIBRATED, in_way
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically

#: Rows beside every model: time alone, chance, one that says that nothing ever moves, the truth.
CONTROLS = (*ALWAYS, "constant:0", "oracle")


class QualityConfig(LabelledConfig):
    """Measure a reward model on simulated episodes, data with truth, or recorded successes."""

    split: Literal["test", "dev", "train"] = "test"
    """Which of the suite's tasks."""
    recorded: Path | None = None
    """Recordings of successes instead, without truth: a LeRobot dataset (v2 or v3), or videos. Time
    is taken for their progress, at up to --n-frames frames."""
    task: str | None = None
    """What the videos of --recorded show, one sentence; datasets have their own."""
    external: str | None = None
    """The camera of --recorded that stands still, such as observation.images.top."""
    wrist: str | None = None
    """The camera of --recorded on the wrist."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model; its calibrated numbers are measured. none:
    nothing is, for no row; not given: what lies beside each model."""
    controls: bool = True
    """Also measure the constant 0 and the oracle; the ramp and the random walk always are."""
    against: tuple[str, ...] = ()
    """Other models on the same episodes, each as --model names it, or as LABEL=MODEL."""
    variants: bool = False
    """Also read the model only from zero, only from what it said before, and the other way about
    words: with them, or without."""
    out: Path | None = None
    """Also write everything measured as JSON here, and NAME.episodes.parquet beside it."""
    prefix: str = ""
    """Name of the figures, for example test17; SUITE-SPLIT unless named, which only episodes of the
    split may be called."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval``; the first word chooses what is evaluated."""
    words = {
        "quality": f"{__name__}:run_quality", "robustness": "sole.evals.robustness:run_robustness",
        "attempts": "sole.evals.attempts:run_attempts",
        "clips": "sole.evals.clips:run_clips", "cost": "sole.evals.cost:run_cost",
    }  # fmt: skip
    usage = f"usage: sole eval {'|'.join(words)} [flags]; sole eval WHAT --help shows them\n"
    return run_word(argv, words, "sole eval", usage)


def run_quality(argv: Sequence[str]) -> int:
    """Measure, print, and record."""
    config = parse_config(QualityConfig, argv, "sole eval quality")
    _refuse_one_name_twice(config)
    _refuse_two_sources(config)
    _refuse_anothers_name(config)
    make_room(config.out)
    say_left_out(CONTROLS, config.controls)
    models = {"": labelled_judge(config, config.calibration)}
    models |= {name.partition(":")[0]: load_reward_model(name) for name in _controls(config)}
    models |= _competitors(config)
    episodes = measured_episodes(config)
    say_fitted_on(models.values(), episodes)
    rows = {name: measure(model, episodes, config) for name, model in models.items()}
    _say_uncontrolled(rows[""])
    return _report(config, rows, argv)


def measured_episodes(config: QualityConfig) -> list[Episode]:
    """What the settings say that the model is measured on."""
    if config.recorded is None:
        return labelled_episodes(config, config.split)
    return recorded_successes(
        config.recorded, config.n_frames,
        task=config.task, external=config.external, wrist=config.wrist,
    )  # fmt: skip


def _refuse_two_sources(config: QualityConfig) -> None:
    about = (config.task, config.external, config.wrist)
    if config.recorded is not None and (config.data is not None or config.tasks):
        raise ConfigError("--recorded: the episodes come from there; leave out --data and --tasks")
    if config.recorded is None and any(one is not None for one in about):
        raise ConfigError("--task, --external and --wrist: they say what --recorded holds; give it")


def _refuse_anothers_name(config: QualityConfig) -> None:
    """Figures of other episodes must not take the name of the split's."""
    flags = ("data", "recorded", "tasks")
    given = [f"--{flag}" for flag in flags if getattr(config, flag)]
    if config.figures and given and not config.prefix:
        raise ConfigError(
            f"--prefix: say what these figures are called, such as --prefix mine; with {given[0]} "
            f"they are not those of {config.suite}-{config.split}"
        )


def _say_uncontrolled(row: Row) -> None:
    """A task without control videos is missing from their means; nobody should have to guess."""
    without = [task for task, found in row.per_task.items() if "voc_reversed" not in found]
    if without:
        stderr.print(
            f"no expert succeeds, so no control videos, in {len(without)} of {len(row.per_task)} "
            f"tasks: {', '.join(without[:4])}{', ...' if len(without) > 4 else ''}",
            markup=False,
            soft_wrap=True,
        )


def _controls(config: QualityConfig) -> tuple[str, ...]:
    return control_rows(CONTROLS, config.controls)


def _variants(config: QualityConfig) -> dict[str, dict[str, Any]]:
    """What --variants changes in the settings, by what the figures call it."""
    if not config.variants:
        return {}
    return {
        "from_zero": {"from_zero_weight": 1.0},
        "chained": {"from_zero_weight": 0.0},
        "fast" if config.think else "think": {"think": not config.think},
    }


def _refuse_one_name_twice(config: QualityConfig) -> None:
    """Of two rows with one name the second would take the first one's place, and its figures.

    Raises:
        ConfigError: If --against gives a name that another row has.
    """
    own = _own_label(config)
    taken = [own, *(name.partition(":")[0] for name in _controls(config)), *_variants(config)]
    for name in config.against:
        label = _label_of(name)[0]
        if label in taken:
            raise ConfigError(
                f"--against {name}: another row is called {label} already; give it another name, "
                f"as in --against other={_label_of(name)[1]}"
            )
        taken.append(label)


def _own_label(config: QualityConfig) -> str:
    return _label_of(Path(config.model).name)[0]


def _competitors(config: QualityConfig) -> dict[str, RewardModel]:
    """Other models, and this one read in other ways, by what their figures are called."""
    return {name: labelled_judge(c, c.calibration) for name, c in _competing(config).items()}


def _competing(config: QualityConfig) -> dict[str, QualityConfig]:
    # A calibration is of one way of reading; "none" holds for every row.
    plain = config.calibration if config.calibration == UNCALIBRATED else None
    named = {label: {"model": model} for label, model in map(_label_of, config.against)}
    return {
        label: config.model_copy(update={"calibration": plain, **changes})
        for label, changes in {**_variants(config), **named}.items()
    }


def row_settings(config: QualityConfig) -> list[QualityConfig]:
    """The settings by which each row of a result was judged, in the order of the rows."""
    names = _controls(config)
    controls = [config.model_copy(update={"model": n, "calibration": None}) for n in names]
    return [config, *controls, *_competing(config).values()]


def _label_of(name: str) -> tuple[str, str]:
    """What the figures call a model, and the model.

    Example:
        >>> _label_of("rewind=runs/fit/rewind"), _label_of("runs/nano")
        (('rewind', 'runs/fit/rewind'), ('runs_nano', 'runs/nano'))
    """
    label, equals, model = name.partition("=")
    if equals and re.fullmatch(r"[\w-]+", label):
        return label, model
    return re.sub(r"[^\w.-]+", "_", name), name


def _report(config: QualityConfig, named: Mapping[str, Row], argv: Sequence[str]) -> int:
    """Print, write and record what was measured."""
    rows = list(named.values())
    settings = config.model_dump_json()
    if config.print_json:
        sys.stdout.write(result_json(rows, settings) + "\n")
    else:
        for table in (*summary_tables(rows, stdout.width), *task_tables(rows[0], stdout.width)):
            stdout.print(table)
    if config.out:
        write_atomically(config.out, result_json(rows, settings, indent=1))
        table = [line for row in rows for line in row.per_episode]
        write_episode_table(config.out.with_suffix(".episodes.parquet"), table)
    if config.figures:
        prefix = config.prefix or f"{config.suite}-{config.split}"
        figures = result_figures(named, prefix, _own_label(config))
        record_figures(config.figures, figures, _command(argv))
    return 0


def measure(model: RewardModel, episodes: Sequence[Episode], config: QualityConfig) -> Row:
    """Score the episodes, and the control videos of one expert of each task."""
    began, calls = time.perf_counter(), model.costs.model_calls
    scores = judge(model, episodes, config.batch, "scoring")
    seconds, calls = time.perf_counter() - began, model.costs.model_calls - calls
    tasks = sorted({e.env_name for e in episodes})
    # Like the agent's, the clock covers the plain scoring only, not the controls that follow.
    controls = control_metrics(
        lambda videos: judge(_fast(model), videos, config.batch, "controls"), episodes
    )
    found = [episode_metrics(e, s) for e, s in zip(episodes, scores, strict=True)]
    per_task = {}
    for task in tasks:
        mine = [i for i, e in enumerate(episodes) if e.env_name == task]
        between = _between([episodes[i] for i in mine], [held(scores[i]) for i in mine])
        per_task[task] = {**_means([found[i] for i in mine]), **between, **controls[task]}
    pooled = _pooled(episodes, scores, config)
    n_frames = sum(e.n_frames - 1 for e in episodes)
    pooled |= {"ms_per_frame": 1000 * seconds / n_frames, "model_calls": float(calls)}
    table = tuple(table_row(*row) for row in zip(episodes, scores, found, strict=True))
    return Row(model.model_id, per_task, pooled, table)


def _between(episodes: Sequence[Episode], curves: Sequence[np.ndarray]) -> dict[str, float]:
    """What is measured between the episodes of one task."""
    success = np.array([succeeds(e) for e in episodes])
    sure = np.array([success_score(c) for c in curves])
    true = [e.truth.true_progress for e in episodes if e.truth is not None]
    both = success.any() and not success.all()
    chosen, rejected = _preferences(episodes, curves)
    return {
        "auc_task": metrics.roc_auc(sure, success),
        "kendall_last": _kendall([c[-1] for c in curves], [p[-1] for p in true]),
        "kendall_mean": _kendall([c.mean() for c in curves], [p.mean() for p in true]),
        "ranking_accuracy": metrics.ranking_accuracy(
            [c[-1] for c in curves], [p[-1] for p in true]
        ),
        "preference_accuracy": metrics.preference_accuracy(chosen, rejected),
        "preference_ties": metrics.tie_rate(chosen, rejected),
        "success_fail_gap": float(sure[success].mean() - sure[~success].mean())
        if both
        else math.nan,
    }


def _preferences(
    episodes: Sequence[Episode], curves: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Last values of all pairs of an episode that ends in success and one that does not."""
    last = np.array([curve[-1] for curve in curves])
    done = np.array([e.truth is not None and bool(e.truth.true_success[-1]) for e in episodes])
    chosen, rejected = np.meshgrid(last[done], last[~done])
    return chosen.ravel(), rejected.ravel()


def _kendall(judged: Sequence[float], true: Sequence[float]) -> float:
    """NaN where no two episodes truly differ: there is no order to find, which is no failure."""
    return metrics.kendall_tau_a(judged, true) if len(set(true)) > 1 else math.nan


def _fast(model: RewardModel) -> RewardModel:
    """Controls are read without words: they measure numbers, and words cost ten times more."""
    return in_way(model, "fast")


def _pooled(
    episodes: Sequence[Episode], scores: Sequence[EpisodeScore], config: QualityConfig
) -> dict[str, float]:
    curves = [held(s) for s in scores]
    tasks = np.array([e.env_name for e in episodes])
    ever = np.array([succeeds(e) for e in episodes])
    at_end = np.array([e.truth is not None and bool(e.truth.true_success[-1]) for e in episodes])
    judged = [s for score in scores for s in score.steps[1:] if s.scored]
    sure = np.array([success_score(c) for c in curves])
    pooled = _with_interval("auc", metrics.roc_auc, sure, ever, tasks)
    highest, last = (np.array(v) for v in zip(*[(c.max(), c[-1]) for c in curves], strict=True))
    pooled |= _with_interval("auc_max", metrics.roc_auc, highest, ever, tasks)
    pooled |= _with_interval("auc_last", metrics.roc_auc, last, at_end, tasks)
    pooled |= _with_interval("auprc", metrics.average_precision, sure, ever, tasks)
    pooled |= _with_interval("fpr_at_recall90", _fpr_at_recall90, sure, ever, tasks)
    pooled |= {"n_episodes": float(len(episodes)), "n_success": float(ever.sum())}
    pooled["n_constant_truth"] = float(sum(not moves(e) for e in episodes))
    pooled["n_steps"] = float(len(judged))
    pooled["n_errors"] = float(sum(s.error is not None for s in judged))
    if any(s.reasoning for s in judged) or (config.think and any(s.error for s in judged)):
        pooled |= parse_rate(episodes, scores)
        pooled |= word_metrics(told(episodes, scores))
    return pooled | number_metrics(episodes, scores)


def _fpr_at_recall90(sure: np.ndarray, ever: np.ndarray) -> float:
    return metrics.fpr_at_recall(sure, ever, 0.9)


def _with_interval(
    name: str, statistic: Callable[[np.ndarray, np.ndarray], float],
    values: np.ndarray, labels: np.ndarray, tasks: np.ndarray,
) -> dict[str, float]:  # fmt: skip
    """A number over all episodes; its interval draws whole tasks, whose episodes are alike."""

    def of_drawn(drawn: np.ndarray) -> float:
        index = drawn.astype(int)
        return statistic(values[index], labels[index])

    clusters = tasks if len(set(tasks)) > 1 else None  # of one task there is nothing to draw
    low, high = metrics.bootstrap_interval(
        np.arange(len(values)), statistic=of_drawn, clusters=clusters
    )
    return {name: statistic(values, labels), f"{name}_low": low, f"{name}_high": high}


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row})
    return {name: _nanmean([row.get(name, math.nan) for row in rows]) for name in names}


def _nanmean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def _command(argv: Sequence[str]) -> str:
    return " ".join(["sole eval quality", *argv])
