"""Examples from the cache to shards: each holds those of so many episodes, in their order."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sole.synth.work import cached_examples

EPISODES_PER_SHARD = 200
FOLDER = "examples"


def shard_path(out: Path, number: int) -> Path:
    """A shard's file."""
    return out / FOLDER / f"part-{number:05d}.parquet"


def write_shard(out: Path, number: int, n_episodes: int) -> None:
    """Join the cached examples of one shard's episodes; the cached files go away.

    A shard that is there already stays: it was finished before a stop.
    """
    first = number * EPISODES_PER_SHARD
    indices = range(first, min(first + EPISODES_PER_SHARD, n_episodes))
    paths = [cached_examples(out, index) for index in indices]
    final = shard_path(out, number)
    if not final.exists():
        final.parent.mkdir(exist_ok=True)
        temporary = final.with_suffix(".tmp")
        pq.write_table(pa.concat_tables([pq.read_table(path) for path in paths]), temporary)
        os.replace(temporary, final)
    for path in paths:
        path.unlink(missing_ok=True)


def count_examples(out: Path) -> dict[str, Any]:
    """How many examples of each kind there are, and by whom their text is."""
    kinds: Counter[str] = Counter()
    authors: Counter[str] = Counter()
    for path in sorted((out / FOLDER).glob("*.parquet")):
        table = pq.read_table(path, columns=["kind", "text_by"])
        kinds.update(table["kind"].to_pylist())
        authors.update(table["text_by"].to_pylist())
    return {"kinds": dict(sorted(kinds.items())), "text_by": dict(sorted(authors.items()))}
