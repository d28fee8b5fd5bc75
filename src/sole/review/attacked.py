"""What ``sole eval robustness --out`` left on disk, and the failures it turned as clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from sole.data.episode import Episode, EpisodeScore
from sole.errors import DataError, SoleError
from sole.evals.attacks import attack
from sole.evals.labelled import judge, labelled_episodes, labelled_judge
from sole.evals.refilm import SIM_ATTACKS, Refilm
from sole.evals.robustness import RobustnessConfig
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated

_COLUMNS = (
    "attack", "strength", "env_name", "policy", "seed", "true_success_ever", "judged_success",
    "judged_top5", "judged_progress",
)  # fmt: skip
_Key = tuple[str, str, int]


@dataclass(frozen=True)
class Turned:
    """A truly failed episode that was judged failed, and under an attack successful.

    Attributes:
        attack, strength: What was done to its pictures.
        place: Its number among the episodes of the evaluation.
        key: Environment, policy and seed; those of a data set need not be its own alone.
        before: Judged success score undisturbed, percent.
        after: The same disturbed.
    """

    attack: str
    strength: float
    place: int
    key: _Key
    before: float
    after: float

    @property
    def words(self) -> str:
        """One line about it, as measured."""
        env_name, policy, seed = self.key
        return (
            f"{self.attack} {self.strength:g}: {env_name}, {policy}, seed {seed}: truly failed, "
            f"judged success score {self.before:.0f}% as it is, {self.after:.0f}% disturbed"
        )


@dataclass(frozen=True)
class Attacked:
    """A whole measurement: the JSON, and the failures that were turned, the most certain first."""

    path: Path
    whole: Mapping[str, Any]
    turned: tuple[Turned, ...]


def read_attacked(path: Path) -> Attacked:
    """Read a result and the table beside it.

    Raises:
        DataError: If either is missing, damaged, or not what ``sole eval robustness`` writes.
    """
    table = path.with_suffix(".episodes.parquet")
    try:
        whole = json.loads(path.read_text())
        known = {"model_id", "judged_success_at", "n_failed", "undisturbed", "effects", "config"}
        if not known <= set(whole):
            raise ValueError(f"no {', '.join(sorted(known - set(whole)))}")
        turned = _turned(pq.read_table(table, columns=list(_COLUMNS)).to_pylist())
    except OSError as error:
        raise DataError(f"{path}: cannot be read, or {table.name} is missing ({error})") from error
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{path}: not what sole eval robustness --out writes ({error})") from error
    return Attacked(path, whole, tuple(turned))


def _turned(rows: Sequence[Mapping[str, Any]]) -> list[Turned]:
    """The table holds all episodes in one order, undisturbed and then under each attack."""
    takes: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        takes.setdefault((row["attack"], row["strength"]), []).append(row)
    clean = takes.pop(("none", 0.0), [])
    order = [_key(row) for row in clean]
    if not clean or any([_key(row) for row in taken] != order for taken in takes.values()):
        raise ValueError("the table does not hold the same episodes under every attack")
    found = [
        Turned(*take, place, _key(row), before["judged_top5"], row["judged_top5"])
        for take, taken in takes.items()
        for place, (before, row) in enumerate(zip(clean, taken, strict=True))
        if row["judged_success"] and not row["true_success_ever"] and not before["judged_success"]
    ]
    return sorted(found, key=lambda t: t.before - t.after)


def _key(row: Mapping[str, Any]) -> _Key:
    return row["env_name"], row["policy"], row["seed"]


def choose(turned: Sequence[Turned], n: int) -> list[Turned]:
    """The ``n`` most certain ones, of different attacks as far as there are some."""
    first: dict[str, Turned] = {}
    for one in turned:
        first.setdefault(one.attack, one)
    rest = [one for one in turned if one not in first.values()]
    return [*first.values(), *rest][:n]


def film_turned(
    result: Attacked, wanted: Sequence[Turned], cache: Path | None
) -> tuple[list[tuple[Turned, Episode, EpisodeScore]], str]:
    """The disturbed pictures of some failures, judged once more with reasoning.

    Returns:
        The clips, and why there are none (empty when there are some or none was wanted).
    """
    if not wanted:
        return [], ""
    try:
        config = _settings(result, cache)
        model = _thinking_aloud(config, str(result.whole["model_id"]))
        episodes = _disturbed(config, wanted)
        scores = judge(model, episodes, config.batch, "thinking aloud")
    except SoleError as error:
        return [], str(error)
    return list(zip(wanted, episodes, scores, strict=True)), ""


def _settings(result: Attacked, cache: Path | None) -> RobustnessConfig:
    changes = {} if cache is None else {"cache": str(cache)}
    try:
        return RobustnessConfig.model_validate({**result.whole["config"], **changes})
    except ValidationError as error:
        raise DataError(f"{result.path}: config: {error.errors()[0]['msg']}") from error


def _thinking_aloud(config: RobustnessConfig, measured: str) -> RewardModel:
    model = labelled_judge(config, config.calibration)
    if model.model_id != measured:
        raise DataError(f"measured was {measured}, the model is now {model.model_id}")
    plain = model.model if isinstance(model, Calibrated) and not config.think else model
    thinking = getattr(plain, "thinking", None)  # the controls have nothing to say
    return thinking() if thinking else plain


def _disturbed(config: RobustnessConfig, wanted: Sequence[Turned]) -> list[Episode]:
    undisturbed = _undisturbed(config, wanted)
    camera = Refilm(config.attack_seed)
    films = []
    for one, episode in zip(wanted, undisturbed, strict=True):
        take = (one.attack, one.strength)
        if one.attack in SIM_ATTACKS:
            films.append(camera.film(episode, [take])[take])
        else:
            films.append(attack(episode, *take, seed=config.attack_seed))
    camera.close()
    return films


def _undisturbed(config: RobustnessConfig, wanted: Sequence[Turned]) -> list[Episode]:
    """The episodes as they are: of a data set by their place, simulated ones by their key.

    Raises:
        DataError: If one is no longer there.
    """
    if config.data is None:
        tasks = tuple(dict.fromkeys(one.key[0] for one in wanted))
        config = config.model_copy(update={"tasks": tasks})
    episodes = labelled_episodes(config, config.split)
    by_key = {(e.env_name, e.policy, e.seed): e for e in episodes}
    found = []
    for one in wanted:
        if config.data is None:
            episode = by_key.get(one.key)
        else:
            episode = episodes[one.place] if one.place < len(episodes) else None
        if episode is None or (episode.env_name, episode.policy, episode.seed) != one.key:
            raise DataError(f"{one.words}: this episode is no longer there")
        found.append(episode)
    return found
