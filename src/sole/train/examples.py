"""Draws training batches from episodes: which moments, what is stated, what is said.

A batch is a function of (episodes, settings, seed, step) alone, so a resumed run sees exactly the
batches it would have seen. Several moments of one episode share their encoded tiles.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sole.data.episode import Episode, Facts
from sole.models.nano.modeling import N_TILES
from sole.models.nano.reader import SUCCESS_ABOVE, prompt_text
from sole.protocol.composite import fit_tile
from sole.protocol.prompt import write_reply
from sole.protocol.readout import soft_label
from sole.synth.reasoning import write_reasoning
from sole.train.verify import Known

_ROWS = ("external", "wrist")
_IGNORED = -100
_NO_TILES = np.zeros(0, np.uint8)
_LOSS_POINTS = 3.0  # a fall of true progress between two frames that is worth being shown
MISMATCH_REASONING = "this is another task. nothing done here helps it. nothing is done yet."


@dataclass(frozen=True)
class ExampleSettings:
    """How moments are drawn; shares are probabilities.

    Attributes:
        episodes_per_batch: Episodes in one batch; each gives ``moments_per_episode`` examples.
        moments_per_episode: Moments drawn from one episode, a chain in time.
        max_gap: Largest number of frames between the previous and the current one.
        from_zero_share: Share without a previous frame and without a stated progress.
        unstated_share: Share with a previous frame whose progress is not stated.
        perturbed_share: Share whose stated progress is wrong by up to ``perturbation`` points.
        wild_share: Share whose stated progress is any number: nothing may be anchored on it.
        think_share: Share of batches with reasoning; the others have an empty one.
        mismatch_share: Share of episodes shown under another task's instruction (progress 0); half
            of them under that of a task with the same kind of object where there is one.
        regress_share: Share of episodes whose moments are drawn around a loss of progress.
        single_view_share: Share of episodes shown with one view: three in four keep the external.
        label_sigma: Spread of the number labels in points.
        max_shift_px: Largest random shift of an episode's pictures.
    """

    episodes_per_batch: int = 12
    moments_per_episode: int = 4
    max_gap: int = 4
    from_zero_share: float = 0.3
    unstated_share: float = 0.15
    perturbed_share: float = 0.5
    perturbation: float = 15.0
    wild_share: float = 0.1
    think_share: float = 0.5
    mismatch_share: float = 0.02
    regress_share: float = 0.2
    single_view_share: float = 0.08
    label_sigma: float = 3.0
    max_shift_px: int = 4


@dataclass(frozen=True)
class TrainingEpisode:
    """An episode as the trainer holds it: ``(T, 2, 3, 96, 96)`` uint8 tiles and its truth."""

    tiles: np.ndarray
    task: str
    kind: str
    true_progress: np.ndarray
    facts: tuple[Facts, ...]


@dataclass(frozen=True)
class Batch:
    """Tensors of one training step; ``tile_index`` points into ``tiles`` (-1: absent)."""

    tiles: Tensor
    tile_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    number_positions: Tensor
    number_labels: Tensor


def prepare(episodes: Iterable[Episode], tile_px: int = 96) -> Iterator[TrainingEpisode]:
    """Keep what training needs of episodes that carry facts, one after the other.

    Raises:
        ValueError: If an episode has no truth or no facts.
    """
    return (_prepare_one(episode, tile_px) for episode in episodes)


def keep_on_disk(episodes: Iterable[TrainingEpisode], folder: Path) -> list[TrainingEpisode]:
    """Move the tiles to a file without a name, mapped into memory: ten thousand episodes are 17 GB.

    What is often drawn stays in the page cache; the file is gone with the process, however it ends.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        kept = []
        for episode in episodes:
            kept.append((replace(episode, tiles=_NO_TILES), file.tell(), episode.tiles.shape))
            file.write(np.ascontiguousarray(episode.tiles).data)
        file.flush()
        if not kept:
            return []
        pixels = np.memmap(file, np.uint8, mode="r")
    return [
        replace(episode, tiles=pixels[start : start + math.prod(shape)].reshape(shape))
        for episode, start, shape in kept
    ]


def _prepare_one(episode: Episode, tile_px: int) -> TrainingEpisode:
    truth = episode.truth
    if truth is None or not truth.facts:
        raise ValueError(f"training needs true progress and facts; {episode.env_name} has none")
    tiles = np.zeros((episode.n_frames, len(_ROWS), 3, tile_px, tile_px), np.uint8)
    for row, name in enumerate(_ROWS):
        for t, frame in enumerate(episode.views.get(name, ())):
            tiles[t, row] = fit_tile(frame, tile_px).transpose(2, 0, 1)
    return TrainingEpisode(tiles, episode.task, episode.env_name, truth.true_progress, truth.facts)


