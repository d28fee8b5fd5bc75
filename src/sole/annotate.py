"""``sole annotate``: judged progress, success, reasoning and sample weights for a LeRobot dataset.

Each judged episode is a file of its own until all are there, so a stopped run loses one batch. The
result is one parquet with LeRobot's global frame ``index``; its own reward-aware trainers read the
column ``progress_sparse`` or ``progress_dense``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import progress_bar, stderr, stdout
from sole.data.episode import Episode, EpisodeScore
from sole.data.layout import read_table
from sole.data.scores import read_scores, write_scores
from sole.data.sources import EpisodeSource, open_source
from sole.errors import ConfigError, DataError
from sole.progress.weights import rabc_weights
from sole.protocol.chain import spread_score
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically

FILE_NAME = "sole_progress.parquet"
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("episode_index", pa.int64()),
        ("frame_index", pa.int64()),
        ("progress_sparse", pa.float32()),
        ("progress_dense", pa.float32()),
        ("judged_progress", pa.float32()),
        ("success_probability", pa.float32()),
        ("judged_success", pa.bool_()),
        ("uncertainty", pa.float32()),
        ("rabc_weight", pa.float32()),
        ("scored", pa.bool_()),
        ("reasoning", pa.string()),
        ("error", pa.string()),
    ]
)
_RANGE = re.compile(r"(?P<first>\d*):(?P<end>\d*)")


class AnnotateConfig(Config):
    """Judge every episode of a LeRobot dataset (v2 or v3) and write what was judged, per frame."""

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """Folder of the dataset; nothing in it is changed but for --out."""
    model: str = "nano"
    """nano, a checkpoint folder, a model on Hugging Face, or the address of a sole serve."""
    out: Path | None = None
    """The parquet file; default: sole_progress.parquet in the dataset's folder."""
    episodes: str = ":"
    """Which episodes, as FIRST:END (END is not among them), for example 0:100."""
    external: str | None = None
    """Camera that sees the scene, for example top or observation.images.top."""
    wrist: str | None = None
    """Camera on the wrist."""
    task: str | None = None
    """A sentence that replaces the dataset's own."""
    think: Literal["always", "fast"] = "fast"
    """always writes reasoning at every judged frame (slower)."""
    max_frames: int = Field(60, ge=2)
    """Judge at most this many frames of an episode, evenly spaced; between them progress is
    interpolated and `scored` is false."""
    chunk_steps: int = Field(50, gt=0)
    """Frames that your policy predicts at once; the sample weight looks that far ahead."""
    judged_success_at: float = Field(0.5, gt=0, lt=1)
    """A frame is judged successful from this success probability on."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model with these settings."""
    batch: int = Field(8, gt=0)
    """Episodes judged together."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole annotate``."""
    config = parse_config(AnnotateConfig, argv, "sole annotate")
    out = annotate(config)
    stdout.print(f"wrote {out}", markup=False, soft_wrap=True)
    return 0


def annotate(config: AnnotateConfig) -> Path:
    """Judge what is missing and write the file.

    Raises:
        ConfigError: If the range or the cameras are not as expected, or an unfinished run beside
            the file has other settings.
        DataError: If the dataset is damaged, or the file cannot be written.
    """
    source = _open(config)
    starts = _first_indices(source)
    chosen = _chosen(config.episodes, len(starts))
    out = config.out or config.dataset / FILE_NAME
    parts = out.with_name(f".{out.name}.parts")
    _begin(parts, config)
    missing = [i for i in chosen if not _part(parts, i).exists()]
    if len(missing) < len(chosen):
        stderr.print(f"{len(chosen) - len(missing)} episodes were judged before")
    if missing:
        _judge(config, source, missing, parts)
    scores = [read_scores(_part(parts, i))[0] for i in chosen]
    _write(out, scores, chosen, [starts[i] for i in chosen], config)
    shutil.rmtree(parts)
    return out


def _open(config: AnnotateConfig) -> EpisodeSource:
    cameras = {"external": config.external, "wrist": config.wrist}
    given = {name: key for name, key in cameras.items() if key is not None}
    source = open_source(config.dataset, cameras=given or None)
    if not source.kind.startswith("lerobot"):
        raise ConfigError(f"{config.dataset}: no LeRobot dataset; sole score judges single videos")
    return source


def _first_indices(source: EpisodeSource) -> list[int]:
    """LeRobot's global index of each episode's first frame."""
    lengths = [int(row["length"]) for row in source.rows]
    return [0, *np.cumsum(lengths)[:-1].tolist()] if lengths else []


