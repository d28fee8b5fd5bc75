"""Whether the runs of a sweep were judged by what their reward model's name stands for now.

Settings name a reward model; which weights a name like ``nano`` has changes with a release. Runs of
two models under one name would be compared as if they were one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sole.bench.raw import Key, Result
from sole.errors import ConfigError
from sole.rl.config import RlConfig
from sole.run import check_model, stored_model

#: Settings that decide which model judges a run, and how.
_JUDGE = {"reward", "jury", "copies", "think", "from_zero_weight", "calibration"}


def check_models(runs: Sequence[RlConfig], kept: Mapping[Key, Result]) -> None:
    """Refuse runs, begun, finished or kept, that another model than the present one has judged.

    A model is loaded once for all its runs, and not at all when none of them was begun.

    Raises:
        ConfigError: If there is such a run, or a model cannot be had.
        DataError: If a folder does not say what judged it.
    """
    now: dict[str, str] = {}
    for run in runs:
        elsewhere = {k.reward_model for k in kept.values() if k.outcome.reward == run.reward}
        if not elsewhere and stored_model(run.run_dir) is None:
            continue
        judge = run.model_dump_json(include=_JUDGE)
        if judge not in now:
            now[judge] = present_model(run)
        check_model(run.run_dir, now[judge])
        if other := sorted(elsewhere - {now[judge]}):
            raise ConfigError(
                f"raw: holds runs that {other[0]} judged, and {run.reward} is now {now[judge]}; "
                "give the sweep another --name or --raw"
            )


def present_model(run: RlConfig) -> str:
    """The ``model_id`` of what would judge this run now."""
    # Imported only now: it takes seconds, and a new sweep does not need it.
    from sole.rl.make import make_model

    return make_model(run).model_id
