"""The report of an RL run: was the task learned, and did the reward model tell the truth?"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sole.report.chart import Axis, Series, line_chart
from sole.report.picture import write_training_picture
from sole.report.player import document, numbers, player
from sole.report.run_data import (
    RunData,
    column,
    counted_total,
    read_run,
    rolling_mean,
    smoothing_window,
)
from sole.run import write_atomically

__all__ = ["write_training_picture", "write_training_report"]

_WHEN = {"start": "At the start", "middle": "Half-way", "end": "At the end"}
#: Whether anything true is known -> what the page says of its numbers.
_ORIGIN = {
    True: "True success and true progress come from the simulator and were never shown to the "
    "agent; judged ones come from the reward model.",
    False: "All success and progress here is the reward model's judgement; of this environment "
    "nothing true is known.",
}


def write_training_report(run_folder: Path, out: Path) -> None:
    """Write one self-contained HTML page about a run of ``sole rl``.

    Headline, judged against true success over the episodes, the recorded roll-outs as players with
    the model's words, and a table of what it took. Parts that a run lacks are left out.

    Args:
        run_folder: Holds config.json, metrics.jsonl and rollouts/.
        out: The HTML file; it appears only when it is whole.

    Raises:
        DataError: If the folder is no run, or a file in it is damaged.
    """
    run = read_run(run_folder)
    parts = [
        f"<h1>{html.escape(run.task)}</h1>",
        f'<p class="lead">{html.escape(_lead(run))}</p>',
        numbers(_headline(run)),
        _chart_section(run),
        _rollout_section(run),
        _fact_table(run),
        f"<footer>{_ORIGIN[_has_truth(run)]} Arrow keys step, space plays.</footer>",
    ]
    write_atomically(out, document(f"{run.task} - sole rl", "".join(parts)))


def success_chart(run: RunData) -> str:
    """Judged and true success over training episodes, as an inline SVG.

    Training episodes are a rolling mean; evaluations are dots with their 95 percent band. What is
    not known at all, such as the truth of a user's own environment, has no line and no legend.
    """
    window = smoothing_window(run.episodes)
    numbers_ = column(run.episodes, "episode")
    series = [
        Series(label, numbers_, rolling_mean(column(run.episodes, name), window), kind)
        for label, name, kind in (
            ("true success", "true_success", "true"),
            ("judged success", "judged_success", "judged"),
        )
    ]
    if run.evals:
        low, high = column(run.evals, "true_success_low"), column(run.evals, "true_success_high")
        at, true = column(run.evals, "episode"), column(run.evals, "true_success")
        banded = bool(np.isfinite(low).all() and np.isfinite(high).all())
        evaluated = Series(
            "true, evaluated", at, true, "held",
            low if banded else None, high if banded else None, dots=True,
        )  # fmt: skip
        series.insert(0, evaluated)
    series = [one for one in series if np.isfinite(one.y).any()]
    last = max((float(np.nanmax(s.x)) for s in series), default=1.0)
    x_axis, y_axis = Axis("training episodes", 0.0, max(last, 1.0)), Axis("success rate", 0.0, 1.0)
    return line_chart(series, x_axis, y_axis, title="success over training episodes")


def _lead(run: RunData) -> str:
    where = " ".join(str(run.config[k]) for k in ("suite", "env", "env_name") if run.config.get(k))
    judge = run.config.get("reward") or run.config.get("model") or "the reward model"
    place = f"{where}: " if where else ""
    if judge == "env":
        return f"{place}a policy trained on the simulator's own dense reward, to compare with."
    return f"{place}a policy trained on nothing but what {judge} said about its videos."


def _headline(run: RunData) -> dict[str, str]:
    facts: dict[str, str] = {}
    last = run.evals[-1] if run.evals else {}
    if last.get("true_success") is not None:
        words = f"true success over {last.get('n_episodes', '?')} evaluation episodes"
        if last.get("true_success_low") is not None:
            words += f" (95%: {last['true_success_low']:.0%} to {last['true_success_high']:.0%})"
        facts[words] = f"{last['true_success']:.0%}"
    judged = rolling_mean(column(run.episodes, "judged_success"), smoothing_window(run.episodes))
    if judged.size and np.isfinite(judged[-1]):
        facts["success as judged, last training episodes"] = f"{judged[-1]:.0%}"
    facts["minutes"] = f"{run.minutes:.0f}" if run.minutes >= 1 else f"{run.minutes:.1f}"
    facts["training episodes"] = f"{_last(run, 'episode'):.0f}"
    seeds = run.config.get("seeds", run.config.get("seed"))
    if seeds is not None:
        many = isinstance(seeds, list | tuple)
        facts["seeds" if many else "seed"] = ", ".join(map(str, seeds)) if many else str(seeds)
    return facts


def _chart_section(run: RunData) -> str:
    note = ""
    window = smoothing_window(run.episodes)
    if window > 1:
        note = f'<p class="meta">Training lines: mean over {window} log lines.</p>'
    title = "Judged and true success" if _has_truth(run) else "Judged success"
    return f'<h2>{title}</h2><div class="card">{success_chart(run)}{note}</div>'


def _has_truth(run: RunData) -> bool:
    logged = (*run.episodes, *run.evals)
    filmed = any(record.episode.truth is not None for record in run.rollouts)
    return filmed or bool(np.isfinite(column(logged, "true_success")).any())


def _rollout_section(run: RunData) -> str:
    if not run.rollouts:
        return ""
    players = []
    for record in run.rollouts:
        heading = f"{_WHEN[record.name]}: after {record.number} episodes"
        if record.episode.truth is not None:
            heading += ", solved" if record.episode.truth.any_success else ", not solved"
        players.append(player(record.episode, record.score, heading))
    return f"<h2>What the robot did, and what the model said</h2>{''.join(players)}"


def _fact_table(run: RunData) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in _facts(run).items()
    )
    return f'<h2>What it took</h2><div class="card"><table>{rows}</table></div>'


def _facts(run: RunData) -> dict[str, str]:
    facts = {"environment steps (decisions)": f"{_last(run, 'step'):,.0f}"}
    calls = column(run.episodes, "reward_model_calls")  # a running count, unlike the seconds
    if np.isfinite(calls).any():
        facts["reward-model calls"] = f"{counted_total(calls):,.0f}"
    seconds = column(run.episodes, "reward_model_seconds")
    if np.isfinite(seconds).any():
        facts["reward-model seconds"] = f"{np.nansum(seconds):,.1f}"
    if run.evals:
        facts |= _eval_facts(run.evals[-1])
    facts["wall time"] = f"{run.minutes:.1f} minutes"
    for name in (
        "suite",
        "env",
        "env_name",
        "reward",
        "model",
        "algorithm",
        "observation",
        "think",
    ):
        if run.config.get(name):
            facts[name.replace("_", " ")] = str(run.config[name])
    return facts


def _eval_facts(last: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "held_success": ("still solved at the last moment", "{:.0%}"),
        "judged_progress_final": ("judged progress at the end of an episode", "{:.0f}%"),
    }
    return {
        label: form.format(last[name])
        for name, (label, form) in names.items()
        if np.isfinite(column((last,), name)[0])
    }


def _last(run: RunData, name: str) -> float:
    """The largest value of a growing count, 0 when it was never logged."""
    values = np.concatenate([column(run.episodes, name), column(run.evals, name), [0.0]])
    return float(np.nanmax(values))