def _chosen(text: str, n_episodes: int) -> range:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--episodes {text}: expected FIRST:END, for example 0:100 or 100:")
    first = int(match["first"] or 0)
    end = min(int(match["end"] or n_episodes), n_episodes)
    if first >= end:
        raise ConfigError(f"--episodes {text}: no episodes; the dataset has {n_episodes}")
    return range(first, end)


def _part(parts: Path, index: int) -> Path:
    return parts / f"{index:07d}.parquet"


def _begin(parts: Path, config: AnnotateConfig) -> None:
    """Parts of other settings must not be mixed; what only joins them may change."""
    settings = config.model_dump_json(exclude={
        "out", "episodes", "batch", "chunk_steps", "judged_success_at",
    })  # fmt: skip
    path = parts / "settings.json"
    try:
        if path.exists() and path.read_text() != settings:
            raise ConfigError(
                f"{parts}: an unfinished run with other settings; delete it, or repeat its command"
            )
        parts.mkdir(parents=True, exist_ok=True)
        write_atomically(path, settings)
    except OSError as error:
        raise DataError(f"{parts}: cannot be written ({error.strerror or error})") from error


def _judge(
    config: AnnotateConfig, source: EpisodeSource, indices: Sequence[int], parts: Path
) -> None:
    model = load_reward_model(config.model, think=config.think, calibration=config.calibration)
    with progress_bar(f"judging ({model.model_id})", total=len(indices)) as advance:
        for some, episodes in _batches(source, indices, config.batch):
            told = [replace(e, task=config.task or e.task, truth=None) for e in episodes]
            frames = [_spread(e.n_frames, config.max_frames) for e in told]
            judged = model.score([e.subset(f) for e, f in zip(told, frames, strict=True)])
            for i, episode, shown, score in zip(some, told, frames, judged, strict=True):
                whole = spread_score(score, shown, episode.n_frames)
                write_scores(_part(parts, i), [replace(whole, task=episode.task)], [i])
            advance(len(some))


def _batches(
    source: EpisodeSource, indices: Sequence[int], size: int
) -> Iterator[tuple[Sequence[int], list[Episode]]]:
    episodes = source.read(indices)
    for start in range(0, len(indices), size):
        some = indices[start : start + size]
        yield some, [next(episodes) for _ in some]


def _spread(n_frames: int, most: int) -> np.ndarray:
    if n_frames <= most:
        return np.arange(n_frames)
    return np.unique(np.linspace(0, n_frames - 1, most).round().astype(int))


def _write(
    out: Path,
    scores: Sequence[EpisodeScore],
    indices: Sequence[int],
    starts: Sequence[int],
    config: AnnotateConfig,
) -> None:
    shares = [np.clip(score.judged_progress / 100.0, 0.0, 1.0) for score in scores]
    weights = rabc_weights(shares, chunk_steps=config.chunk_steps)
    rows: list[dict[str, Any]] = []
    for score, weight, index, start in zip(scores, weights, indices, starts, strict=True):
        rows += _rows(score, weight, index, start, config.judged_success_at)
    about = {"model_id": scores[0].model_id, "settings": config.model_dump(mode="json")}
    table = pa.Table.from_pylist(rows, SCHEMA)
    table = table.replace_schema_metadata({"sole": json.dumps(about)})
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        pq.write_table(table, temporary)
        os.replace(temporary, out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error


def _rows(
    score: EpisodeScore, weights: np.ndarray, index: int, start: int, success_at: float
) -> Iterator[dict[str, Any]]:
    for frame, (step, weight) in enumerate(zip(score.steps, weights, strict=True)):
        share = None if step.progress is None else float(np.clip(step.progress / 100.0, 0.0, 1.0))
        sure = step.success_probability
        yield {
            "index": start + frame,
            "episode_index": index,
            "frame_index": frame,
            "progress_sparse": share,
            "progress_dense": share,
            "judged_progress": step.progress,
            "success_probability": sure,
            "judged_success": None if sure is None else sure >= success_at,
            "uncertainty": step.uncertainty,
            "rabc_weight": None if np.isnan(weight) else float(weight),
            "scored": step.scored,
            "reasoning": step.reasoning or None,
            "error": step.error,
        }


def read_annotations(path: Path | str) -> pa.Table:
    """Read what :func:`annotate` wrote.

    Raises:
        DataError: If the file is missing, damaged, or lacks a column.
    """
    return read_table(Path(path), SCHEMA.names)
