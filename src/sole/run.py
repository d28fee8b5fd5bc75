"""A run's folder: what was asked, on which code, and what came out."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sole import __version__
from sole.errors import ConfigError, DataError


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to a temporary name beside ``path``, then rename: no half-written file.

    Raises:
        DataError: If it cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no process of this machine that asks change ``path`` meanwhile.

    It is the folder that is locked: do not ask for another file of it inside, which would wait for
    ever, and do not count on it between machines that share a network drive.

    Raises:
        DataError: If there is no such folder, or it cannot be locked.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path}: cannot be changed ({error.strerror})") from error
    try:
        _lock(folder, path)
        yield
    finally:
        os.close(folder)  # which lets go of it


def _lock(folder: int, path: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be locked ({error.strerror})") from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, before anything is worked on for it.

    Raises:
        ConfigError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder"
        ) from error


def git_state(folder: Path | None = None, apart_from: Path | None = None) -> dict[str, Any]:
    """Return the commit and whether the tree is dirty, or ``commit: None`` outside a checkout.

    Args:
        folder: Inside the checkout; None for that of this code.
        apart_from: A file of the checkout that may have changed.
    """
    where = folder or Path(__file__).parent
    but = ["--", ":/", f":(exclude){apart_from.resolve()}"] if apart_from else []
    try:
        commit = _git(where, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(where, "status", "--porcelain", *but))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def file_at(commit: str, path: Path) -> bytes | None:
    """A file of this checkout as a commit had it; None where git knows no such commit or file."""
    command = ["git", "-C", str(path.parent), "show", f"{commit}:./{path.name}"]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(where: Path, *arguments: str) -> str:
    command = ["git", "-C", str(where), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Run:
    """One run's folder: config, code state, a growing metrics.jsonl and checkpoints.

    Opening an existing folder continues it: metrics after ``resume_step`` are cut off, so a killed
    and resumed run leaves the same file as one that was never stopped.
    """

    def __init__(self, folder: Path, config: BaseModel, data: Mapping[str, Any] | None = None):
        self.folder = folder
        self.resuming = (folder / "config.json").exists()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        if not self.resuming:  # config.json comes last: where it lies, data.json does too
            write_atomically(folder / "data.json", json.dumps(dict(data or {}), indent=2))
            write_atomically(folder / "config.json", config.model_dump_json(indent=2))
        write_atomically(folder / "machine.json", json.dumps(_machine(), indent=2))
        write_atomically(folder / "git.json", json.dumps(git_state(), indent=2))

    def log(self, step: int, **values: float | int | str | bool | None) -> None:
        """Append one line of metrics; ``wall_s`` is seconds since the epoch."""
        line = json.dumps({"step": step, "wall_s": round(time.time(), 3), **values})
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Read back every line logged so far."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return []
        whole, _, _cut_off = path.read_text().rpartition("\n")  # a kill may cut the last line
        return [json.loads(line) for line in whole.splitlines() if line.strip()]

    def cut_metrics(self, step: int) -> None:
        """Drop lines later than ``step``: they belong to work that a kill has undone."""
        kept = [json.dumps(m) for m in self.metrics() if m["step"] <= step]
        write_atomically(self.folder / "metrics.jsonl", "".join(line + "\n" for line in kept))

    @contextmanager
    def checkpoint(self, step: int, keep_last: int = 1) -> Iterator[Path]:
        """Yield an empty folder to fill; it becomes ``checkpoints/step_N`` only when all is in."""
        final = self.folder / "checkpoints" / f"step_{step:08d}"
        temporary = final.with_name(f".{final.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        for old in self.checkpoints()[:-keep_last]:
            shutil.rmtree(old)

    def checkpoints(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        return sorted((self.folder / "checkpoints").glob("step_*"))

    @property
    def resume_step(self) -> int:
        """The step of the newest checkpoint, 0 when there is none."""
        return newest_step(self.folder)


def newest_step(folder: Path) -> int:
    """The step of a run's newest checkpoint; 0 when there is none, or no such run."""
    found = sorted((folder / "checkpoints").glob("step_*"))
    return int(found[-1].name.removeprefix("step_")) if found else 0


def stored_model(folder: Path, *, file: str = "data.json", key: str = "reward_model") -> str | None:
    """The ``model_id`` of the reward model that a run was begun with; None before it was begun.

    Raises:
        DataError: If the record of it is missing or damaged.
    """
    if not any((folder / name).exists() for name in ("config.json", "result.json")):
        return None
    try:
        return str(json.loads((folder / file).read_text())[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / file}: does not say which {key.replace('_', ' ')} this run was begun with "
            f"({error!r}); delete the run, or choose another folder"
        ) from error


def check_model(folder: Path, model_id: str, **record: str) -> None:
    """Refuse to go on with a run whose rewards another model gave: a name may get new weights.

    Args:
        folder: Of the run; one that was not begun is fine.
        model_id: Of the reward model that would judge now.
        record: Where the id is stored, see :func:`stored_model`.

    Raises:
        ConfigError: If the run was begun with another one.
        DataError: If the folder does not say with which.
    """
    was = stored_model(folder, **record)
    if was not in (None, model_id):
        raise ConfigError(
            f"run {folder}: was judged by {was}, and the reward model is now {model_id}; choose "
            "another folder for the new one, or name the folder of the old weights"
        )


def _machine() -> dict[str, Any]:
    return {
        "sole": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "argv": sys.argv,
    }
