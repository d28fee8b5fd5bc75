"""Under which sentence an episode is shown: its own, or now and then that of another task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sole.sims.worlds_words import without_look
from sole.train.episodes import TrainingEpisode

#: A policy that does what the sentence of the other object would ask for.
_WRONG_OBJECT = "wrong_object"


class Instructions:
    """Draws the sentences of episodes.

    Args:
        episodes: Whose sentences there are.
        mismatch_share: How often another one is drawn.
    """

    def __init__(self, episodes: Sequence[TrainingEpisode], mismatch_share: float):
        self._episodes, self._mismatch_share = episodes, mismatch_share
        self._by_object: dict[str, list[TrainingEpisode]] = {}
        self._told: dict[str, set[str]] = {}
        for episode in episodes:
            self._by_object.setdefault(_thing(episode), []).append(episode)
            self._told.setdefault(episode.kind, set()).add(without_look(episode.task))

    def draw(self, episode: TrainingEpisode, rng: np.random.Generator) -> tuple[str, bool]:
        """The sentence, and whether it is that of another task."""
        if rng.random() >= self._mismatch_share:
            return episode.task, False
        alike = self._by_object[_thing(episode)] if rng.random() < 0.5 else self._episodes
        other = alike[int(rng.integers(len(alike)))]
        return (other.task, True) if self._is_wrong(other, episode) else (episode.task, False)

    def _is_wrong(self, other: TrainingEpisode, episode: TrainingEpisode) -> bool:
        """Whether its sentence asks for something that is not done.

        Tasks that are alike share sentences, and who took the wrong object did another task.
        """
        if other.kind == episode.kind or _WRONG_OBJECT in episode.policy.split("+"):
            return False
        return without_look(other.task) not in self._told[episode.kind]


def _thing(episode: TrainingEpisode) -> str:
    """What is handled, in one word: "drawer handle" is a handle."""
    return str(episode.facts[0]["object_name"]).rsplit(" ", 1)[-1]
