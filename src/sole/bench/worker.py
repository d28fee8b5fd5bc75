"""One run of a sweep, in a process of its own: ``python -m sole.bench.worker RUN_FOLDER``.

It ends when its standard input does, so that no run outlives the sweep that began it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from sole.bench.plan import PLAN_FILE, Finished, finished_as, last_evaluation, minutes_spent
from sole.errors import SoleError
from sole.rl.config import RlConfig
from sole.run import write_atomically


def main(folder: Path) -> int:
    """Run or continue the run that ``folder`` plans; write its result when it is finished."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep's worker may be at it
        config = RlConfig.model_validate_json((folder / PLAN_FILE).read_text())
        if finished_as(config):
            return 0
        last = _continue(config)
        finished = Finished(config=config.model_dump(mode="json"), last_evaluation=last)
        write_atomically(folder / "result.json", json.dumps(finished, indent=1))
    return 0


def _continue(config: RlConfig) -> dict[str, Any]:
    if config.max_minutes is None:
        return _train(config)
    _check_settings(config)
    left = config.max_minutes - minutes_spent(config.run_dir)
    done = last_evaluation(config.run_dir)
    if left <= 0 and done is not None and _is_final(config, done):
        return done  # killed after its last evaluation
    return _train(config.model_copy(update={"max_minutes": max(left, 1e-6)}))


def _is_final(config: RlConfig, evaluation: dict[str, Any]) -> bool:
    """Whether it is of the policy that is kept; the best judged one is chosen at the very end."""
    return config.keep == "last" or "chosen_episode" in evaluation


def _check_settings(config: RlConfig) -> None:
    """Training refuses other settings than the run began with; without minutes left none follows.

    Raises:
        ConfigError: If they differ.
    """
    from sole.rl.train import check_continued

    check_continued(config)


def _train(config: RlConfig) -> dict[str, Any]:
    from sole.rl.train import train

    return train(config)


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would be held while Python shuts down
        pass
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        raise SystemExit(main(Path(sys.argv[1])))
    except SoleError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error
