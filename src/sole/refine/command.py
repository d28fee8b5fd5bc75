"""``sole refine``: a cloned policy, improved online by what a reward model judges."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from sole.config import parse_config
from sole.console import progress_bar, stdout
from sole.evals.figures import Figure, record_figures
from sole.evals.output import make_room, write_table
from sole.refine.config import RefineConfig
from sole.refine.paired import sign_flip_p_value
from sole.refine.plan import make_model, planned, refined_in_turn, run_side_by_side
from sole.refine.run import Refined
from sole.run import write_atomically

_OUTCOMES = pa.schema(
    [
        ("task", pa.string()), ("seed", pa.int64()), ("reward", pa.string()),
        ("variant", pa.string()), ("layout", pa.int64()), ("before", pa.bool_()),
        ("after", pa.bool_()),
    ]
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole refine``."""
    config = parse_config(RefineConfig, argv, "sole refine")
    make_room(config.out / "result.json")
    for path in (config.figures, config.raw and _raw_path(config.raw, config.prefix)):
        make_room(path)
    refined = run_all(config)
    summary = summarise(refined)
    text = json.dumps({"summary": summary, "runs": [asdict(r) for r in refined]}, indent=1)
    write_atomically(config.out / "result.json", text + "\n")
    write_outcomes(config, refined)
    if config.print_json:
        sys.stdout.write(text + "\n")
    else:
        stdout.print(_table(refined, summary))
    if config.figures:
        command = " ".join(["sole refine", *argv])
        record_figures(config.figures, figures(summary, config.prefix), command)
    return 0


def run_all(config: RefineConfig) -> list[Refined]:
    """Every task and seed, one after the other, or several at a time."""
    plan = planned(config)
    model = make_model(config)
    with progress_bar("runs", total=len(plan)) as advance:
        if config.jobs > 1:
            run_side_by_side(config, plan, advance)
        # What others have finished is only read; an error of theirs comes out again here.
        return list(refined_in_turn(config, plan, model, advance if config.jobs == 1 else _ignore))


def _ignore(_: float) -> None:
    pass


def write_outcomes(config: RefineConfig, refined: Sequence[Refined]) -> None:
    """Write outcomes.parquet: true success of clone and refined policy on every layout.

    With ``--raw`` also there, called by the prefix.

    Raises:
        DataError: If it cannot be written.
    """
    rows = [
        {"task": r.task, "seed": r.seed, "reward": config.reward, "variant": config.variant,
         "layout": layout, "before": before, "after": after}
        for r in refined
        for layout, (before, after) in enumerate(zip(r.before, r.after, strict=True))
    ]  # fmt: skip
    write_table(config.out / "outcomes.parquet", rows, _OUTCOMES)
    if config.raw:
        write_table(_raw_path(config.raw, config.prefix), rows, _OUTCOMES)


def _raw_path(folder: Path, prefix: str) -> Path:
    return folder / f"{prefix}.outcomes.parquet"


def summarise(refined: Sequence[Refined]) -> dict[str, Any]:
    """Means over runs, and the paired test: a run is one pair.

    With one run its layouts are the pairs, which says nothing about another training.
    """
    before = [float(np.mean(r.before)) for r in refined]
    after = [float(np.mean(r.after)) for r in refined]
    gains = [r.gain for r in refined]
    many = len(refined) > 1
    return {
        "before": float(np.mean(before)),
        "after": float(np.mean(after)),
        "gain": float(np.mean(gains)),
        "p_value": sign_flip_p_value(gains) if many else refined[0].p_value,
        "pairs": "runs" if many else "layouts of the one run",
        "n_runs": len(refined),
    }


def figures(summary: dict[str, Any], prefix: str) -> list[Figure]:
    """``refine.before``, ``refine.after``, ``refine.p_value`` and the number of runs."""
    return [
        Figure(f"{prefix}.before", summary["before"], "share"),
        Figure(f"{prefix}.after", summary["after"], "share"),
        Figure(f"{prefix}.p_value", summary["p_value"], ""),
        Figure(f"{prefix}.n_runs", summary["n_runs"], "runs"),
    ]


def _table(refined: Sequence[Refined], summary: dict[str, Any]) -> Table:
    title = "true success of the clone, and after refinement; episodes judged complete"
    table = Table(title=title)
    table.add_column("task", overflow="fold")  # alone: a number that is cut off would be another
    for name in ("seed", "expert", "before", "after", "p", "ended", "falsely"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in refined:
        false = "-" if r.false_endings is None else f"{r.false_endings:.0%}"
        table.add_row(
            r.task.partition("/")[2] or r.task, str(r.seed), f"{r.expert_success:.0%}",
            f"{np.mean(r.before):.0%}", f"{np.mean(r.after):.0%}", f"{r.p_value:.3f}",
            f"{r.ended_early:.0%}", false,
        )  # fmt: skip
    table.add_section()
    table.add_row(
        f"mean ({summary['pairs']} paired)", "", "", f"{summary['before']:.0%}",
        f"{summary['after']:.0%}", f"{summary['p_value']:.3f}", "", "",
    )  # fmt: skip
    return table
