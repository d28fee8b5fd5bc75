"""``sole redteam``: search on every task, save what fools the model, report it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from sole.config import parse_config
from sole.console import progress_bar, stderr, stdout
from sole.errors import ConfigError, DataError, SimError
from sole.redteam.config import RedteamConfig
from sole.rewarders.base import RewardModel
from sole.run import check_model, write_atomically
from sole.sims.registry import task_names

if TYPE_CHECKING:
    from sole.evals.figures import Figure
    from sole.redteam.exploit import Rule
    from sole.redteam.harvest import Exploit, Filmed, Harvest, Tried
    from sole.redteam.search import MakeEnv, Search

#: A search may be continued with another value of these.
_MAY_CHANGE = {
    "out", "episodes", "minutes", "keep", "alike", "judged_from", "true_below", "min_gap",
    "judged_success_at", "figures", "label", "print_json",
}  # fmt: skip
#: An error message names so many exploits; result.json names all.
_MOST_NAMED = 4
_USAGE = """usage: sole redteam --tasks SUITE/NAME ... --out FOLDER [flags]
       sole redteam replay FOLDER [--model M] [flags]

"""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole redteam``."""
    if argv and argv[0] == "replay":
        from sole.redteam.replay import run_replay

        return run_replay(argv[1:])
    if argv and argv[0] in {"-h", "--help"}:
        sys.stdout.write(_USAGE)
        sys.stdout.flush()
    config = parse_config(RedteamConfig, argv, "sole redteam")
    result = run(config)
    if config.print_json:
        sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    else:
        show(result)
    if config.figures:
        from sole.evals.figures import record_figures

        command = " ".join(["sole redteam", *argv])
        record_figures(config.figures, redteam_figures(result, config.label), command)
    refuse_unrepeatable(result)
    return 0


def run(
    config: RedteamConfig, *, model: RewardModel | None = None, make: MakeEnv | None = None
) -> dict[str, Any]:
    """Search, or go on searching; save and report what was found.

    The counts are written before anything is filmed: the search took hours, and a film may fail.

    Args:
        config: Settings.
        model: A ready reward model instead of ``config.model``.
        make: Makes environments by full task name and geometry; None takes our suites.

    Returns:
        What ``sole redteam --json`` prints; what :func:`refuse_unrepeatable` looks at is in it.

    Raises:
        ConfigError: If a task is unknown, or ``config.out`` holds a search with other settings.
    """
    from sole.evals.labelled import sees_truth
    from sole.redteam.exploit import Rule
    from sole.redteam.harvest import exploits_of, harvest, tried_by
    from sole.redteam.replay import load_judge
    from sole.redteam.report import write_report
    from sole.redteam.search import make_task, run_search, searches
    from sole.rewarders.beside import in_way
    from sole.rewarders.calibrated import success_at
    from sole.rl.judge import Judge

    if make is None:
        _check_tasks(config.tasks)
    _continue(config)
    model = model or load_judge(config)
    in_way(model, "thinking")  # refuses now what it would refuse after the search
    privileged = sees_truth(model)
    at = success_at(model, config.judged_success_at)
    rule = Rule(config.judged_from, config.true_below, config.min_gap, at)
    make = make or make_task
    plan = searches(config)
    for search in plan:
        check_model(search.folder(config.out), model.model_id, file="config.json", key="reward")
    with progress_bar("searching", total=len(plan)) as advance:
        for search in plan:
            run_search(search, config, Judge(model, privileged=privileged), make, advance)
    tried = {s: list(tried_by(s, config, rule)) for s in plan}
    found = {
        task: exploits_of([t for s in plan if s.env_name == task for t in tried[s]], config.alike)
        for task in config.tasks
    }
    counted = summary(config, model, rule, tried, found)
    _write_result(config, counted)
    saved = harvest(found, config, rule, model, make, privileged)
    result = counted | harvested(saved)
    _write_result(config, result)
    write_report(config.out, result, tried, saved.filmed)
    return result


def _write_result(config: RedteamConfig, result: dict[str, Any]) -> None:
    write_atomically(config.out / "result.json", json.dumps(result, indent=1, allow_nan=False))


