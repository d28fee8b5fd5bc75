"""Operators on recorded episodes: what a reward model must not be fooled by, from frames alone.

They need no simulator, so any video can be augmented. Each shows an episode's own frames in another
order (or under another sentence); what is true of a frame moves with it and is counted from the new
first frame (:mod:`sole.synth.rebase`). Actions are dropped where they no longer lead from one
frame to the next. Operators compose: every result remembers its source's frames and labels, so that
nothing is lost on the way. The policy's name grows by the operator's.

Sources: time reversal and nested reversal, SOLE-R1 (arXiv 2603.28730); rewind, clip and mismatched
instructions, ReWiND (arXiv 2505.10911); frozen tail and speed, the stress tests that Robometer and
GVL users run on finished models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sole.data.episode import Episode, Truth
from sole.synth.rebase import rebased, rebased_truth

#: Key of ``Episode.extra`` under which a result remembers where its frames come from.
SOURCE = "perturbed_from"
#: Random draws need this many frames to turn round between two others.
MIN_FRAMES = 3


def follow(episode: Episode, indices: Sequence[int] | np.ndarray, name: str) -> Episode:
    """Show these frames in this order; labels follow and are re-based to the first of them.

    The one place where operators touch labels. ``extra["perturbed_from"]`` holds the source's frame
    numbers, its length, and its progress and done fraction at these frames.

    Args:
        episode: With or without truth.
        indices: At least one frame number of ``episode``; repeats are allowed.
        name: Appended to the policy.

    Raises:
        ValueError: If there are none, or one is outside the episode.
    """
    index = np.asarray(indices, dtype=int)
    if not index.size or index.min() < 0 or index.max() >= episode.n_frames:
        raise ValueError(f"{name}: expected frames among 0 to {episode.n_frames - 1}, got {index}")
    source = {
        key: [value[i] for i in index] if isinstance(value, list) else value
        for key, value in _source(episode).items()
    }
    shown = episode.subset(index)
    truth = shown.truth
    if truth is not None:
        done = source["done_fraction"]
        done = None if done is None else np.asarray(done, np.float64)
        truth = rebased_truth(truth, np.asarray(source["progress"]), done)
    return replace(
        shown, truth=truth, policy=_named(episode.policy, name),
        extra={**episode.extra, SOURCE: source},
    )  # fmt: skip


def time_reversal(episode: Episode) -> Episode:
    """Play it backwards (SOLE-R1's way to get regress from real video).

    Labels: each frame keeps its state, counted from the old last frame. Success played backwards
    begins at 0 and falls to -100; since its first frame is complete, no frame of it scores above 0
    (:func:`without_complete_head` makes a clip of it that never was complete). Twice is the
    identity, labels included; facts return only if the object had not moved at either end.
    """
    return follow(episode, np.arange(episode.n_frames)[::-1], "reversed")


def nested_reversal(episode: Episode, turn: int, back_to: int, stop: int) -> Episode:
    """Forward to frame ``turn``, back to ``back_to``, forward again up to ``stop`` (SOLE-R1).

    Labels follow the frames: progress is made, lost and made again. Length is
    ``1 + turn + (turn - back_to) + (stop - back_to)``.

    Raises:
        ValueError: Unless ``0 <= back_to < turn < T`` and ``back_to < stop < T``.
    """
    _check(0 <= back_to < min(turn, stop), f"back_to {back_to} before turn {turn}, stop {stop}")
    there, back = np.arange(turn + 1), np.arange(back_to, turn)[::-1]
    return follow(episode, [*there, *back, *range(back_to + 1, stop + 1)], "nested_reversed")


def rewind(episode: Episode, turn: int, back_to: int = 0) -> Episode:
    """Forward to frame ``turn``, then back; the last frame is ``back_to`` (ReWiND).

    Labels follow the frames: a failure that undoes its progress, and its success. Length is
    ``1 + turn + (turn - back_to)``.

    Raises:
        ValueError: Unless ``0 <= back_to < turn < T``.
    """
    _check(0 <= back_to < turn, f"back_to {back_to} before turn {turn}")
    return follow(episode, [*range(turn + 1), *range(turn - 1, back_to - 1, -1)], "rewound")


def freeze(episode: Episode, at: int, n_more: int) -> Episode:
    """Up to frame ``at``, which then stays for ``n_more`` frames: a frozen tail.

    Labels stay where they were: waiting is no progress. A task that is complete stays complete.

    Raises:
        ValueError: If ``at`` is outside the episode or ``n_more`` below 1.
    """
    _check(n_more >= 1, f"n_more {n_more}, at least 1")
    return follow(episode, [*range(at + 1), *[at] * n_more], "frozen")


def clip(episode: Episode, start: int, stop: int) -> Episode:
    """Frames ``start`` to ``stop - 1`` (ReWiND): an attempt that was seen in part.

    Labels are counted from frame ``start``: 0 there, a gain is a share of what was left to do, so
    that a clip that ends complete ends at 100, and one that ends early stays below.

    Raises:
        ValueError: Unless ``0 <= start < stop <= T``.
    """
    _check(0 <= start < stop <= episode.n_frames, f"start {start} before stop {stop}")
    return follow(episode, range(start, stop), "clipped")


def change_speed(episode: Episode, factor: float) -> Episode:
    """Play it ``factor`` times as fast at the same frame rate; the first and last frame stay.

    Labels follow the frames, so the same gain takes less or more time. Faster leaves frames out,
    slower repeats them. Length is ``1 + max(round((T - 1) / factor), 1)``, or 1 for one frame.

    Raises:
        ValueError: If ``factor`` is not a positive number.
    """
    _check(np.isfinite(factor) and factor > 0, f"factor {factor}, a positive number")
    last = episode.n_frames - 1
    n_frames = 1 + max(round(last / factor), 1) if last else 1
    return follow(episode, np.linspace(0, last, n_frames).round().astype(int), "respeeded")


def mismatched_instruction(episode: Episode, sentence: str) -> Episode:
    """The same pictures under another task's sentence (ReWiND, VLAC): nothing is done for it.

    Labels: progress 0 and no success at every frame, and no facts, because those are about the
    other task. Whoever calls this answers for the sentence: it must not describe what is seen.

    Raises:
        ValueError: If the sentence is blank or the episode's own.
    """
    said = sentence.strip()
    _check(bool(said) and said.lower() != episode.task.lower(), f"another sentence, got {said!r}")
    n_frames, truth = episode.n_frames, episode.truth
    if truth is not None:
        truth = Truth(np.zeros(n_frames, np.float32), np.zeros(n_frames, bool))
    source = {**_source(episode), "progress": [0.0] * n_frames, "done_fraction": None}
    return replace(
        episode, task=said, truth=truth, policy=_named(episode.policy, "mismatched"),
        extra={**episode.extra, SOURCE: {**source, "mismatched": True}},
    )  # fmt: skip


def without_complete_head(episode: Episode) -> Episode | None:
    """Cut off the frames at the start that show the task complete already.

    The protocol knows no episode that begins in success: its 0 and its 100 would be one picture.
    Labels are counted from the first frame that is left. None when fewer than two frames are left;
    the episode itself when nothing is to be cut, or nothing is known.
    """
    if episode.truth is None or not episode.truth.true_success[0]:
        return episode
    left = np.flatnonzero(~episode.truth.true_success)
    if not len(left) or episode.n_frames - left[0] < 2:
        return None
    return follow(episode, np.arange(left[0], episode.n_frames), "")


def order_labels(episode: Episode) -> np.ndarray:
    """Time as a stand-in for progress where there is no simulator: a proxy, never a ``true_*``.

    A recording counts as a finished demonstration that gains evenly: 0 at its first frame, 100 at
    its last. Frames in another order take their label along, counted from the new first frame, so
    that a reversed video goes from 0 to -100. Wrong for any recording that is no smooth success.

    Returns:
        ``(T,)`` float32 in [-100, 100]; zeros under a mismatched instruction.
    """
    source = _source(episode)
    if source.get("mismatched"):
        return np.zeros(episode.n_frames, np.float32)
    place = np.asarray(source["frames"], np.float64) / max(source["n_frames"] - 1, 1)
    return rebased(100.0 * place, 100.0, -100.0).astype(np.float32)


Draw = Callable[[Episode, np.random.Generator], Episode]


def _draw_nested(episode: Episode, rng: np.random.Generator) -> Episode:
    back_to, turn = _two_frames(episode, rng)
    return nested_reversal(episode, turn, back_to, int(rng.integers(back_to + 1, episode.n_frames)))


def _draw_rewind(episode: Episode, rng: np.random.Generator) -> Episode:
    back_to, turn = _two_frames(episode, rng)
    return rewind(episode, turn, back_to)


def _draw_freeze(episode: Episode, rng: np.random.Generator) -> Episode:
    n_frames = episode.n_frames
    at = int(rng.integers(0, n_frames - 1))
    return freeze(episode, at, n_frames - 1 - at)


def _draw_clip(episode: Episode, rng: np.random.Generator) -> Episode:
    start, last = _two_frames(episode, rng)
    return clip(episode, start, last + 1)


def _draw_speed(episode: Episode, rng: np.random.Generator) -> Episode:
    return change_speed(episode, float(2.0 ** rng.uniform(-1.0, 1.0)))


#: Name on the command line -> the operator with parameters drawn at random.
OPERATORS: dict[str, Draw] = {
    "reverse": lambda episode, rng: time_reversal(episode),
    "nested-reverse": _draw_nested,
    "rewind": _draw_rewind,
    "freeze": _draw_freeze,
    "clip": _draw_clip,
    "speed": _draw_speed,
}
#: The operator that needs a sentence beside the episode.
MISMATCH = "mismatch"


def _two_frames(episode: Episode, rng: np.random.Generator) -> tuple[int, int]:
    """Two frames with at least one between them, the earlier one first."""
    n_frames = episode.n_frames
    _check(n_frames >= MIN_FRAMES, f"at least {MIN_FRAMES} frames, got {n_frames}")
    low = int(rng.integers(0, n_frames - 2))
    return low, int(rng.integers(low + 2, n_frames))


def _check(good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"operator: expected {expected}")


def _named(policy: str, name: str) -> str:
    return "+".join(part for part in (policy, name) if part)


def _source(episode: Episode) -> dict[str, Any]:
    """Where the frames come from; a recording is its own source."""
    known = episode.extra.get(SOURCE)
    if known is not None and len(known["frames"]) == episode.n_frames:
        return dict(known)
    truth = episode.truth
    facts = truth.facts if truth is not None else ()
    return {
        "n_frames": episode.n_frames,
        "frames": list(range(episode.n_frames)),
        "progress": None if truth is None else [float(p) for p in truth.true_progress],
        "done_fraction": [float(f["done_fraction"]) for f in facts] or None,
    }