class ExampleSampler:
    """Makes batch number ``step``, always the same one."""

    def __init__(
        self,
        episodes: Sequence[TrainingEpisode],
        tokenizer,  # noqa: ANN001
        settings: ExampleSettings,
        *,
        seed: int,
        n_image_tokens: int,
    ):
        if not episodes:
            raise ValueError("no episodes to train on")
        self._episodes = episodes
        self._tokenizer = tokenizer
        self._settings = settings
        self._seed = seed
        self._n_image_tokens = n_image_tokens
        self._by_object: dict[str, list[TrainingEpisode]] = {}
        for episode in episodes:
            self._by_object.setdefault(_thing(episode), []).append(episode)

    def batch(self, step: int) -> Batch:
        """Draw the batch of this step."""
        return self._tensors(*self.draw(step))

    def draw(self, step: int) -> tuple[np.ndarray, list[Example]]:
        """Draw this step's pictures ``(n, 2, 3, 96, 96)`` and its examples, not yet in tokens."""
        rng = np.random.default_rng([self._seed, step])
        think = bool(rng.random() < self._settings.think_share)
        chosen = rng.integers(len(self._episodes), size=self._settings.episodes_per_batch)
        tiles: list[np.ndarray] = []
        examples: list[Example] = []
        for index in chosen:
            pictures, more = self._from_episode(self._episodes[index], rng, think, 2 * len(tiles))
            examples += more
            tiles += list(pictures)
        return np.stack(tiles), examples

    def _from_episode(
        self, episode: TrainingEpisode, rng: np.random.Generator, think: bool, offset: int
    ) -> tuple[np.ndarray, list[Example]]:
        task, mismatched = self._task(episode, rng)
        rows = _shown_rows(self._settings, rng)
        moments = _chain(episode.true_progress, self._settings, rng)
        frames = [0, *moments]
        pictures = augment(episode.tiles[frames], rng, self._settings.max_shift_px)
        examples = []
        for k in range(1, len(moments)):
            pair = (moments[k - 1], moments[k])
            # First, previous and current among the pictures; each moment has two tiles.
            places = [offset + 2 * place for place in (0, k, k + 1)]
            examples.append(
                self._example(episode, pair, _index(places, rows), task, mismatched, think, rng)
            )
        return pictures, examples

    def _task(self, episode: TrainingEpisode, rng: np.random.Generator) -> tuple[str, bool]:
        if rng.random() >= self._settings.mismatch_share:
            return episode.task, False
        alike = self._by_object[_thing(episode)] if rng.random() < 0.5 else self._episodes
        other = alike[int(rng.integers(len(alike)))]
        return (other.task, True) if other.kind != episode.kind else (episode.task, False)

    def _example(
        self,
        episode: TrainingEpisode,
        pair: tuple[int, int],
        index: list[int],
        task: str,
        mismatched: bool,
        think: bool,
        rng: np.random.Generator,
    ) -> Example:
        before, now = (0.0 if mismatched else float(episode.true_progress[t]) for t in pair)
        from_zero = rng.random() < self._settings.from_zero_share
        stated = None if from_zero else _stated(before, self._settings, rng)
        reasoning = ""
        if think:
            previous = None if from_zero else episode.facts[pair[0]]
            reasoning = MISMATCH_REASONING if mismatched else write_reasoning(
                task, episode.facts[0], previous, episode.facts[pair[1]],
                None if from_zero else before, now, rng,
            )  # fmt: skip
        if from_zero:
            index = [-1 if place % 3 == 1 else tile for place, tile in enumerate(index)]
        prompt = prompt_text(self._tokenizer, task, stated, self._n_image_tokens)
        seen = (episode.facts[0], None if from_zero else episode.facts[pair[0]])
        known = Known(
            now,
            None if from_zero else before,
            stated,
            None if mismatched else (*seen, episode.facts[pair[1]]),
        )
        return Example(prompt, reasoning, now, index, task, known)

    def _tensors(self, tiles: np.ndarray, examples: list[Example]) -> Batch:
        encoded = [self._encode(example) for example in examples]
        length = max(len(ids) for ids, _, _ in encoded)
        ids = torch.zeros(len(encoded), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, _IGNORED)
        for row, (tokens, targets, _) in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            labels[row, : len(tokens)] = torch.tensor(targets)
        numbers = np.stack([number_label(e.progress, self._settings.label_sigma) for e in examples])
        return Batch(
            torch.from_numpy(tiles.reshape(-1, *tiles.shape[2:])),
            torch.tensor([e.tile_index for e in examples]),
            ids,
            mask,
            labels,
            torch.tensor([position for _, _, position in encoded]),
            torch.from_numpy(numbers.astype(np.float32)),
        )

    def _encode(self, example: Example) -> tuple[list[int], list[int], int]:
        """Return ids, text labels (the number has its own), and where the number is predicted."""
        reply = write_reply(example.reasoning, round(example.progress)) + self._tokenizer.eos_token
        prompt = self._tokens(example.prompt + "<think>")
        ids = prompt + self._tokens(reply.removeprefix("<think>"))
        number_at = len(ids) - 4  # N % </answer> </s>
        targets = [_IGNORED] * len(prompt) + ids[len(prompt) :]
        targets[number_at] = _IGNORED
        if not example.reasoning:  # closing the thought at once is asked for, not learned
            targets[len(prompt)] = _IGNORED
        return ids, targets, number_at - 1

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


