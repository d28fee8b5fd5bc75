"""``python -m sole.evals.trust_page docs/results.md``: the page of everything that was recorded.

Tables of quotes (``<!--fig:NAME-->``), each only where docs/figures.json holds its figures, so the
page never claims what no command has measured. ``make trust`` measures and then writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from sole.console import run_module
from sole.errors import ConfigError
from sole.evals.attacks import ATTACKS
from sole.evals.figures import FIGURES, fill_quotes, load_figures
from sole.evals.learned_sections import attempts_section, refine_section, rl_sections
from sole.evals.quotes import Figures, measured_by, quote
from sole.evals.refilm import SIM_ATTACKS
from sole.evals.result import STEPWISE, UNITS
from sole.run import write_atomically

PREFIX = "trust"
_WANTED = re.compile(r"calibrate\.wanted(?P<percent>\d+)\.fpr")
#: Rows of the table: part of the figures' names, and words.
ROWS = {
    "": "nano, without words", "think": "nano, with words", "from_zero": "nano, from zero only",
    "chained": "nano, chained only", "rewind": "ReWiND-style network, part of the same data",
    "classifier": "success classifier, part of the same data",
    "ramp": "time ramp", "random": "random walk",
    "constant": "static: always 0", "oracle": "oracle",
}  # fmt: skip
#: Columns: metric, heading, how a number is shown.
COLUMNS = (
    ("headline", "headline", "0.00"), ("confusion_gap", "confusion gap", "0.0"),
    ("auc_task", "AUC in a task", "0.00"), ("auc", "AUC", "0.00"),
    ("fpr_at_recall90", "FPR at recall 0.9", "0.00"), ("spearman", "Spearman", "0.00"),
    ("mae", "MAE", "0.0"), ("voc_expert", "VOC", "0.00"), ("voc_reversed", "reversed", "0.00"),
    ("static_rise", "static rise", "0.0"), ("falling_f1", "Falling F1", "0.00"),
)  # fmt: skip
#: Suites whose held-out tasks ``make heldout`` measures.
HELD_OUT = "heldout"
OTHER_SUITES = {"robosuite": "robosuite", "maniskill": "ManiSkill", "libero": "LIBERO"}
#: Rows that are columns where every metric stands.
BESIDE = ("", "ramp", "constant", "random", "oracle")
WORDS = (
    ("parse_rate", "replies that can be read", "0%"),
    ("hallucination", "false claims", "0%"),
    ("words_own", "words go the way of their own number", "0%"),
    ("words_own_kappa", "the same beyond chance (kappa)", "0.00"),
    ("words_own_opposite", "words go against their number", "0%"),
    ("words_true", "words go the way of the truth", "0%"),
    ("words_true_kappa", "the same beyond chance (kappa)", "0.00"),
    ("coherence", "texts without a contradiction", "0%"),
    ("progress_error", "progress calibration error, points", "0.0"),
    ("frame_pearson", "correlation with the truth, all frames", "0.00"),
)
#: What vulnerability was aimed at, in percent.
TARGETS = {"occlusion": 8, "lookalike": 5, "lookalike_sim": 5, "lighting": 6, "lighting_sim": 6,
           "clutter": 4, "clutter_sim": 4}  # fmt: skip
#: Endings of the red team's figures (presets/redteam.toml).
ATTACKED = {
    "before": "before hard negatives", "after": "after", "shipped": "the nano that ships",
}  # fmt: skip
#: What is counted of each; the form of a count has no decimals.
EXPLOITS = (
    ("exploits_per_100_episodes", "exploits in 100 episodes", "0.0"),
    ("exploits_per_hour", "exploits per hour of search", "1"), ("n_exploits", "exploits", "1"),
    ("n_episodes", "episodes", "1"),
)  # fmt: skip
CALIBRATE = (
    ("ece_before", "calibration error as the model says", "0.000"),
    ("ece_after", "calibration error, calibrated", "0.000"), ("fpr", "false positives", "0%"),
    ("fpr_bound", "their promised bound", "0%"), ("recall", "successes found", "0%"),
)  # fmt: skip


def trust_page(figures: Figures) -> str:
    """The page in Markdown; sections whose figures are not recorded are left out.

    Raises:
        ConfigError: If there is not even the table.
    """
    if f"{PREFIX}.headline" not in figures:
        raise ConfigError(
            f"{FIGURES}: no figure {PREFIX}.headline; make trust measures it, or sole eval quality "
            f"--prefix {PREFIX} --figures {FIGURES}"
        )
    sections: tuple[Callable[[Figures], list[str]], ...] = (
        _table, _other_suites, _words, _every_metric, _robustness, _calibration, _redteam,
        rl_sections, attempts_section, refine_section,
    )  # fmt: skip
    lines = [
        "# Results", "",
        "How far nano can be trusted, and what agents learn from it. Written by `make trust` from "
        "`docs/figures.json`, after other measurements by `python -m sole.evals.trust_page "
        "docs/results.md`; what each number means, and how it misleads, is in "
        "[metrics](metrics.md) and [bench](bench.md). Intervals are 95 %.",
    ]  # fmt: skip
    for section in sections:
        found = section(figures)
        lines += ["", *found] if found else []
    return fill_quotes("\n".join(lines) + "\n", {k: dict(v) for k, v in figures.items()})


def _table(figures: Figures) -> list[str]:
    heads = [head for _, head, _ in COLUMNS]
    lines = ["## Side by side on the test tasks", "", f"| | {' | '.join(heads)} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for row, words in ROWS.items():
        place = f"{PREFIX}.{row}" if row else PREFIX
        if f"{place}.headline" in figures:
            cells = [quote(f"{place}.{name}", form, figures) for name, _, form in COLUMNS]
            lines.append(f"| {words} | {' | '.join(cells)} |")
    lines += [
        "",
        "A ramp says 4 percent more at every frame and never looks: it wins VOC and has no "
        "headline. The headline does not ask whether a model listens to its instruction: the "
        "confusion gap does, in points lost under other tasks' sentences. The oracle knows the "
        "truth.",
    ]
    return lines + measured_by([f"{PREFIX}.headline"], figures)


def _other_suites(figures: Figures) -> list[str]:
    """Held-out tasks of each suite nano was not trained on, in the columns of the first table."""
    suites = [name for name in OTHER_SUITES if f"{HELD_OUT}.{name}.spearman" in figures]
    if not suites:
        return []
    heads = [head for _, head, _ in COLUMNS]
    lines = ["## Suites it was not trained on", "", f"| | {' | '.join(heads)} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for suite in suites:
        for row, words in (("", "nano"), ("ramp", "time ramp")):
            place = f"{HELD_OUT}.{suite}.{row}".rstrip(".")
            cells = [quote(f"{place}.{name}", form, figures) for name, _, form in COLUMNS]
            lines.append(f"| {OTHER_SUITES[suite]}, {words} | {' | '.join(cells)} |")
    lines += [
        "",
        "Other robots, rooms and cameras than in training. LIBERO has no scripted experts: what "
        "needs a success or an expert cannot be measured there.",
    ]
    return lines + measured_by([f"{HELD_OUT}.{suites[0]}.spearman"], figures)


def _words(figures: Figures) -> list[str]:
    place = f"{PREFIX}.think"
    if f"{place}.hallucination" not in figures:
        return []
    lines = ["## What it says", "", "| of its reasoning on the test tasks | |", "|---|---|"]
    found = [(f"{place}.{name}", words, form) for name, words, form in WORDS]
    return lines + [f"| {w} | {quote(n, form, figures)} |" for n, w, form in found if n in figures]


def _every_metric(figures: Figures) -> list[str]:
    """The whole table of the model and of the controls, with intervals."""
    shown = [row for row in BESIDE if f"{PREFIX}.{row}.headline".replace("..", ".") in figures]
    lines = ["## Every metric", "", f"| | {' | '.join(ROWS[row] for row in shown)} |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for name, (unit, digits) in {**UNITS, **STEPWISE}.items():
        names = [f"{PREFIX}.{row}.{name}".replace("..", ".") for row in shown]
        cells = [quote(one, f"{0:.{digits}f}", figures) for one in names]
        if set(cells) != {"-"}:
            label = f"{name}, points" if unit == "points" else name
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _robustness(figures: Figures) -> list[str]:
    rows = [a for a in (*ATTACKS, *SIM_ATTACKS) if f"robust.{a}.vulnerability" in figures]
    if not rows:
        return []
    head = "| attack, at strength 1 | vulnerability | target | Spearman changes by |"
    lines = ["## Disturbed cameras", "", *_undisturbed(figures), head, "|---|---|---|---|"]
    for attack in rows:
        share = quote(f"robust.{attack}.vulnerability", "0%", figures)
        change = quote(f"robust.{attack}.spearman_change", "0.00", figures)
        target = f"<= {TARGETS[attack]} %" if attack in TARGETS else "-"
        lines.append(f"| {attack} | {share} | {target} | {change} |")
    return lines + measured_by([f"robust.{rows[0]}.vulnerability"], figures)


def _undisturbed(figures: Figures) -> list[str]:
    """What is judged as it is: who refuses everything is vulnerable to nothing."""
    place = "robust.undisturbed"
    if f"{place}.recall" not in figures:
        return []
    at = quote("robust.success_at", "0.00", figures)
    recall, fpr = (quote(f"{place}.{name}", "0%", figures) for name in ("recall", "fpr"))
    return [
        f"Judged successful from a probability of {at} on. As they are, {recall} of the successful "
        f"and {fpr} of the failed episodes are judged successful.", "",
    ]  # fmt: skip


def _calibration(figures: Figures) -> list[str]:
    if "calibrate.fpr" not in figures:
        return []
    lines = ["## Calibration", "", "| | test tasks | tasks it was fitted on |", "|---|---|---|"]
    for name, words, form in CALIBRATE:
        cells = [quote(f"calibrate.{part}{name}", form, figures) for part in ("", "fit.")]
        lines.append(f"| {words} | {cells[0]} | {cells[1]} |")
    return lines + _operating_points(figures) + measured_by(["calibrate.fpr"], figures)


def _operating_points(figures: Figures) -> list[str]:
    """What a threshold for another false-positive rate gives on the test tasks."""
    places = sorted(
        (int(found["percent"]), name.removesuffix("fpr"))
        for name in figures
        if (found := _WANTED.fullmatch(name))
    )
    if not places:
        return []
    lines = ["", "| threshold chosen for at most | false positives | successes found |"]
    lines.append("|---|---|---|")
    for percent, place in places:
        cells = [quote(f"{place}{name}", "0%", figures) for name in ("fpr", "recall")]
        lines.append(f"| {percent} % false positives | {cells[0]} | {cells[1]} |")
    return lines


def _redteam(figures: Figures) -> list[str]:
    models = {k: v for k, v in ATTACKED.items() if f"redteam.exploits_per_hour_{k}" in figures}
    if not models:
        return []
    rows = [(f"redteam.{name}_", words, form) for name, words, form in EXPLOITS]
    tasks = dict.fromkeys(task for model in models for task in _attacked_tasks(figures, model))
    rows += [(f"redteam.{t}.exploits_", f"exploits of {t.replace('.', '/')}", "1") for t in tasks]
    lines = ["## Red team", "", f"| | {' | '.join(models.values())} |"]
    lines.append("|---" * (len(models) + 1) + "|")
    for place, words, form in rows:
        cells = [quote(f"{place}{model}", form, figures) for model in models]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    lines += [
        "",
        "Before and after: the first nano, and the same weights after one round of hard negatives "
        "(400 steps). Intervals are over tasks. In `worlds` every scene is another one, and so is "
        "an exploit in it. What counts as one: [red team](redteam.md).",
    ]
    return lines + measured_by([f"redteam.exploits_per_hour_{model}" for model in models], figures)


def _attacked_tasks(figures: Figures, model: str) -> list[str]:
    """``SUITE.TASK`` of every task that this model was attacked on."""
    ending = f".exploits_{model}"
    found = [n for n in figures if n.startswith("redteam.") and n.endswith(ending)]
    return [name.removeprefix("redteam.").removesuffix(ending) for name in found]


def main(argv: Sequence[str]) -> int:
    """Write the page to the file that is named."""
    if len(argv) != 1 or not argv[0].endswith(".md"):  # --help is no page
        raise ConfigError("usage: python -m sole.evals.trust_page PAGE.md")
    write_atomically(Path(argv[0]), trust_page(load_figures(FIGURES)))
    return 0


if __name__ == "__main__":
    run_module(main, "trust page")
