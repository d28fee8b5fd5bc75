"""What ``sole fit`` learns from: episodes looked at once, their labels, and drawn clips.

A batch is a function of (episodes, settings, seed, step) alone, so a resumed run sees exactly the
batches it would have seen.

Departures from ReWiND's augmentation (arXiv 2505.10911 and its code): half of the clips begin at
the first frame, since every judged episode does; a batch is resampled to a drawn number of frames
rather than to 16, so that speed says nothing; and where a data set has true progress, that is the
label instead of the place in time, and failed attempts are learned from as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sole.console import progress_bar
from sole.data import layout
from sole.data.episode import VIEW_NAMES, Episode
from sole.data.manifest import MANIFEST_PATH
from sole.data.sources import EpisodeSource, open_source
from sole.errors import ConfigError, DataError
from sole.rewarders.learned_net import FrozenEye, Vocabulary
from sole.synth.augment import refuse_held_out_rows
from sole.synth.rebase import rebased
from sole.train.fit import ClassifierConfig, FitConfig, RewindConfig

#: Label of a frame of which nobody knows whether the task is done.
UNKNOWN = -1
_LEAST_FRAMES = 4
_LATEST_START = 0.9
_WORD_DROP = 0.05
#: Features, instruction and targets of one clip.
_Row = tuple[Tensor, str, np.ndarray]


@dataclass(frozen=True)
class FitEpisode:
    """An episode as the trainer holds it.

    Attributes:
        features: ``(T, F)`` float16, all views side by side.
        task: The instruction.
        about: What a mismatched instruction must differ in: the environment, or the sentence.
        progress: ``(T,)`` in [0, 1].
        success: ``(T,)`` int8: 1, 0 or :data:`UNKNOWN`.
    """

    features: Tensor
    task: str
    about: str
    progress: np.ndarray
    success: np.ndarray


@dataclass(frozen=True)
class Clips:
    """One batch: features ``(B, T, F)``, instructions, and targets ``(B, T)`` in [0, 1]."""

    features: Tensor
    words: Tensor
    targets: Tensor


def progress_labels(episode: Episode) -> np.ndarray:
    """Progress in [0, 1] at each frame: the truth, or the share of the time where there is none.

    Progress below that of the start counts as 0.

    Example:
        >>> from sole.data.episode import make_example_episode
        >>> progress_labels(make_example_episode(3, truth=False)).tolist()
        [0.0, 0.5, 1.0]
    """
    if episode.truth is None:
        return np.linspace(0.0, 1.0, episode.n_frames)
    return np.clip(np.asarray(episode.truth.true_progress, float) / 100.0, 0.0, 1.0)


def success_labels(episode: Episode, failed: bool, success_share: float) -> np.ndarray:
    """Whether the task is done at each frame, int8: 1, 0 or :data:`UNKNOWN`.

    Args:
        episode: With truth, which then says it, or without.
        failed: That it never is, for an attempt without truth.
        success_share: Share of a successful attempt's end that shows success; the first half shows
            none.

    Example:
        >>> from sole.data.episode import make_example_episode
        >>> success_labels(make_example_episode(6, truth=False), False, 0.1).tolist()
        [0, 0, 0, -1, -1, 1]
    """
    n = episode.n_frames
    if episode.truth is not None:
        return np.asarray(episode.truth.true_success, np.int8)
    labels = np.zeros(n, np.int8)
    if not failed:
        labels[n // 2 :] = UNKNOWN
        labels[n - max(1, round(success_share * n)) :] = 1
    return labels


def read_all(config: FitConfig, eye: FrozenEye) -> tuple[list[FitEpisode], tuple[str, ...], Any]:
    """Look at every wanted episode once.

    Returns:
        The episodes, the views that all of them have, and what to note about their sources.

    Raises:
        ConfigError: If a task is held out, or a setting does not fit the data.
        DataError: If a data set cannot be read, or nothing remains.
    """
    failed = config.failed if isinstance(config, ClassifierConfig) else ()
    sources = [(_open(path, config), False) for path in config.data]
    sources += [(_open(path, config), True) for path in failed]
    if config.task is not None and all(source.kind != "video" for source, _ in sources):
        raise ConfigError("--task: datasets have their own sentences; leave it out")
    for source, _ in sources:
        refuse_held_out_rows(source.rows)
    found = [
        (_labelled(episode, config, lost), seen)
        for source, lost in sources
        for episode, seen in _look(source, config, eye)
    ]
    views = tuple(v for v in VIEW_NAMES if all(v in seen for _, seen in found))
    if not found or not views:
        raise DataError(
            f"--data: {len(found)} episodes of at least {_LEAST_FRAMES} frames with a view in "
            "common; expected at least one"
        )
    episodes = [FitEpisode(torch.cat([seen[v] for v in views], 1), *rest) for rest, seen in found]
    return episodes, views, [_origin(source) for source, _ in sources]


def _open(path: Path, config: FitConfig) -> EpisodeSource:
    is_dataset = (path / layout.INFO_PATH).is_file()
    return open_source(
        path,
        task=None if is_dataset else config.task,
        cameras=config.cameras() or None,
        side_by_side=config.side_by_side,
    )


def _look(
    source: EpisodeSource, config: FitConfig, eye: FrozenEye
) -> Iterator[tuple[Episode, dict[str, Tensor]]]:
    chosen = np.arange(len(source.rows))
    if config.episodes is not None and config.episodes < len(chosen):
        rng = np.random.default_rng([config.seed, len(chosen)])
        chosen = np.sort(rng.choice(chosen, config.episodes, replace=False))
    with progress_bar(f"looking at {source.path.name}", total=len(chosen)) as advance:
        for episode in source.read(chosen.tolist()):
            advance(1)
            n = min(episode.n_frames, config.frames_per_episode)
            if n >= _LEAST_FRAMES:
                kept = np.linspace(0, episode.n_frames - 1, n).round().astype(int)
                thin = episode.subset(kept)
                yield thin, {name: eye(list(v)).half() for name, v in thin.views.items()}


def _labelled(episode: Episode, config: FitConfig, failed: bool) -> tuple[Any, ...]:
    share = config.success_share if isinstance(config, ClassifierConfig) else 0.0
    success = success_labels(episode, failed, share)
    return episode.task, episode.env_name or episode.task, progress_labels(episode), success


def _origin(source: EpisodeSource) -> dict[str, Any]:
    path = source.path / MANIFEST_PATH
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return {
        "folder": str(source.path), "kind": source.kind, "episodes": len(source.rows),
        "manifest_sha256": sha256,
    }  # fmt: skip


def clip_frames(n_frames: int, rng: np.random.Generator, rewind_share: float) -> np.ndarray:
    """Frames of one drawn clip, in order; it may run back at its end.

    From a start in the first half to an end in the second, at least three frames; a rewound clip
    then goes back over the k - 1 frames before its last one, k from 2 to its length.

    Args:
        n_frames: Of the episode, at least four.
        rng: Draws it.
        rewind_share: Probability of a rewound clip.

    Returns:
        ``(L,)`` indices below ``n_frames``.
    """
    half = n_frames // 2
    start = int(rng.integers(0, half)) if rng.random() < 0.5 else 0
    end = int(rng.integers(max(half, start + 2), n_frames)) + 1
    frames = np.arange(start, end)
    if rng.random() >= rewind_share:
        return frames
    k = int(rng.integers(2, len(frames) + 1))
    return np.concatenate([frames, frames[::-1][1:k]])


def clip_targets(progress: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Progress of a clip counted from its first frame, in [0, 1].

    Example:
        >>> clip_targets(np.array([0.0, 0.5, 0.75, 1.0]), np.array([1, 2, 3, 2]))
        array([0. , 0.5, 1. , 0.5])
    """
    return rebased(progress[frames], 1.0, 0.0)


