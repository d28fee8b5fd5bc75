"""``sole data augment``: operators on every episode of a source, as a new LeRobot v3 dataset."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field

from sole import __version__
from sole.config import Config, parse_config
from sole.console import progress_bar, stderr, stdout
from sole.data import layout
from sole.data.episode import Episode
from sole.data.lerobot import EpisodeWriter, Manifest, save_manifest
from sole.data.manifest import MANIFEST_PATH
from sole.data.sources import EpisodeSource, open_source
from sole.errors import ConfigError, DataError
from sole.sims.registry import split_of
from sole.sims.worlds_words import without_look
from sole.synth.perturb import (
    MIN_FRAMES,
    MISMATCH,
    OPERATORS,
    mismatched_instruction,
    order_labels,
    without_complete_head,
)

#: Key of ``Episode.extra`` for the labels of episodes without truth.
ORDER_PROGRESS = "order_progress"
_JOIN = "+"
#: First words of task names that handle the same thing, or end where the other one does: who brings
#: the puck to the goal has reached it, and one that is carried there might have been pushed.
_ALIKE = tuple(map(frozenset, (
    ("reach", "pick", "push", "puck"), ("push", "block", "sweep"), ("coffee", "mug"),
    ("box", "lid"), ("soccer", "ball"),
)))  # fmt: skip
#: A policy that does what the sentence of the other object would ask for.
_WRONG_OBJECT = "wrong_object"


class AugmentConfig(Config):
    """Make new episodes from recorded ones: reversed, rewound, frozen, under a wrong sentence."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """A LeRobot v3 or v2 dataset, a folder of videos, or one video."""
    out: Path
    """Folder of the new dataset (LeRobot v3); it must not exist yet."""
    operators: tuple[str, ...] = ("reverse", "nested-reverse", "rewind", "freeze", MISMATCH)
    """What is made of each episode: reverse, nested-reverse, rewind, freeze, clip, speed, mismatch.
    Join with + to apply one after another: clip+rewind."""
    copies: int = Field(1, gt=0)
    """How often each is drawn anew."""
    originals: bool = False
    """Also write the source's own episodes, actions included."""
    facts_only: bool = False
    """Leave out results that have lost their facts: ``sole sft`` needs them."""
    task: str | None = None
    """What the videos show, one sentence; datasets have their own."""
    external: str | None = None
    """The dataset's camera that stands still, such as observation.images.top."""
    wrist: str | None = None
    """The dataset's camera on the wrist."""
    side_by_side: bool = False
    """Videos hold both views: external on the left, wrist on the right."""
    max_side_px: int = Field(384, ge=16)
    """Shrink larger pictures of videos and of v2 datasets to this longest side."""
    seed: int = Field(0, ge=0)
    """Of the random turns, speeds and sentences."""

    def cameras(self) -> dict[str, str]:
        """Camera by view, as far as the user named them."""
        named = {"external": self.external, "wrist": self.wrist}
        return {view: camera for view, camera in named.items() if camera is not None}


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole data augment``."""
    config = parse_config(AugmentConfig, argv, "sole data augment")
    tally, manifest = augment(config)
    n_episodes, n_frames = manifest.counts["episodes"], manifest.counts["frames"]
    stdout.print(
        f"wrote {config.out}: {n_episodes} episodes, {n_frames} frames",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for name, n in tally.made.items():
        stdout.print(f"{n:7d}  {name}", markup=False)
    for reason, n in sorted(tally.left_out.items()):
        stderr.print(f"left out {n}: {reason}", markup=False, soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Tally:
    """How many episodes each chain of operators made, and what was left out for which reason."""

    made: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def augment(config: AugmentConfig) -> tuple[Tally, Manifest]:
    """Write the new dataset; it appears under its name only when it is whole.

    Returns:
        What was made and left out, and the new manifest.

    Raises:
        ConfigError: For an unknown operator, a held-out task, or a name that is taken.
        DataError: If the source cannot be read, or nothing could be made of it.
    """
    chains = _chains(config.operators)
    source = open_source(
        config.source, task=config.task, cameras=config.cameras() or None,
        side_by_side=config.side_by_side, max_side_px=config.max_side_px,
    )  # fmt: skip
    refuse_held_out_rows(source.rows)
    others = _sentences(source, chains)
    tally = Tally()
    with _new_folder(config.out) as folder:
        _write(folder, config, source, _made(config, chains, source, others, tally))
        manifest = save_manifest(folder, _origin(config, source))
    return tally, manifest


def refuse_held_out_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError if any episode is of a task that is held out, or that no suite knows.

    Only episodes that name their environment can be told; recordings of others do not.
    """
    names = sorted({_full_name(row) for row in rows} - {""})
    try:
        held_out = [name for name in names if split_of(name) != "train"]
    except ConfigError as error:
        raise ConfigError(f"the source has a task that could be held out: {error}") from error
    if held_out:
        raise ConfigError(
            f"the source has tasks that are held out and must not be trained on: "
            f"{', '.join(held_out)}; make it again without them"
        )


def _full_name(row: Mapping[str, Any]) -> str:
    name, suite = row.get("env_name") or "", row.get("suite") or ""
    return name if "/" in name or not (name and suite) else f"{suite}/{name}"


def _chains(operators: Sequence[str]) -> list[list[str]]:
    known = [*OPERATORS, MISMATCH]
    chains = [text.split(_JOIN) for text in operators]
    unknown = sorted({name for chain in chains for name in chain} - set(known))
    if unknown or not chains:
        raise ConfigError(
            f"no operator {', '.join(unknown) or 'given'}; choose from: {', '.join(known)}, "
            "or several joined by +"
        )
    return chains