@dataclass(frozen=True)
class Example:
    """One question, what should be said, and what is known of it.

    ``tile_index`` points into the pictures drawn with it, flattened to single tiles (-1: absent).
    """

    prompt: str
    reasoning: str
    progress: float
    tile_index: list[int]
    task: str
    known: Known


@lru_cache(maxsize=4096)
def _label(tenths: int, sigma: float) -> np.ndarray:
    progress = tenths / 10
    if progress >= 100:
        return soft_label(100, 0.6)
    label = soft_label(progress, sigma)
    top = SUCCESS_ABOVE + 100
    label[top] += label[top + 1 :].sum()
    label[top + 1 :] = 0.0
    return label


def number_label(progress: float, sigma: float) -> np.ndarray:
    """Soft label of one number, ``(201,)``: what lies above 97 means success and nothing else.

    Example:
        >>> bool(number_label(95.0, 3.0)[198:].sum() == 0.0)
        True
        >>> bool(number_label(100.0, 3.0)[198:].sum() > 0.99)
        True
    """
    return _label(round(float(progress) * 10), sigma)


def _thing(episode: TrainingEpisode) -> str:
    """What is handled, in one word: "drawer handle" is a handle."""
    return str(episode.facts[0]["object_name"]).rsplit(" ", 1)[-1]


def _shown_rows(settings: ExampleSettings, rng: np.random.Generator) -> tuple[bool, bool]:
    """Which views are shown: people often have one camera."""
    if rng.random() >= settings.single_view_share:
        return True, True
    external = bool(rng.random() < 0.75)
    return external, not external


def _index(places: Sequence[int], rows: Sequence[bool]) -> list[int]:
    """Tiles of the composite in reading order, row by row; -1 where a view is not shown."""
    return [place + row if shown else -1 for row, shown in enumerate(rows) for place in places]


def _chain(progress: np.ndarray, settings: ExampleSettings, rng: np.random.Generator) -> list[int]:
    """Draw moments t0 < t1 < ...; short episodes repeat their end."""
    n_frames = len(progress)
    gaps = rng.integers(1, settings.max_gap + 1, size=settings.moments_per_episode)
    start = int(rng.integers(0, max(n_frames - int(gaps.sum()), 1)))
    losses = np.flatnonzero(np.diff(progress) < -_LOSS_POINTS)
    if len(losses) and rng.random() < settings.regress_share:
        start = max(int(rng.choice(losses)) - int(rng.integers(0, gaps.sum())), 0)
    moments = start + np.concatenate([[0], np.cumsum(gaps)])
    return [min(int(t), n_frames - 1) for t in moments]


def _stated(before: float, settings: ExampleSettings, rng: np.random.Generator) -> int | None:
    if rng.random() < settings.unstated_share:
        return None
    if rng.random() < settings.wild_share:
        return int(rng.integers(-40, 101))
    if rng.random() < settings.perturbed_share:
        before += rng.uniform(-settings.perturbation, settings.perturbation)
    return int(np.clip(round(before), -100, 100))


def augment(tiles: np.ndarray, rng: np.random.Generator, max_shift_px: int) -> np.ndarray:
    """Shift and tint all pictures of one episode alike, each view with its own draw.

    Args:
        tiles: ``(n, 2, 3, H, W)`` uint8.
        rng: Source of the draw.
        max_shift_px: Largest shift along each axis; what enters repeats the border.
    """
    out = np.empty_like(tiles)
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.85, 1.15, size=(1, 3, 1, 1))
    bias = rng.uniform(-15, 15)
    gamma_table = np.arange(256)[None] * gain.reshape(3, 1) + bias
    table = np.clip(gamma_table, 0, 255).astype(np.uint8)
    for row in range(tiles.shape[1]):
        down, right = rng.integers(-max_shift_px, max_shift_px + 1, size=2)
        height, width = tiles.shape[-2:]
        ys = np.clip(np.arange(height) + down, 0, height - 1)
        xs = np.clip(np.arange(width) + right, 0, width - 1)
        moved = tiles[:, row][:, :, ys][:, :, :, xs]
        for channel in range(3):
            out[:, row, channel] = table[channel][moved[:, channel]]
    return out


assert N_TILES == 6  # first, previous, current for each of two rows
