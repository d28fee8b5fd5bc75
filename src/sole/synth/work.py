"""One planned episode from its job to what is kept of it; run by whoever simulates.

The same function makes an episode in the workers' processes and on a Ray cluster, and depends on
the settings and the number of the episode alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sole.data.cache import put_episode
from sole.data.episode import Episode
from sole.models.backend import Backend
from sole.protocol.composite import Geometry
from sole.protocol.prompt import PROMPTS
from sole.synth.annotator import Draft, open_annotator, rewrite
from sole.synth.config import SynthConfig
from sole.synth.examples import Moment, draw_moments, picture_of, progress_row, seen, table_of
from sole.synth.foundation import LANDMARKS, draw_questions, question_rows, told_of
from sole.synth.plan import Job


def make_episode(config: SynthConfig, index: int, job: Job) -> tuple[Episode, pa.Table | None]:
    """Simulate one job and write its examples, if any are wanted."""
    episode = _simulate(config, job)
    table = None
    if config.examples_per_episode or config.questions_per_episode:
        table = examples_of(config, index, episode)
    return replace(episode, extra=_without_landmarks(episode)), table


def _simulate(config: SynthConfig, job: Job) -> Episode:
    from sole.synth.collect import collect_episode
    from sole.synth.replays import AGENT, replay

    if job.policy == AGENT:
        return replay(job, size_px=config.size_px, keep_divergent=config.keep_divergent)
    return collect_episode(
        job.env_name,
        job.policy,
        job.seed,
        size_px=config.size_px,
        n_frames=config.n_frames,
        options=job.options,
        landmarks=config.questions_per_episode > 0,
    )


def _without_landmarks(episode: Episode) -> dict[str, object]:
    return {key: value for key, value in episode.extra.items() if key != LANDMARKS}


def examples_of(config: SynthConfig, index: int, episode: Episode) -> pa.Table:
    """The rows of one episode: reasoning about moments, then questions of space and time."""
    rng = np.random.default_rng([config.seed, index, 3])
    preset, geometry = PROMPTS[config.prompt], Geometry(config.tile_px, separator_px=1)
    moments = draw_moments(episode, config.examples_per_episode, rng)
    texts: Sequence[str | None] = [None] * len(moments)
    if config.annotator and moments:
        texts = _rewritten(episode, moments, geometry, _annotator(config.annotator))
    rows = [
        progress_row(episode, moment, preset, geometry, rewritten=text)
        for moment, text in zip(moments, texts, strict=True)
    ]
    questions = draw_questions(told_of(episode), config.questions_per_episode, rng, as_kept=True)
    rows += question_rows(episode, questions)
    return table_of(rows, index)


def _rewritten(
    episode: Episode, moments: Sequence[Moment], geometry: Geometry, backend: Backend
) -> list[str | None]:
    drafts = [
        Draft(episode.task, one.draft, picture_of(episode, one, geometry), *seen(episode, one))
        for one in moments
    ]
    return rewrite(drafts, backend)


@lru_cache(maxsize=1)
def _annotator(name: str) -> Backend:
    return open_annotator(name)


def cached_episode(out: Path, index: int) -> Path:
    """Where an episode waits until the data set has it for good."""
    return out / "cache" / f"{index:07d}.npz"


def cached_examples(out: Path, index: int) -> Path:
    """Where its examples wait for their shard."""
    return out / "cache" / f"{index:07d}.parquet"


def keep(config: SynthConfig, index: int, episode: Episode, table: pa.Table | None) -> None:
    """Put what was made into the cache: examples first, so that an episode is never without."""
    if table is not None:
        path = cached_examples(config.out, index)
        temporary = path.with_suffix(".tmp")
        pq.write_table(table, temporary)
        os.replace(temporary, path)
    put_episode(cached_episode(config.out, index), episode)


def work(
    config_json: str, worker: int, plan: Callable[[SynthConfig], list[Job]], n_written: int
) -> None:
    """Make every episode of this worker that is neither written nor in the cache."""
    config = SynthConfig.model_validate_json(config_json)
    for index, job in enumerate(plan(config)):
        mine = index % config.workers == worker and index >= n_written
        if mine and not cached_episode(config.out, index).exists():
            keep(config, index, *make_episode(config, index, job))
