"""One simulated episode as one npz file: lossless, made once, never pickled."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sole.data.episode import Episode, Truth
from sole.errors import DataError


def put_episode(path: Path, episode: Episode) -> None:
    """Write an episode with its truth; the file appears whole or not at all."""
    truth = episode.truth
    assert truth is not None
    motion = {"actions": episode.actions, "proprio": episode.proprio}
    about = {
        "task": episode.task, "fps": episode.fps, "suite": episode.suite, "seed": episode.seed,
        "env_name": episode.env_name, "policy": episode.policy, "facts": truth.facts,
    }  # fmt: skip
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        **{f"view_{name}": frames for name, frames in episode.views.items()},  # type: ignore[arg-type]
        **{name: array for name, array in motion.items() if array is not None},
        true_progress=truth.true_progress,
        true_success=truth.true_success,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
    )
    os.replace(temporary, path)


def get_episode(path: Path) -> Episode:
    """Read what :func:`put_episode` wrote."""
    with np.load(path, allow_pickle=False) as data:
        about = json.loads(bytes(data["about"]))
        facts = tuple(about.pop("facts"))
        truth = Truth(data["true_progress"], data["true_success"], facts)
        views = {k.removeprefix("view_"): data[k] for k in data.files if k.startswith("view_")}
        motion = {name: data[name] for name in ("actions", "proprio") if name in data.files}
        return Episode(views=views, truth=truth, **motion, **about)


def episode_made_once(path: Path, make: Callable[[], Episode]) -> Episode:
    """The episode in the file; it is made and written first where there is no file.

    Raises:
        DataError: If the file is damaged.
    """
    if not path.exists():
        put_episode(path, make())
    try:
        return get_episode(path)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, it will be made again") from error
