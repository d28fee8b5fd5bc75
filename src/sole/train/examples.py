"""Draws training batches from episodes: which moments, what is stated, what is said.

A batch is a function of (episodes, settings, seed, step) alone, so a resumed run sees exactly the
batches it would have seen. Several moments of one episode share their encoded tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sole.models.nano.modeling import N_TILES
from sole.models.nano.reader import SUCCESS_ABOVE, prompt_text, question_text
from sole.protocol.prompt import write_reply
from sole.protocol.readout import soft_label
from sole.synth.foundation import Question, Told, draw_questions
from sole.synth.reasoning import write_reasoning
from sole.train.episodes import TrainingEpisode
from sole.train.instructions import Instructions
from sole.train.verify import Known

_IGNORED = -100
_LOSS_POINTS = 3.0  # a fall of true progress between two frames that is worth being shown
MISMATCH_REASONING = "this is another task. nothing done here helps it. nothing is done yet."


@dataclass(frozen=True)
class ExampleSettings:
    """How moments are drawn; shares are probabilities, some of them among what others left.

    Attributes:
        episodes_per_batch: Episodes in one batch; each gives ``moments_per_episode`` examples.
        moments_per_episode: Moments drawn from one episode, a chain in time.
        max_gap: Largest number of frames between the previous and the current one.
        from_zero_share: Share without a previous frame and without a stated progress.
        unstated_share: Of those with a previous frame, the share whose progress is not stated.
        perturbed_share: Of those that state it and are not wild, the share where it is wrong by up
            to ``perturbation`` points.
        perturbation: Points.
        wild_share: Of those that state it, the share where it is any number: nothing may be
            anchored on it.
        think_share: Share of batches with reasoning; the others have an empty one.
        mismatch_share: Share of episodes shown under another task's instruction (progress 0); half
            of them under that of a task with the same kind of object where there is one. Those that
            draw a sentence of their own task keep theirs.
        question_share: Share of episodes, in batches with reasoning, about which questions of space
            and time are asked instead (design section 7); as many as moments.
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
    question_share: float = 0.0
    regress_share: float = 0.2
    single_view_share: float = 0.08
    label_sigma: float = 3.0
    max_shift_px: int = 4


@dataclass(frozen=True)
class Batch:
    """Tensors of one training step.

    ``tile_index`` points into ``tiles`` (-1: absent). Where no number is asked for,
    ``number_labels`` is zero and ``number_positions`` says nothing.
    """

    tiles: Tensor
    tile_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    number_positions: Tensor
    number_labels: Tensor


