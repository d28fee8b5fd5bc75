"""``sole report quality``: one page about one result, with the worst cases as clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import stderr, stdout
from sole.report.outputs import OutputFiles, check_output
from sole.review.clips import Clips, make_clips
from sole.review.plots import check_matplotlib, write_plots
from sole.review.quality_page import case_words, quality_page
from sole.review.saved import SavedEpisode, read_result
from sole.review.worst import KINDS, worst_cases
from sole.run import write_atomically


class QualityReportConfig(Config):
    """Show a result of sole eval quality as one page that needs nothing beside it."""

    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT.json")]
    """What sole eval quality --out wrote; RESULT.episodes.parquet lies beside it."""
    html: Path | None = None
    """The page (.html); RESULT.html when not given."""
    png: Path | None = None
    """Also write the scatter and the reliability diagram as a picture (.png)."""
    worst: int = Field(6, ge=0)
    """Clips of each kind (overrated, underrated, off); 0: none, and no model is loaded."""
    data: Path | None = None
    """The data set that was measured, if it now lies elsewhere."""
    cache: Path | None = None
    """The simulated episodes that were measured, if they now lie elsewhere."""


def run_quality_report(argv: Sequence[str]) -> int:
    """Entry point of ``sole report quality``."""
    config = parse_config(QualityReportConfig, argv, "sole report quality", presets=False)
    page = config.html or config.result.with_suffix(".html")
    check_output("--html", page, (".html", ".htm"), ())
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()
    result = read_result(config.result)
    cases = worst_cases(result.rows[0].episodes, config.worst)
    clips: Clips[SavedEpisode] = Clips({}, missing="--worst 0 asked for none")
    if config.worst:
        clips = make_clips(result, cases, config.data, config.cache)
    if clips.missing and config.worst:
        stderr.print(f"no clips: {clips.missing}", markup=False, soft_wrap=True)
    with OutputFiles() as files:
        write_atomically(files.temporary(page), quality_page(result, clips))
        if config.png:
            write_plots(files.temporary(config.png), result.rows[0])
    if any(cases.values()):
        stdout.print(_case_table(cases))
    for path in (page, config.png):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def _case_table(cases: Mapping[str, Sequence[SavedEpisode]]) -> Table:
    table = Table(title="worst cases, as measured", title_justify="left")
    table.add_column("kind", no_wrap=True)
    table.add_column("episode", overflow="fold")
    for kind, part in cases.items():
        for episode in part:
            table.add_row(KINDS[kind], case_words(kind, episode))
    return table
