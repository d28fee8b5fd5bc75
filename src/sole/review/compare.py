"""``sole report compare``: what two results on the same episodes differ in, and how surely."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field
from rich.markup import escape
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import stderr, stdout
from sole.errors import ConfigError
from sole.evals.figures import Figure, record_figures
from sole.evals.output import finite
from sole.evals.result import UNITS
from sole.report.outputs import OutputFiles, check_output
from sole.review.compare_cases import Pair, film_pairs, most_different, no_pairs, write_pairs
from sole.review.compare_page import CAUTION, compare_page, signed_text
from sole.review.meanings import MEANINGS
from sole.review.paired import (
    Difference,
    check_same_episodes,
    differences,
    paired_episodes,
)
from sole.review.pieces import interval_text, value_text
from sole.review.plots import check_matplotlib, write_compare_plot
from sole.review.saved import SavedResult, SavedRow, read_result
from sole.run import write_atomically


class CompareConfig(Config):
    """Compare two results of sole eval quality on the same episodes, metric by metric."""

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A.json")]
    """What sole eval quality --out wrote."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B.json")]
    """Another one, or the same for two models of one run (--row-b)."""
    row_a: str = ""
    """Model of A.json: its id, or its number from 0; the first when not given."""
    row_b: str = ""
    """The same of B.json."""
    html: Path | None = None
    """Also write a page (.html) that needs nothing beside it."""
    png: Path | None = None
    """Also write both scatters of episodes, A against B, as a picture (.png)."""
    parquet: Path | None = None
    """Also write what both said of each episode as a table (.parquet)."""
    worst: int = Field(3, ge=0)
    """Of the page: clips of each kind (A nearer to the truth, B nearer, success judged
    differently), each by both models; 0: none, and no model is loaded."""
    data: Path | None = None
    """The data set of A, if it now lies elsewhere."""
    cache: Path | None = None
    """The simulated episodes of A, if they now lie elsewhere."""
    figures: Path | None = None
    """Record by how much B is better than A in this figures file, as PREFIX.METRIC_gain."""
    prefix: str = "compare"
    """Name of the figures, for example rlvr."""
    record: tuple[str, ...] = ("mae", "falling_f1")
    """Which metrics are recorded."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def run_compare(argv: Sequence[str]) -> int:
    """Entry point of ``sole report compare``."""
    config = parse_config(CompareConfig, argv, "sole report compare", presets=False)
    _check_outputs(config)
    _check_record(config.record)
    results = read_result(config.a), read_result(config.b)
    a, b = results[0].row(config.row_a), results[1].row(config.row_b)
    check_same_episodes(a, b, (f"A ({config.a})", f"B ({config.b})"))
    found = differences(a, b)
    _write(config, results, (a, b), found)
    if config.figures:
        command = " ".join(["sole report compare", *argv])
        record_figures(config.figures, gains(found, config.record, config.prefix), command)
    if config.print_json:
        sys.stdout.write(json.dumps(as_json(config, a, b, found), allow_nan=False) + "\n")
    else:
        stdout.print(_table(a, b, found))
    return 0


def _check_outputs(config: CompareConfig) -> None:
    if config.html:
        check_output("--html", config.html, (".html", ".htm"), ())
    if config.parquet:
        check_output("--parquet", config.parquet, (".parquet",), ())
        tables = [path.with_suffix(".episodes.parquet").resolve() for path in (config.a, config.b)]
        if config.parquet.resolve() in tables:
            raise ConfigError(f"--parquet {config.parquet}: is the table of a result; name another")
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()


def _write(
    config: CompareConfig, results: tuple[SavedResult, SavedResult],
    rows: tuple[SavedRow, SavedRow], found: Sequence[Difference],
) -> None:  # fmt: skip
    """The page, the picture and the table, as far as they were asked for."""
    pairs = [Pair(x, y) for x, y in paired_episodes(*rows)]
    with OutputFiles() as files:
        if config.html:
            page = _page(config, results, rows, found, pairs)
            write_atomically(files.temporary(config.html), page)
        if config.png:
            write_compare_plot(files.temporary(config.png), *rows, pairs)
        if config.parquet:
            write_pairs(files.temporary(config.parquet), *rows, pairs)
    for path in (config.html, config.png, config.parquet):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)


def _page(
    config: CompareConfig, results: tuple[SavedResult, SavedResult],
    rows: tuple[SavedRow, SavedRow], found: Sequence[Difference], pairs: Sequence[Pair],
) -> str:  # fmt: skip
    cases = most_different(pairs, config.worst) if config.worst else {}
    clips = no_pairs("--worst 0 asked for none")
    if config.worst:
        clips = film_pairs(results, rows, cases, config.data, config.cache)
    if clips.missing and config.worst:
        stderr.print(f"no clips: {clips.missing}", markup=False, soft_wrap=True)
    return compare_page(*rows, found, cases, clips)


def _check_record(names: Sequence[str]) -> None:
    known = [name for name in UNITS if MEANINGS[name][0] in {"up", "down"}]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"--record: no metric with a better direction is called {', '.join(unknown)}; there "
            f"are: {', '.join(known)}"
        )


def gains(found: Sequence[Difference], names: Sequence[str], prefix: str) -> list[Figure]:
    """Figures ``PREFIX.METRIC_gain`` of the named metrics: positive where B is better than A."""
    return [
        Figure(f"{prefix}.{one.name}_gain", value, UNITS[one.name][0], low, high)
        for one in found
        if one.name in names
        for value, low, high in [one.gain()]
    ]


def as_json(
    config: CompareConfig, a: SavedRow, b: SavedRow, found: Sequence[Difference]
) -> dict[str, Any]:
    """What ``--json`` prints; a number that is not known is null."""
    return finite(
        {
            "a": {"file": str(config.a), "model_id": a.model_id},
            "b": {"file": str(config.b), "model_id": b.model_id},
            "n_episodes": len(a.episodes),
            "metrics": {
                one.name: {
                    "a": one.a, "b": one.b, "difference": one.value, "low": one.low,
                    "high": one.high, "excludes_zero": one.excludes_zero, "verdict": one.verdict,
                    "n_tasks": one.n_tasks,
                }
                for one in found
            },
        }
    )  # fmt: skip


def _table(a: SavedRow, b: SavedRow, found: Sequence[Difference]) -> Table:
    title = escape(f"A {a.model_id}, B {b.model_id}: {len(a.episodes)} episodes")
    table = Table(title=title, caption=CAUTION, title_justify="left", caption_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in ("A", "B", "B - A \\[95%]"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("B is", no_wrap=True)
    for one in found:
        digits = UNITS[one.name][1]
        interval = interval_text(one.low, one.high, digits)
        gap = escape(f"{signed_text(one.value, digits)} {interval}".strip())
        table.add_row(
            one.name, value_text(one.a, digits), value_text(one.b, digits), gap,
            one.verdict, style="bold" if one.excludes_zero else "",
        )  # fmt: skip
    return table
