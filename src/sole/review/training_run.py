"""``sole report run``: one page about a training of ``sole rl``, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from sole.config import Config, parse_config
from sole.console import stderr
from sole.errors import DataError
from sole.report.outputs import OutputFiles, check_output
from sole.report.training import write_training_picture, write_training_report
from sole.review.plots import check_matplotlib


class RunReportConfig(Config):
    """Show a run of sole rl as one page that needs nothing beside it."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The --run-dir of sole rl; an unfinished run is shown as far as it has come."""
    html: Path | None = None
    """The page (.html); RUN_DIR/report.html when not given."""
    png: Path | None = None
    """Also write frames, progress and success as a picture (.png)."""


def run_run_report(argv: Sequence[str]) -> int:
    """Entry point of ``sole report run``."""
    config = parse_config(RunReportConfig, argv, "sole report run", presets=False)
    if not config.run_dir.is_dir():
        raise DataError(f"{config.run_dir}: no such folder; name the --run-dir of a sole rl")
    page = config.html or config.run_dir / "report.html"
    check_output("--html", page, (".html", ".htm"), ())
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()
    with OutputFiles() as files:
        write_training_report(config.run_dir, files.temporary(page))
        if config.png:
            write_training_picture(config.run_dir, files.temporary(config.png))
    for path in (page, config.png):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0