def _sentences(source: EpisodeSource, chains: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """For each task, the sentences of tasks of other kinds; what is alike may be half true."""
    if not any(MISMATCH in chain for chain in chains):
        return {}
    told: dict[str, dict[str, str]] = {}
    for row in source.rows:
        told.setdefault(_name(row), {}).update({s: _asked(row, s) for s in row["tasks"][:1]})
    others = {name: _sentences_of_others(name, told) for name in told}
    if not any(others.values()):
        raise ConfigError(f"{source.path}: one kind of task only; {MISMATCH} needs another")
    return others


def _sentences_of_others(name: str, told: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Sentences of tasks that are not like this one, and that ask for nothing these ask for."""
    mine = set(told[name].values())
    alike = {
        other for other in told
        if _same_thing(_kind(name), _kind(other)) or not mine.isdisjoint(told[other].values())
    }  # fmt: skip
    asked = {what for other in alike for what in told[other].values()}
    return sorted({
        sentence for other in told if other not in alike
        for sentence, what in told[other].items() if what not in asked
    })  # fmt: skip


def _name(row: Mapping[str, Any]) -> str:
    """What the task is called, or its sentence where the episode names none."""
    name = (row.get("env_name") or "").rpartition("/")[2]
    return name or row["tasks"][0].strip().lower()


def _asked(row: Mapping[str, Any], sentence: str) -> str:
    """What a sentence asks for; in recordings of others a colour may be the task."""
    return without_look(sentence) if row.get("env_name") else sentence.strip().lower()


def _same_thing(kind: str, other: str) -> bool:
    """Whether doing a task of one kind may do one of the other."""
    return kind == other or any({kind, other} <= group for group in _ALIKE)


def _kind(name: str) -> str:
    """The thing that is handled, as far as the name of the task says it: drawer-open, drawer."""
    # A name has no spaces: what has some is a sentence, and stands for itself.
    if " " in name:
        return name
    words = name.split("-")
    return "button" if "button" in words else words[0]


def _made(
    config: AugmentConfig,
    chains: Sequence[Sequence[str]],
    source: EpisodeSource,
    others: Mapping[str, Sequence[str]],
    tally: Tally,
) -> Iterator[Episode]:
    """Yield what is made of each episode; equal settings make equal episodes."""
    with progress_bar("augmenting", total=len(source.rows)) as advance:
        for number, (row, episode) in enumerate(zip(source.rows, source.read(), strict=True)):
            if config.originals:
                tally.made["as recorded"] += 1
                yield _with_order_labels(episode)
            for place in range(len(chains) * config.copies):
                rng = np.random.default_rng([config.seed, number, place])
                chain = chains[place % len(chains)]
                made = _apply(chain, episode, others.get(_name(row), ()), rng)
                if isinstance(made, Episode) and config.facts_only and not _has_facts(made):
                    made = "no facts left"
                if isinstance(made, str):
                    tally.left_out[made] += 1
                    continue
                tally.made[_JOIN.join(chain)] += 1
                # One dataset has one width of actions, and most results have none.
                yield _with_order_labels(replace(made, actions=None))
            advance(1)


def _apply(
    chain: Sequence[str], episode: Episode, others: Sequence[str], rng: np.random.Generator
) -> Episode | str:
    """Return the result of the operators one after another, or why there is none."""
    made: Episode | None = episode
    for name in chain:
        if made is None or made.n_frames < MIN_FRAMES:
            return f"shorter than {MIN_FRAMES} frames before {name}"
        if name != MISMATCH:
            # Each step starts from an attempt that is not complete yet, as the protocol has it.
            made = without_complete_head(OPERATORS[name](made, rng))
        elif _WRONG_OBJECT in made.policy.split(_JOIN):
            return "does another task without a mistake (wrong_object)"
        elif others:
            made = mismatched_instruction(made, str(rng.choice(others)))
        else:
            return "no sentence of another task"
    return "nothing but complete frames" if made is None else made


def _has_facts(episode: Episode) -> bool:
    return episode.truth is not None and len(episode.truth.facts) > 0


def _with_order_labels(episode: Episode) -> Episode:
    """Keep the proxy for progress beside an episode whose truth nobody knows."""
    if episode.truth is not None:
        return episode
    labels = [round(float(p), 3) for p in order_labels(episode)]
    return replace(episode, extra={**episode.extra, ORDER_PROGRESS: labels})


def _write(
    folder: Path, config: AugmentConfig, source: EpisodeSource, episodes: Iterator[Episode]
) -> None:
    first = next(episodes, None)
    if first is None:
        raise DataError(f"{source.path}: no episode could be made of it")
    with EpisodeWriter(folder, fps=first.fps) as writer:
        writer.add(first)
        for episode in episodes:
            writer.add(episode)


def _origin(config: AugmentConfig, source: EpisodeSource) -> dict[str, Any]:
    """What the manifest says about where this comes from."""
    described = next(
        (p for n in (MANIFEST_PATH, layout.INFO_PATH) if (p := source.path / n).is_file()), None
    )
    return {
        "sole": __version__,
        "command": sys.argv,
        "settings": config.model_dump(mode="json", exclude={"out"}),
        "source": str(source.path),
        "source_kind": source.kind,
        "source_episodes": len(source.rows),
        "source_sha256": described and hashlib.sha256(described.read_bytes()).hexdigest(),
    }


@contextmanager
def _new_folder(final: Path) -> Iterator[Path]:
    """Yield a folder beside ``final`` that gets its name at the end; on any error it goes away."""
    if final.exists():
        raise ConfigError(f"--out {final}: is already there; choose another name or remove it")
    parent = final.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f"--out {final}: no folder {parent} that can be written to")
    temporary = parent / f".{final.name}.part-{os.getpid()}"
    try:
        temporary.mkdir()
        yield temporary
        os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