class ExampleSampler:
    """Makes batch number ``step``, always the same one.

    ``chances`` are the probabilities of the episodes; without them all are drawn alike.
    """

    def __init__(
        self,
        episodes: Sequence[TrainingEpisode],
        tokenizer,  # noqa: ANN001
        settings: ExampleSettings,
        *,
        seed: int,
        n_image_tokens: int,
        chances: np.ndarray | None = None,
    ):
        if not episodes:
            raise ValueError("no episodes to train on")
        if chances is not None and len(chances) != len(episodes):
            raise ValueError(f"{len(chances)} chances for {len(episodes)} episodes")
        self._episodes, self._chances = episodes, chances
        self._tokenizer = tokenizer
        self._settings = settings
        self._seed = seed
        self._n_image_tokens = n_image_tokens
        self._instructions = Instructions(episodes, settings.mismatch_share)

    def batch(self, step: int) -> Batch:
        """Draw the batch of this step."""
        return self._tensors(*self.draw(step))

    def draw(self, step: int) -> tuple[np.ndarray, list[Example]]:
        """Draw this step's pictures ``(n, 2, 3, 96, 96)`` and its examples, not yet in tokens."""
        rng = np.random.default_rng([self._seed, step])
        think = bool(rng.random() < self._settings.think_share)
        n, size = len(self._episodes), self._settings.episodes_per_batch
        even = self._chances is None  # then drawn as ever: batches stay what they were
        chosen = rng.integers(n, size=size) if even else rng.choice(n, size, p=self._chances)
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
        share = self._settings.question_share
        # Nothing is drawn where nothing is asked: those batches stay what they always were.
        if think and share and rng.random() < share:
            questions = ask_about(episode, self._settings.moments_per_episode, rng)
            if questions:
                return self._asked(episode, questions, rng, offset)
        task, mismatched = self._instructions.draw(episode, rng)
        rows = _shown_rows(episode, self._settings, rng)
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

    def _asked(
        self,
        episode: TrainingEpisode,
        questions: Sequence[Question],
        rng: np.random.Generator,
        offset: int,
    ) -> tuple[np.ndarray, list[Example]]:
        """Two pictures a question, where the first and the current one always stand."""
        rows = _shown_rows(episode, self._settings, rng)
        frames = [t for question in questions for t in question.frames]
        pictures = augment(episode.tiles[frames], rng, self._settings.max_shift_px)
        examples = []
        for k, question in enumerate(questions):
            first, second = offset + 4 * k, offset + 4 * k + 2
            index = _without_previous(_index((first, first, second), rows))
            prompt = question_text(self._tokenizer, question.with_choices, self._n_image_tokens)
            known = Known(0.0)
            examples.append(
                Example(prompt, question.reasoning, 0.0, index, episode.task, known, question)
            )
        return pictures, examples

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
            index = _without_previous(index)
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
        numbers = np.stack([self._number_label(example) for example in examples])
        return Batch(
            torch.from_numpy(tiles.reshape(-1, *tiles.shape[2:])),
            torch.tensor([e.tile_index for e in examples]),
            ids,
            mask,
            labels,
            torch.tensor([position for _, _, position in encoded]),
            torch.from_numpy(numbers.astype(np.float32)),
        )

    def _number_label(self, example: Example) -> np.ndarray:
        label = number_label(example.progress, self._settings.label_sigma)
        return label if example.question is None else np.zeros_like(label)

    def _encode(self, example: Example) -> tuple[list[int], list[int], int]:
        """Return ids, text labels (the number has its own), and where the number is predicted."""
        reply = example.reply + self._tokenizer.eos_token
        prompt = self._tokens(example.prompt + "<think>")
        ids = prompt + self._tokens(reply.removeprefix("<think>"))
        number_at = len(ids) - 4  # N % </answer> </s>
        targets = [_IGNORED] * len(prompt) + ids[len(prompt) :]
        if example.question is None:
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
    With a ``question`` no progress is asked for.
    """

    prompt: str
    reasoning: str
    progress: float
    tile_index: list[int]
    task: str
    known: Known
    question: Question | None = None

    @property
    def reply(self) -> str:
        """What should be said."""
        if self.question is not None:
            return self.question.reply.lower()
        return write_reply(self.reasoning, round(self.progress))


def ask_about(
    episode: TrainingEpisode, n_questions: int, rng: np.random.Generator
) -> list[Question]:
    """Draw questions about space and time, each about two pictures.

    One that is about a single moment is shown beside the start, and says so.
    """
    done = np.asarray(episode.true_progress) >= 100
    told = Told(episode.task, episode.policy, episode.facts, episode.true_progress, done)
    return [_beside_start(one) for one in draw_questions(told, n_questions, rng)]


def _beside_start(question: Question) -> Question:
    if len(question.frames) == 2:
        return question
    text = f"The first picture is the start, the second is now. {question.text}"
    return replace(question, frames=(0, *question.frames), text=text)


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


def _shown_rows(
    episode: TrainingEpisode, settings: ExampleSettings, rng: np.random.Generator
) -> tuple[bool, bool]:
    """Which views are shown: people often have one camera, and some episodes have one view."""
    if rng.random() >= settings.single_view_share:
        return episode.seen
    external = bool(rng.random() < 0.75)
    return (external, not external) if all(episode.seen) else episode.seen


def _without_previous(index: Sequence[int]) -> list[int]:
    """The same tiles as a read from zero shows them."""
    return [-1 if place % 3 == 1 else tile for place, tile in enumerate(index)]


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
