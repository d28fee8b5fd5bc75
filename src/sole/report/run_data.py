"""What a folder of ``sole rl`` holds, read for a report; an unfinished run is read as it is."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.episode import VIEW_NAMES, Episode, EpisodeScore, StepScore, Truth
from sole.errors import DataError

ROLLOUT_NAMES = ("start", "middle", "end")
_DEFAULT_FPS = 5.0


@dataclass(frozen=True)
class RolloutRecord:
    """One recorded episode of a run: pictures with the truth, and what the model said.

    Attributes:
        name: ``start``, ``middle`` or ``end``.
        episode: Pictures, instruction and truth.
        score: One step per frame.
        number: How many training episodes came before it.
    """

    name: str
    episode: Episode
    score: EpisodeScore
    number: int


@dataclass(frozen=True)
class RunData:
    """A run of ``sole rl``.

    Attributes:
        folder: Where it lies.
        config: Its settings.
        episodes: The ``episodes`` lines of metrics.jsonl, in order.
        evals: The ``eval`` lines.
        rollouts: Those of start, middle and end that were recorded.
        minutes: What the parts of the run took together (``*_seconds``), so that the pause before
            a resumption does not count; where parts were not timed, first to last line of metrics.
    """

    folder: Path
    config: Mapping[str, Any]
    episodes: tuple[Mapping[str, Any], ...]
    evals: tuple[Mapping[str, Any], ...]
    rollouts: tuple[RolloutRecord, ...]
    minutes: float

    @property
    def task(self) -> str:
        """The instruction, or the env's name when no roll-out was recorded."""
        if self.rollouts:
            return self.rollouts[0].episode.task
        return str(self.config.get("task") or self.config.get("env") or self.folder.name)


def read_run(folder: Path) -> RunData:
    """Read a run's folder.

    Raises:
        DataError: If it is no run of ``sole rl``, or a file in it is damaged.
    """
    config = _read_json(folder / "config.json")
    lines = read_metrics(folder / "metrics.jsonl")
    kinds = {k: tuple(m for m in lines if m.get("kind") == k) for k in ("episodes", "eval")}
    if not kinds["episodes"] and not kinds["eval"]:
        raise DataError(f"{folder}: no episodes in metrics.jsonl; is it a run of sole rl?")
    found = [n for n in ROLLOUT_NAMES if (folder / "rollouts" / f"{n}.npz").exists()]
    rollouts = tuple(_read_rollout(folder / "rollouts", name) for name in found)
    return RunData(folder, config, kinds["episodes"], kinds["eval"], rollouts, _minutes(lines))


def _minutes(lines: Sequence[Mapping[str, Any]]) -> float:
    if any("collect_seconds" in line for line in lines):
        timed = [v for line in lines for k, v in line.items() if k.endswith("_seconds")]
        return sum(timed) / 60
    clock_s = [line["wall_s"] for line in lines if "wall_s" in line]
    return (max(clock_s) - min(clock_s)) / 60 if clock_s else 0.0


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a last line that a kill cut short is left out.

    Raises:
        DataError: If the file is missing or another line is damaged.
    """
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is it a run?") from error
    metrics = []
    for number, line in enumerate(lines, start=1):
        try:
            metrics.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise DataError(f"{path}: line {number} is not JSON ({error})") from error
    return metrics


def column(lines: tuple[Mapping[str, Any], ...], name: str) -> np.ndarray:
    """Collect one value of each line as float64 ``(N,)``; NaN where it is missing.

    Example:
        >>> column(({"a": True}, {}, {"a": None}), "a").tolist()
        [1.0, nan, nan]
    """
    values = [line.get(name) for line in lines]
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


def rolling_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and those up to ``window - 1`` before it; NaN counts as absent.

    Example:
        >>> rolling_mean(np.array([0.0, 1.0, np.nan, 1.0]), 2).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    if window < 1:
        raise ValueError(f"rolling mean: expected a window of at least 1, got {window}")
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    n = counts[ends] - counts[starts]
    return np.where(n > 0, (sums[ends] - sums[starts]) / np.maximum(n, 1), np.nan)


def counted_total(counter: np.ndarray) -> float:
    """What a running count reached in all, when each resumption of the run began it again at 0.

    Example:
        >>> counted_total(np.array([10.0, 25.0, np.nan, 5.0, 9.0]))
        34.0
    """
    known = counter[np.isfinite(counter)]
    if not len(known):
        return 0.0
    return float(known[np.append(np.diff(known) < 0, True)].sum())


def smoothing_window(lines: tuple[Mapping[str, Any], ...]) -> int:
    """Lines to average over so that success by the episode becomes a curve: a tenth, 1 to 40."""
    return int(np.clip(round(len(lines) / 10), 1, 40))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is it a run?") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def _read_rollout(folder: Path, name: str) -> RolloutRecord:
    notes = _read_json(folder / f"{name}.json")
    path = folder / f"{name}.npz"
    try:
        # Opened here because np.load leaves the file open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            views = {view: arrays[view] for view in VIEW_NAMES if view in arrays.files}
            known = "true_progress" in arrays.files  # not in an environment of the user's
            truth = Truth(arrays["true_progress"], arrays["true_success"]) if known else None
            judged = arrays["judged_progress"]
        episode = Episode(notes["task"], views, notes.get("fps") or _DEFAULT_FPS, truth=truth)
        score = _score(judged, notes, episode)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a recorded roll-out ({error})") from error
    return RolloutRecord(name, episode, score, int(notes.get("episode", 0)))


def _score(judged: np.ndarray, notes: Mapping[str, Any], episode: Episode) -> EpisodeScore:
    if len(judged) != episode.n_frames:
        raise ValueError(f"{episode.n_frames} frames but {len(judged)} judgements")
    words = [*(notes.get("reasoning") or []), *[""] * len(judged)]
    steps = tuple(
        StepScore(float(p), reasoning=text or "")
        if np.isfinite(p)
        else StepScore(None, reasoning=text or "", error="the model gave no answer")
        for p, text in zip(judged, words, strict=False)
    )
    return EpisodeScore(steps, model_id=notes.get("model_id") or "", task=episode.task)
