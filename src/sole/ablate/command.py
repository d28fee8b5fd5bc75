"""``sole ablate``: all ablations, one after the other, into figures and a page."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from sole.ablate.config import AblateConfig, AblationConfig
from sole.config import load_preset, parse_config
from sole.console import stderr, stdout
from sole.errors import ConfigError
from sole.evals.figures import Figure, by_name, fill_quotes, record_figures
from sole.run import write_atomically

#: Figure, its unit, and its column.
MEASURES = {
    "spearman": ("", "rank correlation"),
    "auc": ("", "success AUC"),
    "hacked": ("share", "agents that hacked it"),
}
#: The default of `sole sft`, whose module would bring torch.
QUESTION_SHARE = 0.15


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole ablate``."""
    config = parse_config(AblateConfig, argv, "sole ablate", presets=False)
    ablations = load_ablations(config.presets)
    # Imported only now: torch takes seconds that --help does not need.
    from sole.ablate.train import check, run

    check(config, ablations)
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(config.seeds):  # the whole table first, then its second seed
        for ablation in ablations:
            if seed < (ablation.max_seeds or config.seeds):
                stderr.print(f"{ablation.name}, seed {seed}", markup=False)
                results.setdefault(ablation.name, []).append(run(config, ablation, seed))
    figures = figures_of(results)
    stdout.print(_table(ablations, figures))
    if config.figures:
        record_figures(config.figures, figures, " ".join(["sole ablate", *argv]))
    if config.page:
        write_atomically(config.page, page(config, ablations, by_name(figures)))
    return 0


def load_ablations(presets: Sequence[Path]) -> list[AblationConfig]:
    """Read the presets.

    Raises:
        ConfigError: If there is none, or two have one name.
    """
    found = [_load(path) for path in presets]
    names = [one.name for one in found]
    if not found or len(set(names)) < len(names):
        raise ConfigError(f"expected presets of different names, got {names}")
    return found


def _load(path: Path) -> AblationConfig:
    from pydantic import ValidationError

    try:
        return AblationConfig.model_validate(load_preset(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"preset {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def figures_of(results: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
    """Means over seeds; with several, bounded by the smallest and the largest.

    Example:
        >>> two = [{"spearman": s, "auc": 0.5, "hacked": 0.0} for s in (0.25, 0.75)]
        >>> figures_of({"full": two})[0]
        Figure(name='ablation.full.spearman', value=0.5, unit='', low=0.25, high=0.75)
    """
    figures = []
    for name, seeds in results.items():
        for measure, (unit, _) in MEASURES.items():
            values = [one[measure] for one in seeds]
            bounds = (min(values), max(values)) if len(values) > 1 else (None, None)
            mean = statistics.fmean(values)
            figures.append(Figure(f"ablation.{name}.{measure}", mean, unit, *bounds))
    return figures


def page(
    config: AblateConfig, ablations: Sequence[AblationConfig], figures: Mapping[str, dict]
) -> str:
    """The page: a table that quotes the figures, and how they came about."""
    lines = [
        "# Ablations", "",
        "Each row is nano trained from nothing without one part of the recipe, at one small",
        "budget, so that rows can be compared with each other and with nothing else. Measured on",
        f"dev tasks ({config.episodes_per_task} labelled episodes each, fast mode); `hacked` is "
        "the share of agents",
        f"({config.rl_episodes} episodes on {' and '.join(config.rl_tasks)}) that were judged "
        "successful in half of",
        "their episodes or more and were so in fewer than 40 %. A row of one seed says nothing",
        "of chance; of several it is their mean [smallest, largest], and what lies within is no",
        "finding.",
        *_steps(ablations),
        "Rows of few families, or of experts alone, see fewer episodes more often, and at most a",
        "quarter of a row's episodes are hard negatives. The whole recipe here asks questions of",
        f"space and time (`question_share` {QUESTION_SHARE}, the default of `sole sft`); the nano",
        "that ships was trained without any.",
        "", f"| training | {' | '.join(title for _, title in MEASURES.values())} | seeds |",
        "|---|" + "---|" * (len(MEASURES) + 1),
    ]  # fmt: skip
    for one in ablations:
        seeds = min(config.seeds, one.max_seeds or config.seeds)
        quotes = [_quote(f"ablation.{one.name}.{measure}", seeds > 1) for measure in MEASURES]
        lines.append(f"| {one.about} | {' | '.join(quotes)} | {seeds} |")
    lines += [
        "",
        "Again: `make ablations`. What each row changes stands in `presets/ablation-*.toml`.",
    ]
    return fill_quotes("\n".join(lines) + "\n", dict(figures))


def _quote(name: str, bounded: bool) -> str:
    ends = ["", "@low", "@high"] if bounded else [""]
    mean, *bounds = [f"<!--fig:{name}{end}-->?<!--/fig-->" for end in ends]
    return f"{mean} [{', '.join(bounds)}]" if bounds else mean


def _steps(ablations: Sequence[AblationConfig]) -> list[str]:
    """How long the rows are trained, and which differ: nobody measured what their steps cost."""
    rows = Counter((one.sft_steps, one.rlvr_steps) for one in ablations)
    (usual, _), *_ = rows.most_common(1)
    said = [f"Rows have {usual[0]} supervised steps and then {usual[1]} by verifiable rewards."]
    said += [
        f'"{one.about}" has {one.sft_steps} and {one.rlvr_steps}.'
        for one in ablations
        if (one.sft_steps, one.rlvr_steps) != usual
    ]
    if len(said) > 1:
        said.append("What a step of either kind costs was not measured.")
    return said


def _table(ablations: Sequence[AblationConfig], figures: Sequence[Figure]) -> Table:
    table = Table("training", *(title for _, title in MEASURES.values()))
    values = {figure.name: figure.value for figure in figures}
    for one in ablations:
        cells = [f"{values[f'ablation.{one.name}.{measure}']:.2f}" for measure in MEASURES]
        table.add_row(one.about, *cells)
    return table
