"""The sections of docs/results.md on what agents learned and did.

Each stands only where its figures are recorded: ``rl.*`` (``sole bench rl --figures``),
``attempts.*`` (``sole eval attempts --figures --prefix attempts.NAME``) and ``refine.*`` (``sole
refine --figures``).
"""

from __future__ import annotations

import re

from sole.evals.quotes import Figures, measured_by, quote

_SWEEP = re.compile(r"rl\.(?P<sweep>[^.]+)\.(?:(?P<reward>[^.]+)_)?solved")
_TASK = re.compile(r"rl\.(?P<suite>[^.]+)\.(?P<task>[^.]+)\.true_success")
_ATTEMPTS = re.compile(r"attempts\.(?P<name>[^.]+)\.return_spearman")
_REFINED = re.compile(r"refine(?:\.(?P<which>.+))?\.before")
#: A number without decimals; a bare 0 would take as many as its unit has.
_COUNT = "1"
UNDER_TEST = "under test"
PARTS = ("sim", "render", "act", "score", "learn")
#: Figures that one sweep each records without its name: words, form, what was aimed at.
HEADLINES = {
    "rl.hacked_share": ("hacked runs (judged >= 50 %, true < 40 %)", "0%", "<= 4 %"),
    "rl.score_share_of_wall": ("share of the wall time that scoring takes", "0%", "<= 35 %"),
    "rl.minutes_to_50": ("minutes to 50 % true success, median", "0.0", "-"),
}


def rl_sections(figures: Figures) -> list[str]:
    """Every sweep with its reward models, the headline, and success by task."""
    sweeps: dict[str, list[tuple[str, str]]] = {}
    for name in figures:
        if found := _SWEEP.fullmatch(name):
            row = found["reward"] or UNDER_TEST, name.removesuffix("solved")
            sweeps.setdefault(found["sweep"], []).append(row)
    lines = []
    for sweep, rows in sweeps.items():
        rows.sort(key=lambda row: (row[0] != UNDER_TEST, row[0]))
        lines += ["", *_sweep(sweep, rows, figures)]
    lines += _headline(figures) + _tasks(figures)
    return ["## What agents learn from it", *lines] if lines else []


def _sweep(sweep: str, rows: list[tuple[str, str]], figures: Figures) -> list[str]:
    """``rows``: name of the reward model, and the first part of its figures' names."""
    lines = [
        f"### Sweep {sweep}", "",
        "| reward | runs | tasks solved | mean success | IQM | hacked | min to 50 % | scoring |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for reward, place in rows:
        q = [quote(f"{place}{name}", form, figures) for name, form in (
            ("n_runs", _COUNT), ("n_planned", _COUNT), ("solved", _COUNT), ("n_tasks", _COUNT),
            ("mean_success", "0%"), ("iqm_success", "0%"), ("hacked_share", "0%"),
            ("minutes_to_50", "0.0"), ("score_share_of_wall", "0%"),
        )]  # fmt: skip
        cells = [f"{q[0]} of {q[1]}", f"{q[2]} of {q[3]}", *q[4:]]
        lines.append(f"| {reward} | {' | '.join(cells)} |")
    lines += [
        "", "Seconds of training for 1,000 environment steps:", "",
        "| reward | simulate | render | act | score | learn |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for reward, place in rows:
        cells = [quote(f"{place}s_per_1000_steps_{part}", "0.0", figures) for part in PARTS]
        lines.append(f"| {reward} | {' | '.join(cells)} |")
    return lines + measured_by([f"{place}solved" for _, place in rows], figures)


def _headline(figures: Figures) -> list[str]:
    names = [name for name in HEADLINES if name in figures]
    if not names:
        return []
    lines = ["", "### Over whole sweeps", "", "| of the model under test | | target |"]
    lines.append("|---|---|---|")
    for name in names:
        words, form, target = HEADLINES[name]
        lines.append(f"| {words} | {quote(name, form, figures)} | {target} |")
    return lines + measured_by(names, figures)


def _tasks(figures: Figures) -> list[str]:
    found = [match for name in sorted(figures) if (match := _TASK.fullmatch(name))]
    if not found:
        return []
    lines = ["", "### By task", "", "Mean true success over seeds [lowest and highest seed].", ""]
    lines += ["| suite | task | true success |", "|---|---|---|"]
    for one in found:
        cell = quote(one.string, "0%", figures)
        lines.append(f"| {one['suite']} | {one['task']} | {cell} |")
    return lines + measured_by([one.string for one in found], figures)


def attempts_section(figures: Figures) -> list[str]:
    """How well a judge orders what agents did: ``attempts.NAME.*``."""
    found = [match for name in sorted(figures) if (match := _ATTEMPTS.fullmatch(name))]
    if not found:
        return []
    lines = [
        "## Does it prefer the better attempts of agents?", "",
        "| attempts | rank of return | rank of the end | gain of the preferred fifth |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        place = one.string.removesuffix("return_spearman")
        names = ("return_spearman", "final_spearman", "selection_gain")
        cells = [quote(f"{place}{name}", "0.00", figures) for name in names]
        lines.append(f"| {one['name']} | {' | '.join(cells)} |")
    return lines + measured_by([one.string for one in found], figures)


def refine_section(figures: Figures) -> list[str]:
    """The clone before and after: ``refine.*``, and ``refine.WHICH.*`` of other reward models."""
    found = [match for name in sorted(figures) if (match := _REFINED.fullmatch(name))]
    if not found:
        return []
    found.sort(key=lambda one: one["which"] or "")
    lines = [
        "## A cloned policy, refined", "",
        "| reward | runs | true success before | after | p of the paired test |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        place = one.string.removesuffix("before")
        forms = (("n_runs", _COUNT), ("before", "0%"), ("after", "0%"), ("p_value", "0.000"))
        cells = [quote(f"{place}{name}", form, figures) for name, form in forms]
        lines.append(f"| {one['which'] or UNDER_TEST} | {' | '.join(cells)} |")
    return lines + measured_by([one.string for one in found], figures)
