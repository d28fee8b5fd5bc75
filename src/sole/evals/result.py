"""What an evaluation found: one row per model, as tables, JSON and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from sole.evals import metrics
from sole.evals.figures import Figure
from sole.grid import Grid, fitted

#: Metric -> (unit, decimals shown).
UNITS = {
    "headline": ("", 2),
    "spearman": ("", 2), "pearson": ("", 2), "mae": ("points", 1), "voc_expert": ("", 2),
    "voc_reversed": ("", 2), "auc": ("", 2), "auc_max": ("", 2), "auc_last": ("", 2),
    "auc_task": ("", 2), "falling_f1": ("", 2), "rising_f1": ("", 2),
    "macro_f1": ("", 2), "direction_accuracy": ("share", 2), "negative_rate": ("share", 2),
    "bias_success": ("points", 1), "bias_failure": ("points", 1),
    "voc_static": ("", 2), "static_drift": ("points", 1), "static_rise": ("points", 1),
    "shuffled_spearman": ("", 2), "tail_rise": ("points", 1), "rewind_kendall": ("", 2),
    "speed_shift": ("points", 1), "jitter_shift": ("points", 1), "paraphrase_shift": ("points", 1),
    "instruction_gap": ("points", 1), "confusion_gap": ("points", 1),
    "anchoring_follow": ("share", 2),
    "kendall_last": ("", 2), "kendall_mean": ("", 2), "ranking_accuracy": ("", 2),
    "preference_accuracy": ("share", 2), "preference_ties": ("share", 2),
    "success_fail_gap": ("points", 1), "auprc": ("", 2), "fpr_at_recall90": ("share", 2),
    "prm_mp": ("", 2), "prm_mc50": ("share", 2), "prm_ppl": ("", 2), "prm_cra": ("", 3),
    "prm_str": ("share", 2),
}  # fmt: skip
#: Metric of single judged frames -> (unit, decimals); those of words need reasoning.
STEPWISE = {
    "frame_spearman": ("", 2), "frame_pearson": ("", 2), "progress_error": ("points", 1),
    "spread_spearman": ("", 2), "parse_rate": ("share", 3), "hallucination": ("share", 2),
    "words_own": ("share", 2), "words_own_kappa": ("", 2), "words_own_opposite": ("share", 2),
    "words_true": ("share", 2), "words_true_kappa": ("", 2), "words_true_opposite": ("share", 2),
    "coherence": ("share", 2),
}  # fmt: skip
#: What fits on a terminal's width per task; the JSON holds everything.
PER_TASK = ("spearman", "mae", "voc_expert", "auc_task", "falling_f1", "voc_static", "static_rise")
_NAMES_WIDTH, _MODEL_WIDTH = 30, 24  # of the columns of the table of models
#: Numbers without an interval.
COUNTS = (
    "n_steps", "n_errors", "n_texts", "n_claims", "n_directions", "n_episodes", "n_success",
    "n_constant_truth", "ms_per_frame",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One model's results: per task, pooled over everything, and one table row per episode."""

    model_id: str
    per_task: dict[str, dict[str, float]]
    pooled: dict[str, float]
    per_episode: tuple[dict[str, Any], ...] = ()

    def mean(self, name: str) -> tuple[float, float, float]:
        """Mean over tasks with its 95 percent bootstrap interval over tasks (NaN below two)."""
        if name == "headline":
            return self.headline()
        if name in self.pooled:
            return (
                self.pooled[name],
                self.pooled.get(f"{name}_low", math.nan),
                self.pooled.get(f"{name}_high", math.nan),
            )
        values = np.array([task.get(name, math.nan) for task in self.per_task.values()])
        known = values[~np.isnan(values)]
        if not len(known):
            return math.nan, math.nan, math.nan
        low, high = metrics.bootstrap_interval(known) if len(known) > 1 else (math.nan, math.nan)
        return float(known.mean()), low, high

    def headline(self) -> tuple[float, float, float]:
        """Trust in [0, 1] with its 95 percent interval over tasks: four demands, none dispensable.

        The geometric mean of: telling success from failure inside a task (2 AUC - 1), ordering the
        moments of every episode (Spearman), falling when the video runs backwards ((1 - VROC) / 2)
        and standing still when nothing happens (1 - rise / 100), each cut off to [0, 1] after the
        mean over tasks. A ramp in time has no AUC, a constant no order: both have 0.
        """
        parts = [task for task in self.per_task.values() if not math.isnan(_of(task, "spearman"))]
        if not parts or all(math.isnan(_of(task, "voc_reversed")) for task in parts):
            return math.nan, math.nan, math.nan
        places = np.arange(len(parts))

        def of_drawn(drawn: np.ndarray) -> float:
            return trust([parts[int(i)] for i in drawn])

        low, high = metrics.bootstrap_interval(places, statistic=of_drawn)
        known = (low, high) if len(parts) > 1 else (math.nan, math.nan)
        return of_drawn(places), *known

    def as_dict(self) -> dict[str, Any]:
        """Everything but single episodes, JSON-able; a number that is not known is None."""
        summary = {
            name: dict(zip(("value", "low", "high"), self.mean(name), strict=True))
            for name in (*UNITS, *STEPWISE)
        }
        whole = {
            "model_id": self.model_id,
            "summary": summary,
            "per_task": self.per_task,
            "pooled": self.pooled,
        }
        return _without_nan(whole)