def refuse_unrepeatable(result: dict[str, Any]) -> None:
    """End with an error when exploits do not come out again; all else is saved by then.

    Raises:
        SimError: If there are any; it names them.
    """
    gone = result["unrepeatable"]
    if not gone:
        return
    names = "; ".join(
        f"{one['env']}, {one['optimiser']}, episode {one['episode']} ({one['why']})"
        for one in gone[:_MOST_NAMED]
    )
    more = f"; and {len(gone) - _MOST_NAMED} more in result.json" if gone[_MOST_NAMED:] else ""
    n_kept = sum(one["film_kept"] for one in gone)
    kept = f" ({n_kept} of these by an earlier run)" if n_kept else ""
    raise SimError(
        f"{len(gone)} of {len(gone) - n_kept + result['n_saved']} exploits "
        f"{'do' if gone[1:] else 'does'} not come out again when simulated anew: {names}{more}; "
        f"the counts and {result['n_saved']} films{kept} are saved in {result['out']}; search anew "
        "on this machine, in another --out"
    )


def _check_tasks(tasks: Sequence[str]) -> None:
    known = task_names()
    if unknown := sorted(set(tasks) - set(known)):
        raise ConfigError(f"no task {', '.join(unknown)}; choose from: {', '.join(known)}")
    if len(set(tasks)) < len(tasks):
        raise ConfigError("tasks: expected each one once")
    if held_out := sorted(set(tasks) & set(task_names("test"))):
        stderr.print(
            f"{', '.join(held_out)}: held out; exploits are for measuring, and sole synth refuses "
            "them as training data",
            markup=False,
        )


def _continue(config: RedteamConfig) -> None:
    """Make the folder, or refuse to continue another search in it."""
    path = config.out / "config.json"
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        stored = json.loads(path.read_text()) if path.exists() else {}
    except OSError as error:
        raise ConfigError(f"{config.out}: cannot be used ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: damaged ({error}); choose another --out") from error
    now = config.model_dump(mode="json")
    changed = [k for k in now if k not in _MAY_CHANGE and stored.get(k, now[k]) != now[k]]
    if changed:
        what = ", ".join(f"{k} (was {stored[k]!r}, now {now[k]!r})" for k in changed)
        raise ConfigError(
            f"{config.out}: was begun with other settings: {what}; continue with the old ones, or "
            "choose another --out"
        )
    write_atomically(path, config.model_dump_json(indent=2))


def summary(
    config: RedteamConfig, model: RewardModel, rule: Rule, tried: dict[Search, list[Tried]],
    found: dict[str, list[Exploit]],
) -> dict[str, Any]:  # fmt: skip
    """Everything that was counted, JSON-able; exploits per hour count distinct ones.

    What is only known once the exploits are filmed is null: see :func:`harvested`.
    """
    rows = [_row(search, episodes, found, config) for search, episodes in tried.items()]
    seconds = sum(row["seconds"] for row in rows)
    n_exploits = sum(len(exploits) for exploits in found.values())
    n_episodes = sum(row["episodes"] for row in rows)
    return {
        "model_id": model.model_id,
        "rule": asdict(rule),
        "alike": config.alike,
        "n_episodes": n_episodes,
        "n_fooling": sum(row["fooling"] for row in rows),
        "n_exploits": n_exploits,
        "n_saved": None,
        "n_fooling_with_words": None,
        "seconds": round(seconds, 3),
        "exploits_per_hour": _per(n_exploits, seconds / 3600),
        "exploits_per_100_episodes": _per(n_exploits, n_episodes / 100),
        "searches": rows,
        "saved": None,
        "unrepeatable": None,
        "out": str(config.out),
    }


def harvested(saved: Harvest) -> dict[str, Any]:
    """What is known once the exploits are filmed, JSON-able."""
    return {
        "n_saved": len(saved.filmed),
        "n_fooling_with_words": sum(f.finding is not None for f in saved.filmed),
        "saved": [_saved(one) for one in saved.filmed],
        "unrepeatable": [one.as_dict() for one in saved.unrepeatable],
    }


def _saved(filmed: Filmed) -> dict[str, Any]:
    exploit, tried = filmed.exploit, filmed.exploit.tried
    return {
        "env": tried.search.env_name,
        "optimiser": tried.search.optimiser,
        "episode": tried.number,
        "seed": tried.seed,
        **asdict(exploit.finding),
        "n_alike": exploit.n_alike,
        "fools_with_words": filmed.finding is not None,
    }


