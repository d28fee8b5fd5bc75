"""``sole refine``: a cloned policy, improved online by what a reward model judges."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from sole.config import parse_config
from sole.console import progress_bar, stdout
from sole.evals.figures import Figure, record_figures
from sole.evals.output import make_room
from sole.refine.config import RefineConfig
from sole.refine.paired import sign_flip_p_value
from sole.refine.plan import make_model, planned, refined_in_turn, run_side_by_side
from sole.refine.raw import Kept, raw_path, write_kept
from sole.refine.run import Refined, compared
from sole.rewarders.base import RewardModel
from sole.run import write_atomically


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole refine``."""
    config = parse_config(RefineConfig, argv, "sole refine")
    make_room(config.out / "result.json")
    for path in (config.figures, raw_path(config)):
        make_room(path)
    model = make_model(config)
    refined = run_all(config, model)
    summary = summarise(refined)
    text = json.dumps({"summary": summary, "runs": [asdict(r) for r in refined]}, indent=1)
    write_atomically(config.out / "result.json", text + "\n")
    kept = [Kept(one, compared(config), model.model_id) for one in refined]
    write_kept(config.out / "outcomes.parquet", kept)
    if config.print_json:
        sys.stdout.write(text + "\n")
    else:
        stdout.print(_table(refined, summary))
    if config.figures:
        command = " ".join(["sole refine", *argv])
        record_figures(config.figures, figures(summary, config.prefix), command)
    return 0


def run_all(config: RefineConfig, model: RewardModel) -> list[Refined]:
    """Every task and seed, one after the other, or several at a time."""
    plan = planned(config)
    with progress_bar("runs", total=len(plan)) as advance:
        if config.jobs == 1:
            return list(refined_in_turn(config, plan, model, advance))
        run_side_by_side(config, plan, model.model_id, advance)
    return list(refined_in_turn(config, plan, model))  # only reads: all are finished


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
