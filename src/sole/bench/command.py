"""``sole bench``: ``rl`` trains many policies, ``tokens`` counts what a model reads.

``hacked`` counts hacked runs over several sweeps.
See docs/bench.md.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sole.bench.config import RlBenchConfig
from sole.config import parse_config, run_word
from sole.console import progress_bar, stderr
from sole.errors import ConfigError, DataError
from sole.run import make_folder, write_atomically

if TYPE_CHECKING:
    from sole.bench.raw import Key, Result
    from sole.rl.config import RlConfig

_USAGE = (
    "usage: sole bench rl [PRESET.toml] --tasks SUITE/NAME ... --out FOLDER [flags]\n"
    "       sole bench hacked NAME.runs.parquet ... [flags]\n"
    "       sole bench tokens [flags]\n\n"
    "  rl      train a policy for every task, reward model and seed, and compare them\n"
    "  hacked  count hacked runs over the raw results of several sweeps\n"
    "  tokens  count the prompt tokens of an episode, picture by picture and as a conversation\n\n"
    "sole bench rl --help shows the flags of one.\n"
)


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole bench``; the first word chooses the sweep."""
    words = {
        "rl": f"{__name__}:run_rl",
        "hacked": "sole.bench.hacked:main",
        "tokens": "sole.bench.tokens:main",
    }
    return run_word(argv, words, "sole bench", _USAGE)


def run_rl(argv: Sequence[str]) -> int:
    """Run what is missing, compare what is there; 1 when a run failed."""
    config = parse_config(RlBenchConfig, argv, "sole bench rl")
    # Imported only now: the comparison needs numpy and pyarrow, its plots matplotlib.
    from sole.bench.plan import check_budget, check_truth, plan_runs
    from sole.bench.raw import check_kept, results_of
    from sole.bench.weights import check_models

    _need("matplotlib")  # of the report, which comes after hours
    runs, kept = plan_runs(config), _read_kept(config)
    check_kept(runs, kept)
    make_folder(config.out)
    check_models(runs, kept)
    failed = 0
    if config.run:
        check_budget(runs)
        if not config.ray:  # a cluster may have what we lack
            _need("stable_baselines3")
            check_truth(runs)
        failed = _run_missing(config, runs, kept)
        check_models(runs, kept)  # the weights may have been replaced meanwhile
        kept = _read_kept(config)  # by us, and by other sweeps of this name
    results = results_of(runs, kept)
    if not results:
        raise DataError(f"{config.out}: none of {len(runs)} runs is finished; see their log.txt")
    _report(config, results, " ".join(["sole bench rl", *argv]))
    return 1 if failed else 0


def _need(package: str) -> None:
    """Miss a package now, not in the last line of every run; `sole` says how to install it."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _read_kept(config: RlBenchConfig) -> Mapping[Key, Result]:
    from sole.bench.raw import read_results

    if not config.raw:
        return {}
    if not config.name:
        raise ConfigError("raw: its files are called by the sweep's --name; give one")
    make_folder(config.raw)
    return read_results(config.raw, f"{config.name}.")


def _run_missing(
    config: RlBenchConfig, runs: Sequence[RlConfig], kept: Mapping[Key, Result]
) -> int:
    from sole.bench.on_ray import run_all_on_ray
    from sole.bench.plan import unfinished
    from sole.bench.pool import not_installed, run_all
    from sole.bench.raw import keep_results, key_of, read_result

    def keep(run: RlConfig) -> None:
        if config.raw:  # at once: the machine may be gone before the sweep is done
            keep_results(config.raw, config.name, [read_result(run)])

    missing = [run for run in unfinished(runs) if key_of(run) not in kept]
    stderr.print(f"{len(runs)} runs, {len(runs) - len(missing)} finished before")
    impossible = [] if config.ray else not_installed(missing)  # a cluster may have what we lack
    missing = [run for run in missing if run not in [failure.run for failure in impossible]]
    done = len(runs) - len(missing) - len(impossible)
    with progress_bar("runs", total=len(runs), completed=done) as advance:
        if config.ray and missing:
            failures = run_all_on_ray(missing, config.jobs, advance=advance, finished=keep)
        else:
            failures = run_all(missing, config.jobs, advance=advance, finished=keep)
    failures = [*impossible, *failures]
    for failure in failures:
        stderr.print(f"{failure.run.run_dir}: {failure.reason}", markup=False, soft_wrap=True)
    return len(failures)


def _report(config: RlBenchConfig, results: Sequence[Result], command: str) -> None:
    from sole.bench.compare import compare
    from sole.bench.plan import plan_runs
    from sole.bench.plots import write_plots
    from sole.bench.raw import keep_results, write_results
    from sole.bench.show import bench_figures, left_out, show
    from sole.evals.figures import record_figures

    runs = plan_runs(config)
    outcomes = [one.outcome for one in results]
    write_results(config.out, results)
    if config.raw:
        keep_results(config.raw, config.name, results)
    comparison = compare(outcomes, {r: sum(x.reward == r for x in runs) for r in config.rewards})
    result = {"n_planned": len(runs), **comparison.as_dict()}
    text = json.dumps(result, indent=1, allow_nan=False)
    write_atomically(config.out / "result.json", text + "\n")
    write_plots(config.out, comparison, [point for one in results for point in one.points])
    if config.print_json:
        sys.stdout.write(text + "\n")
    else:
        show(comparison, len(runs), config.out)
    if config.figures:
        record_figures(config.figures, bench_figures(comparison, config), command)
        if missing := left_out(comparison, config):
            stderr.print(missing, markup=False, soft_wrap=True)