class ClipSampler:
    """Makes batch number ``step``, always the same one.

    Args:
        episodes: What is drawn from.
        vocabulary: Of the instructions.
        config: Shares and sizes.
        salt: Another stream of draws for another purpose.

    Raises:
        ConfigError: If the classifier has no frame of one class.
    """

    def __init__(
        self,
        episodes: Sequence[FitEpisode],
        vocabulary: Vocabulary,
        config: FitConfig,
        salt: int = 0,
    ):
        self._episodes = list(episodes)
        self._vocabulary = vocabulary
        self._config = config
        self._salt = salt
        self._frames = {wanted: self._frames_of(wanted) for wanted in (0, 1)}
        if isinstance(config, ClassifierConfig) and not all(map(len, self._frames.values())):
            raise ConfigError(
                f"--data: {len(self._frames[1])} frames that show success and "
                f"{len(self._frames[0])} that do not; a classifier needs both"
            )

    def batch(self, step: int) -> Clips:
        """The batch of one optimiser step."""
        rng = np.random.default_rng([self._config.seed, self._salt, step])
        if isinstance(self._config, RewindConfig):
            return self._clips(rng, self._config.rewind_share)
        return self._moments(rng)

    def _clips(self, rng: np.random.Generator, rewind_share: float) -> Clips:
        size = self._config.frames_per_episode
        length = int(rng.integers(max(size // 2, 3), 2 * size + 1))
        rows = []
        for _ in range(self._config.batch):
            episode = self._episodes[rng.integers(len(self._episodes))]
            frames = clip_frames(len(episode.progress), rng, rewind_share)
            if episode.progress[frames[0]] > _LATEST_START:  # nothing left to do in such a clip
                frames = np.arange(len(episode.progress))
            frames = frames[np.linspace(0, len(frames) - 1, length).round().astype(int)]
            task = self._other_task(episode, rng)
            targets = clip_targets(episode.progress, frames) * (task is None)
            rows.append((episode.features[frames], task or episode.task, targets))
        return self._joined(rows, rng)

    def _moments(self, rng: np.random.Generator) -> Clips:
        """As many frames that show success as do not; some successes under another sentence."""
        rows = []
        for wanted in (0, 1):
            for _ in range(self._config.batch):
                found = self._frames[wanted]
                episode, frame = found[rng.integers(len(found))]
                rows.append((episode.features[[frame]], episode.task, np.array([float(wanted)])))
        for row in range(self._config.batch):
            found = self._frames[1]
            episode, frame = found[rng.integers(len(found))]
            if task := self._other_task(episode, rng):
                rows[row] = (episode.features[[frame]], task, np.zeros(1))
        return self._joined(rows, rng)

    def _joined(
        self, rows: list[tuple[Tensor, str, np.ndarray]], rng: np.random.Generator
    ) -> Clips:
        words = self._vocabulary.batch([task for _, task, _ in rows])
        dropped = torch.from_numpy(rng.random(words.shape) < _WORD_DROP) & (words > 0)
        return Clips(
            torch.stack([features for features, _, _ in rows]).float(),
            words.masked_fill(dropped, 1),
            torch.from_numpy(np.stack([targets for _, _, targets in rows])).float(),
        )

    def _other_task(self, episode: FitEpisode, rng: np.random.Generator) -> str | None:
        """Another task's sentence, with the share that is wanted; None to keep its own."""
        if rng.random() >= self._config.mismatch_share:
            return None
        other = self._episodes[rng.integers(len(self._episodes))]
        same = other.about == episode.about or other.task == episode.task
        return None if same else other.task

    def _frames_of(self, wanted: int) -> list[tuple[FitEpisode, int]]:
        return [(e, int(t)) for e in self._episodes for t in np.flatnonzero(e.success == wanted)]
