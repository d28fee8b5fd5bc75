"""``sole fit``: a small reward model from own videos, in minutes on a CPU.

Two kinds (:mod:`sole.rewarders.learned` says what they are): ``rewind`` learns how far a task has
come from whole attempts, ``classifier`` when it is done from a few labelled ones. The eye is
frozen: every picture is looked at once, and only a small head is trained on what was seen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sole.config import Config, load_preset, parse_config, run_word
from sole.console import stdout
from sole.errors import ConfigError

_USAGE = (
    "usage: sole fit rewind|classifier --data DATASET... --out FOLDER [flags]\n\n"
    "  rewind      progress of each frame, learned from whole attempts and rewound ones\n"
    "  classifier  whether the task is done, learned from a few labelled clips\n\n"
    "sole fit rewind --help shows the flags of one.\n"
)


class FitConfig(Config):
    """What both kinds have in common."""

    data: tuple[Path, ...]
    """LeRobot datasets, or folders of videos (with --task). Without truth in them they are taken
    for successful attempts from start to end."""
    out: Path
    """Folder of the finished model, for --model; its run lies in FOLDER/run and is continued there
    if it was interrupted."""
    steps: int = Field(1000, gt=0)
    """Optimiser steps."""
    task: str | None = None
    """What the videos show, one sentence; datasets have their own."""
    external: str | None = None
    """The datasets' camera that stands still, such as observation.images.top."""
    wrist: str | None = None
    """The datasets' camera on the wrist."""
    side_by_side: bool = False
    """Videos hold both views: external on the left, wrist on the right."""
    episodes: int | None = Field(None, gt=0)
    """At most this many episodes of each data set, drawn by the seed; default: all."""
    frames_per_episode: int = Field(16, ge=4)
    """At most this many frames of each episode, evenly spaced, the first and the last included."""
    eye: Literal["imagenet", "nano"] = "imagenet"
    """Weights of the frozen eye: those nano's began with (needs the `train` extra), or those it
    ended with, which have seen robots."""
    grid: int = Field(3, ge=1, le=6)
    """Features are averaged within grid x grid cells of a picture."""
    hidden_size: int = Field(128, gt=0)
    """Width of the head."""
    word_size: int = Field(32, gt=0)
    """Width of a word's embedding."""
    learning_rate: float = Field(1e-3, gt=0)
    """AdamW's peak rate; warm-up over 4 percent, then a cosine to zero."""
    weight_decay: float = Field(0.05, ge=0)
    """AdamW's decoupled weight decay."""
    batch: int = Field(32, gt=0)
    """Clips of one step; for the classifier, frames of each class."""
    mismatch_share: float = Field(0.2, ge=0, le=1)
    """Share shown under another task's instruction, where nothing is ever done."""
    held_aside: float = Field(0.05, ge=0, lt=1)
    """Share of episodes not trained on, whose loss is logged."""
    seed: int = Field(0, ge=0)
    """Seeds initial weights, the episodes drawn and the order of the data."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    checkpoint_every: int = Field(200, gt=0)
    """Steps between checkpoints."""

    def cameras(self) -> dict[str, str]:
        """Camera by view, as far as the user named them."""
        named = {"external": self.external, "wrist": self.wrist}
        return {view: camera for view, camera in named.items() if camera is not None}


class RewindConfig(FitConfig):
    """Learn progress from attempts, rewound attempts and wrong instructions, after ReWiND."""

    rewind_share: float = Field(0.5, ge=0, le=1)
    """Share of clips that run back at their end, and lose the progress they had made."""


class ClassifierConfig(FitConfig):
    """Learn when a task is done from a few labelled clips, after HIL-SERL."""

    failed: tuple[Path, ...] = ()
    """More datasets, or folders of videos, in which every attempt failed."""
    success_share: float = Field(0.1, gt=0, le=0.5)
    """Where an attempt has no truth: this share of its end shows success, its first half does not,
    and what lies between is not used."""


#: Settings that may differ when a run is continued: they change no number of it.
_FREE = {"out", "threads", "checkpoint_every"}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole fit``; the first word chooses what is trained."""
    words = {kind: f"{__name__}:fit_{kind}" for kind in ("rewind", "classifier")}
    return run_word(argv, words, "sole fit", _USAGE)


def fit_rewind(argv: Sequence[str]) -> int:
    """Run ``sole fit rewind``."""
    return _fit(parse_config(RewindConfig, argv, "sole fit rewind"))


def fit_classifier(argv: Sequence[str]) -> int:
    """Run ``sole fit classifier``."""
    return _fit(parse_config(ClassifierConfig, argv, "sole fit classifier"))


def _fit(config: RewindConfig | ClassifierConfig) -> int:
    check_out(config)
    # Imported only now: torch takes seconds that --help does not need.
    from sole.train.fit_loop import train

    folder = train(config)
    stdout.print(f"wrote {folder}: use it as --model {folder}", markup=False, soft_wrap=True)
    return 0


def check_out(config: FitConfig) -> None:
    """Refuse, before anything is read or written, a folder that holds anything but this very run.

    Raises:
        ConfigError: If it does, or cannot be made.
    """
    path = config.out / "run" / "config.json"
    if not path.exists():
        there = next(p for p in path.absolute().parents if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise ConfigError(
                f"out {config.out}: {there} is no folder that can be written to; choose another"
            )
        there = {p.name for p in config.out.iterdir()} if config.out.is_dir() else set()
        if there - {"run"}:
            raise ConfigError(
                f"out {config.out}: not empty, and no run of sole fit; choose another"
            )
        return
    begun, asked = load_preset(path), config.model_dump(mode="json")
    changed = sorted(
        name for name in {*begun, *asked} - _FREE if begun.get(name) != asked.get(name)
    )
    if changed:
        raise ConfigError(
            f"out {config.out}: its run has another {', '.join(changed)}; choose another folder, "
            "or give the same settings to continue it"
        )