def _row(
    search: Search, episodes: Sequence[Tried], found: dict[str, list[Exploit]],
    config: RedteamConfig,
) -> dict[str, Any]:  # fmt: skip
    exploits = [e for e in found[search.env_name] if e.tried.search == search]
    gaps = [judged - true for true, judged in (t.moment for t in episodes)]
    known = [gap for gap in gaps if not math.isnan(gap)]
    return {
        "env": search.env_name,
        "held_out": search.env_name in task_names("test"),
        "optimiser": search.optimiser,
        "episodes": len(episodes),
        "fooling": sum(t.finding is not None for t in episodes),
        "exploits": len(exploits),
        "largest_gap": max(known, default=None),
        "true_success": sum(t.curves.solved for t in episodes),
        "seconds": round(sum(r.seconds for r in search.rounds(config.out)), 3),
    }


def _per(count: int, amount: float) -> float | None:
    return count / amount if amount > 0 else None


def show(result: dict[str, Any]) -> None:
    """Print the table, and where everything lies."""
    table = Table(title=result["model_id"])
    table.add_column("task", overflow="fold")
    table.add_column("optimiser", no_wrap=True)
    for name in ("episodes", "fooling", "exploits", "gap", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["searches"]:
        gap = "-" if row["largest_gap"] is None else f"{row['largest_gap']:.0f}"
        table.add_row(
            row["env"] + (" (held out)" if row["held_out"] else ""), row["optimiser"],
            str(row["episodes"]), str(row["fooling"]), str(row["exploits"]), gap,
            f"{row['seconds'] / 60:.1f}",
        )  # fmt: skip
    stdout.print(table)
    stdout.print(_sentence(result))
    stdout.print(f"Report: {result['out']}/report.html", markup=False, soft_wrap=True)


def _sentence(result: dict[str, Any]) -> str:
    rate = result["exploits_per_hour"]
    per_hour = "-" if rate is None else f"{rate:.0f}"
    return (
        f"[bold]{result['n_exploits']}[/bold] distinct exploits in {result['n_episodes']} episodes "
        f"and {result['seconds'] / 60:.1f} minutes of search: {per_hour} per hour. "
        f"{result['n_saved']} saved; {result['n_fooling_with_words']} of those fool the model's "
        "reasoning too."
    )


def redteam_figures(result: dict[str, Any], label: str) -> list[Figure]:
    """``redteam.exploits_per_hour`` and what it rests on, each with ``_LABEL`` if there is one.

    The rates have 95 % intervals over tasks: whole tasks are drawn, with all their searches.
    ``redteam.SUITE.TASK.exploits`` says which tasks they come from.
    """
    from sole.evals.figures import Figure

    ending = f"_{label}" if label else ""
    rates = {
        "exploits_per_hour": ("per hour", "seconds", 3600),
        "exploits_per_100_episodes": ("per 100 episodes", "episodes", 100),
    }
    figures = [
        Figure(
            f"redteam.{name}{ending}", math.nan if result[name] is None else result[name], unit,
            *_over_tasks(result["searches"], amount, scale),
        )
        for name, (unit, amount, scale) in rates.items()
    ]  # fmt: skip
    counts = {"n_exploits": "exploits", "n_episodes": "episodes"}
    figures += [Figure(f"redteam.{n}{ending}", result[n], unit) for n, unit in counts.items()]
    for task in dict.fromkeys(row["env"] for row in result["searches"]):
        rows = [row for row in result["searches"] if row["env"] == task]
        name = f"redteam.{task.replace('/', '.')}.exploits{ending}"
        figures.append(Figure(name, sum(row["exploits"] for row in rows), "exploits"))
    return figures


def _over_tasks(
    searches: Sequence[dict[str, Any]], amount: str, scale: float
) -> tuple[float, float]:
    """Interval of exploits per ``scale`` of ``amount``; NaN where there is one task only."""
    from sole.evals.metrics import bootstrap_interval

    tasks = sorted({row["env"] for row in searches})
    sums = np.array([
        [sum(row[name] for row in searches if row["env"] == task) for name in ("exploits", amount)]
        for task in tasks
    ], float)  # fmt: skip
    if len(tasks) < 2 or not np.all(sums[:, 1] > 0):
        return math.nan, math.nan

    def rate(drawn: np.ndarray) -> float:
        exploits, spent = sums[drawn.astype(int)].sum(axis=0)
        return scale * float(exploits / spent)

    return bootstrap_interval(np.arange(len(tasks)), statistic=rate)