def _of(task: Mapping[str, float], name: str) -> float:
    return task.get(name, math.nan)


def trust(tasks: Sequence[Mapping[str, float]]) -> float:
    """The headline of some tasks' metrics, in [0, 1]; see :meth:`Row.headline`.

    Example:
        >>> trust([{"auc_task": 1.0, "spearman": 1.0, "voc_reversed": -1.0, "static_rise": 0.0}])
        1.0
    """

    def mean(name: str) -> float:
        known = [v for v in (_of(task, name) for task in tasks) if not math.isnan(v)]
        return float(np.mean(known)) if known else math.nan

    factors = (
        2 * mean("auc_task") - 1,
        mean("spearman"),
        (1 - mean("voc_reversed")) / 2,
        1 - mean("static_rise") / 100,
    )
    return float(np.prod(np.clip(factors, 0.0, 1.0)) ** 0.25)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def result_json(rows: Sequence[Row], config: str, indent: int | None = None) -> str:
    """The whole evaluation as JSON; ``config`` is the settings' own JSON."""
    whole = {"rows": [row.as_dict() for row in rows], "config": json.loads(config)}
    return json.dumps(whole, indent=indent, allow_nan=False)


def summary_tables(rows: Sequence[Row], width: int) -> list[Table]:
    """Models side by side: mean over tasks [95 percent interval].

    What was measured of no model is left out.

    Args:
        rows: The models.
        width: Of the terminal; models that do not fit beside the others come in another table.
    """
    beside = max((width - _NAMES_WIDTH) // _MODEL_WIDTH, 1)
    return [_summary_table(rows[k : k + beside]) for k in range(0, len(rows), beside)]


def _summary_table(rows: Sequence[Row]) -> Table:
    table = Table(title="mean over tasks [95% interval]")
    table.add_column("metric", no_wrap=True)
    for row in rows:
        table.add_column(row.model_id, overflow="fold")
    for name, (unit, digits) in {**UNITS, **STEPWISE}.items():
        cells = [_cell(*row.mean(name), digits) for row in rows]
        if set(cells) != {"-"}:
            table.add_row(f"{name} {unit}".strip(), *cells)
    for name in COUNTS:
        counts = [row.pooled.get(name, math.nan) for row in rows]
        if not all(map(math.isnan, counts)):
            table.add_row(name, *map(_count, counts))
    return table


def task_tables(row: Row, width: int) -> list[Table]:
    """One model's metrics per task; what does not fit beside the others comes in another table.

    Args:
        row: The model.
        width: Of the terminal.
    """
    lines = []
    for task, found in row.per_task.items():
        shown = ((found.get(name, math.nan), UNITS[name][1]) for name in PER_TASK)
        cells = [_cell(value, math.nan, math.nan, digits) for value, digits in shown]
        lines.append((task.partition("/")[2] or task, *cells))
    names = ("task", *(name.replace("_", " ") for name in PER_TASK))
    return fitted(Grid(row.model_id, names, lines), width)


def _cell(value: float, low: float, high: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if math.isnan(low) else f"{text} \\[{low:.{digits}f}, {high:.{digits}f}]"


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def result_figures(rows: Mapping[str, Row], prefix: str, model: str = "model") -> list[Figure]:
    """Figures ``PREFIX.METRIC``, ``PREFIX.ROW.METRIC``, ``PREFIX.headline.ROW`` and ``MODEL.*``.

    Metrics of single frames are recorded where they were measured. A row that says one and the same
    number whatever it sees (``constant``) is called ``static`` among the headlines.

    Args:
        rows: By name; the model itself has the empty one.
        prefix: Of all names.
        model: What the model itself is called among the headlines, and what its words show.
    """
    figures = []
    for part, row in rows.items():
        place = f"{prefix}.{part}" if part else prefix
        for name, (unit, _) in {**UNITS, **STEPWISE}.items():
            found = row.mean(name)
            if name in UNITS or not math.isnan(found[0]):
                figures.append(Figure(f"{place}.{name}", found[0], unit, *found[1:]))
        called = {"": model, "constant": "static"}.get(part, part)
        value, low, high = row.headline()
        figures.append(Figure(f"{prefix}.headline.{called}", value, "", low, high))
    pooled = rows[""].pooled
    if "parse_rate" in pooled:
        for name in ("parse_rate", "hallucination", "anchoring_follow"):
            value, low, high = rows[""].mean(name)
            figures.append(Figure(f"{model}.{name}", value, "share", low, high))
        figures.append(Figure(f"{model}.n_steps_checked", pooled["n_steps"], "steps"))
    return figures
