"""What a dataset is made of and how good its labels are, from its tables alone: no picture is read.

Every rule of the labels (docs/data-format.md) is counted here, so that a data set can be refused
before a model is trained on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from sole.data import layout
from sole.data.episode import Truth
from sole.data.lerobot_reader import DatasetInfo
from sole.errors import DataError

EXPERT = "expert"
#: Name of the episodes that no operator has changed.
RECORDED = "as recorded"
#: A fall of true progress smaller than this many points is a wobble, as in the reasoning's words.
WOBBLE_POINTS = 2.0
#: How far from 0 the first frame's progress may be.
START_POINTS = 1e-3
HISTOGRAM_EDGES = tuple(range(-100, 101, 10))


@dataclass(frozen=True)
class EpisodeLabels:
    """The labels of one episode.

    Attributes:
        row: Its row of the episode table.
        true_progress: ``(T,)`` float32 percent; None without truth.
        true_success: ``(T,)`` bool; None without truth.
    """

    row: dict[str, Any]
    true_progress: np.ndarray | None
    true_success: np.ndarray | None

    @property
    def ever_succeeds(self) -> bool:
        """Whether the task was complete at any frame."""
        return self.true_success is not None and bool(self.true_success.any())


def read_labels(info: DatasetInfo) -> list[EpisodeLabels]:
    """Read the labels of every episode, in order.

    Raises:
        DataError: If a data file is missing or holds other episodes than the episode table says.
    """
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    if any(row.get("has_truth") for row in info.episodes):
        for names in sorted({_data_file(info, row) for row in info.episodes}):
            found.update(_labels_of_file(info, names))
    labels = []
    for row in info.episodes:
        if not row.get("has_truth"):
            labels.append(EpisodeLabels(dict(row), None, None))
            continue
        progress, success = found.get(row["episode_index"], (np.zeros(0), np.zeros(0)))
        if len(progress) != row["length"]:
            raise DataError(
                f"{info.folder}: episode {row['episode_index']} should have {row['length']} "
                f"frames, its data file has {len(progress)}"
            )
        labels.append(EpisodeLabels(dict(row), progress, success))
    return labels


def _data_file(info: DatasetInfo, row: Any) -> str:
    return info.data_path.format(
        chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
    )


def _labels_of_file(info: DatasetInfo, name: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    table = layout.read_table(
        info.folder / name, ["episode_index", "true_progress", "true_success"]
    )
    episode = table["episode_index"].to_numpy()
    progress = table["true_progress"].to_numpy().astype(np.float32)
    success = table["true_success"].to_numpy().astype(bool)
    starts = np.flatnonzero(np.diff(episode, prepend=-1))
    ends = [*starts[1:], len(episode)]
    return {
        int(episode[a]): (progress[a:b], success[a:b]) for a, b in zip(starts, ends, strict=True)
    }


def read_truths(info: DatasetInfo, indices: Iterable[int]) -> Iterator[tuple[int, Truth]]:
    """Yield episode numbers with their truth and facts; those without truth are left out.

    Raises:
        DataError: If a data file is missing or damaged.
    """
    wanted: dict[str, list[int]] = {}
    for index in sorted(indices):
        wanted.setdefault(_data_file(info, info.episodes[index]), []).append(index)
    for name, numbers in wanted.items():
        table = layout.read_table(info.folder / name)
        for index in numbers:
            mine = table.filter(pc.field("episode_index") == index)
            truth = layout.truth_from(info.episodes[index], mine)
            if truth is not None:
                yield index, truth


@dataclass(frozen=True)
class Share:
    """One part of a mixture; ``success_share`` is None when no episode of it has truth."""

    name: str
    n_episodes: int
    n_frames: int
    success_share: float | None


def mixture(labels: Sequence[EpisodeLabels], key: str) -> list[Share]:
    """Split a dataset, largest part first.

    Args:
        labels: Of :func:`read_labels`.
        key: ``suite``, ``env_name``, ``task``, ``policy`` (who acted) or ``operators`` (what was
            done to the recording afterwards: what the policy's name has after its first +).
    """
    parts: dict[str, list[EpisodeLabels]] = {}
    for one in labels:
        parts.setdefault(_part_name(one.row, key), []).append(one)
    shares = [_share(name, part) for name, part in parts.items()]
    return sorted(shares, key=lambda share: (-share.n_episodes, share.name))


def _part_name(row: Mapping[str, Any], key: str) -> str:
    if key == "task":
        return str(row["tasks"][0])
    policy, _, operators = str(row.get("policy") or "").partition("+")
    if key == "operators":
        return operators or RECORDED
    return (policy if key == "policy" else str(row.get(key) or "")) or "(not said)"


def _share(name: str, part: Sequence[EpisodeLabels]) -> Share:
    known = [one.ever_succeeds for one in part if one.true_success is not None]
    n_frames = sum(one.row["length"] for one in part)
    return Share(name, len(part), n_frames, float(np.mean(known)) if known else None)


@dataclass(frozen=True)
class LabelQuality:
    """Counts of what labels must be and are not; zero everywhere is a clean dataset.

    Attributes:
        n_episodes, n_frames: Those with truth.
        n_success_frames: Frames where the task is complete.
        success_not_100: Frames with success whose progress is not exactly 100.
        not_success_100: Frames with progress 100 and no success.
        out_of_range: Frames outside [-100, 100], NaN included.
        starts_off_zero: Episodes whose first frame is not at 0.
        starts_complete: Episodes whose first frame is a success already.
        n_experts: Episodes of the undisturbed expert.
        expert_success_share: Share of them that succeed at any frame; None without any.
        n_expert_steps: Their steps from one frame to the next.
        expert_fall_share: Share of those steps on which progress falls at all.
        expert_drop_share: Share on which it falls by more than 2 points.
        expert_monotone_share: Share of experts without such a drop.
        expert_largest_drop: The largest fall in points.
        expert_drop_share_before_success: As ``expert_drop_share``, up to the first success only:
            what an expert does to a finished task is no part of doing it.
    """

    n_episodes: int
    n_frames: int
    n_success_frames: int
    success_not_100: int
    not_success_100: int
    out_of_range: int
    starts_off_zero: int
    starts_complete: int
    n_experts: int
    expert_success_share: float | None
    n_expert_steps: int
    expert_fall_share: float | None
    expert_drop_share: float | None
    expert_monotone_share: float | None
    expert_largest_drop: float | None
    expert_drop_share_before_success: float | None

    @property
    def n_violations(self) -> int:
        """How often a rule is broken that has no exception."""
        return (
            self.success_not_100 + self.not_success_100 + self.out_of_range + self.starts_off_zero
            + self.starts_complete
        )  # fmt: skip


def label_quality(labels: Sequence[EpisodeLabels]) -> LabelQuality:
    """Check every label of the episodes that have truth."""
    known = [one for one in labels if one.true_progress is not None]
    progress = _joined([one.true_progress for one in known], np.float32)
    success = _joined([one.true_success for one in known], bool)
    return LabelQuality(
        n_episodes=len(known),
        n_frames=len(progress),
        n_success_frames=int(success.sum()),
        success_not_100=int((success & (progress != 100)).sum()),
        not_success_100=int((~success & (progress == 100)).sum()),
        out_of_range=int((~(np.abs(progress) <= 100)).sum()),
        starts_off_zero=sum(not abs(_progress(one)[0]) <= START_POINTS for one in known),
        starts_complete=sum(bool(_success(one)[0]) for one in known),
        **_of_experts([one for one in known if one.row.get("policy") == EXPERT]),
    )


def _of_experts(experts: Sequence[EpisodeLabels]) -> dict[str, Any]:
    steps = [np.diff(_progress(one)) for one in experts]
    joined = _joined(steps, np.float32)
    until = [step[: _first_success(one)] for one, step in zip(experts, steps, strict=True)]
    return {
        "n_experts": len(experts),
        "expert_success_share": _mean(one.ever_succeeds for one in experts),
        "n_expert_steps": len(joined),
        "expert_fall_share": _mean(joined < 0),
        "expert_drop_share": _mean(joined < -WOBBLE_POINTS),
        "expert_monotone_share": _mean(not (step < -WOBBLE_POINTS).any() for step in steps),
        "expert_largest_drop": float(-joined.min(initial=0.0)) if len(joined) else None,
        "expert_drop_share_before_success": _mean(_joined(until, np.float32) < -WOBBLE_POINTS),
    }


def expert_drops(labels: Sequence[EpisodeLabels]) -> list[tuple[str, int, float, float]]:
    """For each task, how expert progress falls: where labels may be wrong, worst task first.

    Returns:
        ``(env_name, experts, share of steps that fall by more than 2 points, largest fall)``.
    """
    parts: dict[str, list[EpisodeLabels]] = {}
    for one in labels:
        if one.row.get("policy") == EXPERT and one.true_progress is not None:
            parts.setdefault(one.row.get("env_name") or one.row["tasks"][0], []).append(one)
    rows = []
    for name, part in parts.items():
        found = _of_experts(part)
        rows.append(
            (
                name,
                len(part),
                found["expert_drop_share"] or 0.0,
                found["expert_largest_drop"] or 0.0,
            )
        )
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def progress_histogram(labels: Iterable[EpisodeLabels]) -> np.ndarray:
    """Frames per 10 points of true progress, ``(21,)``: from [-100, -90) on, and exactly 100.

    Example:
        >>> row = {"length": 3}
        >>> one = EpisodeLabels(row, np.array([0.0, 99.0, 100.0]), np.array([0, 0, 1], bool))
        >>> progress_histogram([one])[[10, 19, 20]].tolist()
        [1, 1, 1]
    """
    known = [one.true_progress for one in labels if one.true_progress is not None]
    values = _joined(known, np.float32)
    done = values == 100
    counts, _ = np.histogram(values[~done & np.isfinite(values)], HISTOGRAM_EDGES)
    return np.append(counts, done.sum())


def summary(info: DatasetInfo, labels: Sequence[EpisodeLabels]) -> dict[str, Any]:
    """Everything countable about a dataset, JSON-able; shares without unit, progress in percent."""
    quality = label_quality(labels)
    keys = {"suites": "suite", "environments": "env_name", "policies": "policy"}
    keys["operators"] = "operators"
    return {
        "folder": str(info.folder),
        "n_episodes": info.n_episodes,
        "n_frames": info.n_frames,
        "fps": info.fps,
        "n_sentences": len({row["tasks"][0] for row in info.episodes}),
        "cameras": list(info.cameras),
        "n_without_truth": info.n_episodes - quality.n_episodes,
        "n_with_facts": sum(bool(row.get("has_facts")) for row in info.episodes),
        **{name: [asdict(s) for s in mixture(labels, key)] for name, key in keys.items()},
        "progress_histogram": progress_histogram(labels).tolist(),
        "label_quality": {**asdict(quality), "n_violations": quality.n_violations},
        "expert_drops": expert_drops(labels),
    }


def _first_success(one: EpisodeLabels) -> int:
    """Steps up to the first complete frame; all of them when there is none."""
    complete = np.flatnonzero(_success(one))
    return int(complete[0]) if len(complete) else len(_success(one))


def _progress(one: EpisodeLabels) -> np.ndarray:
    assert one.true_progress is not None
    return one.true_progress


def _success(one: EpisodeLabels) -> np.ndarray:
    assert one.true_success is not None
    return one.true_success


def _joined(parts: Sequence[Any], kind: type[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *parts])


def _mean(values: Iterable[Any]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None
