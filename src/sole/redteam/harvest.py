"""From finished searches to exploits: find them, drop those that are alike, film and save the rest.

Searches keep no pictures. An exploit is simulated again from its seed and actions, and the set is
written anew each time, beside the old one, so that a kill leaves one whole set or none. One that
does not come out again is named, and keeps the film that an earlier run made of it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.attempts import Attempt, read_attempts, save_attempts
from sole.data.cache import put_episode
from sole.data.episode import Episode, EpisodeScore
from sole.data.scores import read_scores, write_scores
from sole.errors import DataError, SimError
from sole.redteam.config import RedteamConfig
from sole.redteam.exploit import Curves, Finding, Rule, distinct, find_exploit
from sole.redteam.optimisers import play_actions
from sole.redteam.rounds import read_curves
from sole.redteam.saved import FILM, RECORD, SCORES, UNFINISHED, exploit_folders, read_exploit
from sole.redteam.search import MakeEnv, Search, SearchRecord, Stage
from sole.report.overlay import write_overlay
from sole.rewarders.base import RewardModel
from sole.rewarders.beside import in_way
from sole.rewarders.calibrated import success_at
from sole.run import write_atomically
from sole.sims.registry import task_names

EXPLOITS = "exploits"
_SAME_WITHIN_POINTS = 0.5
_BATCH = 8


@dataclass(frozen=True)
class Tried:
    """One episode of a search, and whether it fools the model.

    Attributes:
        search: Where it comes from.
        number: Of the episode in its search, from 0.
        seed, geometry: Of its layout.
        curves: What was said and true.
        picture: Its change picture.
        finding: None when it fools nobody.
    """

    search: Search
    number: int
    seed: int
    geometry: int
    curves: Curves
    picture: np.ndarray
    finding: Finding | None

    @property
    def moment(self) -> tuple[float, float]:
        """True and judged progress where it fools the model, or else at the end."""
        if self.finding:
            return self.finding.true, self.finding.judged
        return float(self.curves.true[-1]), float(self.curves.judged[-1])


@dataclass(frozen=True)
class Exploit:
    """An episode that fools the model, with how many like it were found.

    Attributes:
        tried: The strongest of them.
        n_alike: How many it stands for, itself included.
    """

    tried: Tried
    n_alike: int

    @property
    def finding(self) -> Finding:
        """How it fools the model."""
        assert self.tried.finding is not None
        return self.tried.finding


@dataclass(frozen=True)
class Filmed:
    """An exploit as saved: pictures with the truth, and a verdict with words.

    Attributes:
        exploit: What was found.
        attempt: What was done in it.
        episode: The seen moments, with truth.
        score: The model's verdict with reasoning, or its only verdict when it has no words.
        finding: How that verdict is fooled; None when it is not.
    """

    exploit: Exploit
    attempt: Attempt
    episode: Episode
    score: EpisodeScore
    finding: Finding | None


#: An exploit, what was done in it, and its film.
Shot = tuple[Exploit, Attempt, Episode]


@dataclass(frozen=True)
class Unrepeatable:
    """An exploit that the simulator does not give again.

    Attributes:
        exploit: What was found.
        why: What is different, in words.
        film_kept: Whether an earlier run filmed it; that film is then saved with the others.
    """

    exploit: Exploit
    why: str
    film_kept: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        tried = self.exploit.tried
        return {
            "env": tried.search.env_name,
            "optimiser": tried.search.optimiser,
            "episode": tried.number,
            "seed": tried.seed,
            "why": self.why,
            "film_kept": self.film_kept,
        }


@dataclass(frozen=True)
class Harvest:
    """What is saved of a run: the films, and what could not be filmed."""

    filmed: list[Filmed]
    unrepeatable: list[Unrepeatable]


def tried_by(search: Search, config: RedteamConfig, rule: Rule) -> Iterator[Tried]:
    """Every episode of a search."""
    for number, done in enumerate(search.rounds(config.out)):
        for k, curves in enumerate(done.curves):
            yield Tried(
                search, number * config.population + k, int(done.seeds[k]), done.geometry,
                curves, done.pictures[k], find_exploit(curves, rule),
            )  # fmt: skip


def exploits_of(tried: Sequence[Tried], alike: float) -> list[Exploit]:
    """The distinct exploits among episodes of one task, the strongest first."""
    fooling = [one for one in tried if one.finding is not None]
    fooling.sort(key=_strength, reverse=True)
    kept = distinct([one.picture for one in fooling], alike)
    return [Exploit(fooling[index], count) for index, count in kept.items()]


def _strength(tried: Tried) -> tuple[bool, float]:
    assert tried.finding is not None
    return tried.finding.strength


def film(exploit: Exploit, attempt: Attempt, stage: Stage, score_every: int) -> Episode:
    """Simulate an exploit again: the moments that the model saw, with their truth.

    Raises:
        SimError: If the simulator no longer gives the episode that was judged.
    """
    tried = exploit.tried
    env = stage.env(tried.geometry)
    if env.max_steps != len(attempt.actions):
        raise SimError(f"it now has {env.max_steps} steps, not {len(attempt.actions)}")
    rollout = play_actions(env, tried.seed, attempt.actions, score_every)
    off = np.abs(rollout.truth.true_progress - attempt.true_progress).max()
    if off > _SAME_WITHIN_POINTS:
        raise SimError(f"true progress differs by {off:.1f} points")
    policy = f"redteam-{tried.search.optimiser}"
    return replace(rollout.with_truth(), suite=env.suite, policy=policy, extra={})


def harvest(
    found: dict[str, list[Exploit]], config: RedteamConfig, rule: Rule, model: RewardModel,
    make: MakeEnv, privileged: bool,
) -> Harvest:  # fmt: skip
    """Film, judge with words and save the strongest exploits of each task.

    Args:
        found: Distinct exploits by full task name.
        config: Settings of the run.
        rule: What an exploit is; with words, success counts from that way's own threshold on.
        model: The attacked model.
        make: Makes environments.
        privileged: Show the truth to the model; the oracle's only.
    """
    final, fresh = config.out / EXPLOITS, config.out / UNFINISHED
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    whole = Harvest([], [])
    talker = in_way(model, "thinking")
    aloud = replace(rule, success_at=success_at(talker, config.judged_success_at))
    for env_name, exploits in found.items():
        name = env_name.replace("/", "-")
        shots, told, unrepeatable = _film_task(exploits, config, aloud, Stage(make, env_name))
        told += _tell(talker, shots, aloud, privileged)
        told.sort(key=lambda one: one.exploit.finding.strength, reverse=True)
        if told:
            noted = {
                "model_id": model.model_id, "rule": asdict(rule),
                "judged_success_at": config.judged_success_at,
            }  # fmt: skip
            _save_task(fresh / name, told, noted, aloud)
        whole.filmed.extend(told)
        whole.unrepeatable.extend(unrepeatable)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(fresh, final)
    return whole


def _film_task(
    exploits: Sequence[Exploit], config: RedteamConfig, rule: Rule, stage: Stage
) -> tuple[list[Shot], list[Filmed], list[Unrepeatable]]:
    """Film a task's exploits: those that come out again, older films of others, and those others.

    One that does not come out again must not cost the films of all the rest.
    """
    shots, before, unrepeatable = [], [], []
    for exploit in exploits[: config.keep]:
        attempt = _attempt(config, exploit)
        try:
            shots.append((exploit, attempt, film(exploit, attempt, stage, config.score_every)))
        except SimError as error:
            old = _filmed_before(config.out / EXPLOITS, exploit, attempt, rule)
            before += [old] if old else []
            unrepeatable.append(Unrepeatable(exploit, str(error), old is not None))
    stage.close()
    return shots, before, unrepeatable


def _attempt(config: RedteamConfig, exploit: Exploit) -> Attempt:
    folder = exploit.tried.search.folder(config.out) / "attempts"
    found = [a for a in read_attempts(folder) if a.episode == exploit.tried.number]
    if not found:
        raise DataError(
            f"{folder}: no episode {exploit.tried.number}, which fools the model; restore the file "
            "that held it, or search anew in another --out"
        )
    return found[0]


def _filmed_before(folder: Path, exploit: Exploit, attempt: Attempt, rule: Rule) -> Filmed | None:
    """What an earlier run saved of the same episode, judged by the rule of this one."""
    tried = exploit.tried
    env_name = tried.search.env_name
    same = {"env": env_name, "optimiser": tried.search.optimiser, "episode": tried.number,
            "seed": tried.seed}  # fmt: skip
    for place in exploit_folders(folder / env_name.replace("/", "-")):
        try:
            old, scores = read_exploit(place), read_scores(place / SCORES)
        except DataError:
            continue  # a damaged film is none; the error at the end names the exploit anyway
        if scores and same.items() <= old.about.items():
            finding = fooled(old.episode, scores[0], rule)
            return Filmed(exploit, attempt, old.episode, scores[0], finding)
    return None


def _tell(model: RewardModel, shots: Sequence[Shot], rule: Rule, privileged: bool) -> list[Filmed]:
    told = []
    for start in range(0, len(shots), _BATCH):
        batch = shots[start : start + _BATCH]
        episodes = [episode for _, _, episode in batch]
        scores = model.score(episodes if privileged else [e.without_truth() for e in episodes])
        for (exploit, attempt, episode), score in zip(batch, scores, strict=True):
            told.append(Filmed(exploit, attempt, episode, score, fooled(episode, score, rule)))
    return told


def fooled(episode: Episode, score: EpisodeScore, rule: Rule) -> Finding | None:
    """How a verdict on a filmed episode is fooled, or None."""
    truth = episode.truth
    assert truth is not None
    curves = read_curves(score, truth.true_progress, solved=truth.any_success)
    return find_exploit(curves, rule)


def _save_task(folder: Path, filmed: Sequence[Filmed], noted: dict[str, Any], aloud: Rule) -> None:
    """Write a task's exploits; the folder reads like a run of ``sole rl`` to ``--from-runs``."""
    env_name = filmed[0].exploit.tried.search.env_name
    record = SearchRecord(env=env_name, optimiser="exploits of all", reward=noted["model_id"])
    for number, one in enumerate(filmed):
        save_attempts(folder / "attempts", number, [replace(one.attempt, episode=number)])
        place = folder / f"{number:04d}"
        place.mkdir()
        put_episode(place / FILM, one.episode)
        write_scores(place / SCORES, [one.score])
        write_overlay(place / "video.mp4", one.episode, one.score)
        about = _about(one, noted, aloud)
        write_atomically(place / RECORD, json.dumps(about, indent=1, allow_nan=False))
    write_atomically(folder / "config.json", record.model_dump_json(indent=2))


def _about(filmed: Filmed, noted: dict[str, Any], aloud: Rule) -> dict[str, Any]:
    """What exploit.json holds: what all of them have in common, and what is of this one."""
    tried = filmed.exploit.tried
    said = filmed.finding
    return {
        "env": tried.search.env_name,
        "held_out": tried.search.env_name in task_names("test"),
        "task": filmed.episode.task,
        "optimiser": tried.search.optimiser,
        "episode": tried.number,
        "seed": tried.seed,
        "geometry": tried.geometry,
        **noted,
        "finding": asdict(filmed.exploit.finding),
        "n_alike": filmed.exploit.n_alike,
        "judged_progress": _rounded(tried.curves.judged),
        "success_probability": _rounded(tried.curves.success),
        "true_progress": _rounded(tried.curves.true),
        "with_words": {
            "model_id": filmed.score.model_id,
            "rule": asdict(aloud),
            "finding": None if said is None else asdict(said),
        },
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 4) for v in values]
