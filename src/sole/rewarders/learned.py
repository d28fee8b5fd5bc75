"""Small reward models that a user trains on own videos: ``sole fit rewind`` and ``classifier``.

``sole_rewind``: after ReWiND (Zhang et al. 2025, arXiv 2505.10911), progress of each frame from the
frames so far. ``sole_classifier``: after the success classifier of HIL-SERL (Luo et al. 2024, arXiv
2410.21845), success of each frame by itself; progress is 100 times that probability. What departs
from the papers stands in :mod:`sole.rewarders.learned_net` and :mod:`sole.train.fit_data`.

No reasoning is written. The first frame is 0 percent, as for every reward model.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ModelError
from sole.protocol.chain import fill_between, scored_frames
from sole.rewarders.base import CostCounters, check_sessions

if TYPE_CHECKING:  # torch takes seconds that `sole models list` does not need
    from torch import Tensor

    from sole.rewarders.learned_net import LearnedNetwork, RewindState

REWIND_TYPE = "sole_rewind"
CLASSIFIER_TYPE = "sole_classifier"
LEARNED_TYPES = (REWIND_TYPE, CLASSIFIER_TYPE)


class LearnedRewardModel:
    """A trained head on a frozen eye, as a reward model.

    Args:
        network: Eye, head and words.
        name: Says which weights these are.
        every: Score every this many frames (and the last one); the rest is interpolated. The
            others are not looked at, and a rewind head then sees a faster film.
    """

    def __init__(self, network: LearnedNetwork, name: str, every: int = 1):
        self.network = network
        self.every = every
        self.model_id = f"{name}/e{every}"
        self.views: tuple[str, ...] = network.config.views
        self.costs = CostCounters()
        self._says_success = network.config.model_type == CLASSIFIER_TYPE

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode.

        Raises:
            ValueError: If an episode lacks a view.
        """
        began = time.perf_counter()
        scores = [
            EpisodeScore(self._steps(episode), self.model_id, episode.task) for episode in episodes
        ]
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return scores

    def start(self, task: str) -> LearnedSession:
        """Open a session that is fed frame by frame; every frame is scored."""
        return LearnedSession(self, task)

    def step_sessions(
        self, sessions: Sequence[LearnedSession], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        """Judge the next moment of several sessions; their pictures are looked at in one batch.

        Raises:
            ValueError: If a session is named twice or is another model's, or a picture is wrong;
                then no session has moved.
        """
        check_sessions(self, sessions)
        if not sessions:
            return []
        features = self.network.see(views)
        self.costs.frames += len(sessions)
        return [s.take(row[None]) for s, row in zip(sessions, features, strict=True)]

    def ask(
        self, features: Tensor, task: str, state: RewindState | None, *, at_start: bool
    ) -> tuple[list[StepScore], RewindState | None]:
        """Scores of frames in order; the very first of an episode is 0 percent, unasked."""
        values, after = self.network.ask(features, task, state)
        steps = [self._step(float(value)) for value in values]
        if at_start:
            steps[0] = StepScore(0.0, 0.0 if self._says_success else None)
        self.costs.model_calls += len(steps) - int(at_start)
        return steps, after

    def _steps(self, episode: Episode) -> tuple[StepScore, ...]:
        indices = scored_frames(episode.n_frames, self.every)
        moments = [{n: frames[t] for n, frames in episode.views.items()} for t in indices]
        steps, _ = self.ask(self.network.see(moments), episode.task, None, at_start=True)
        judged = {int(t): step for t, step in zip(indices, steps, strict=True)}
        return fill_between(judged, episode.n_frames)

    def _step(self, value: float) -> StepScore:
        if not 0.0 <= value <= 1.0:  # nor NaN; no mistake of a picture or a session
            raise ModelError(
                f"{self.model_id}: said {value} where 0 to 1 was expected; its weights are damaged"
            )
        return StepScore(100.0 * value, value if self._says_success else None)


class LearnedSession:
    """One running episode.

    Attributes:
        model: Who judges it.
    """

    def __init__(self, model: LearnedRewardModel, task: str):
        self.model = model
        self._task = task
        self._state: RewindState | None = None
        self._begun = False

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next moment; each view is uint8 RGB ``(H, W, 3)``."""
        return self.model.step_sessions([self], [views])[0]

    def take(self, features: Tensor) -> StepScore:
        """Judge one moment that has been looked at, ``(1, F)``."""
        steps, self._state = self.model.ask(
            features, self._task, self._state, at_start=not self._begun
        )
        self._begun = True
        return steps[0]


def load_learned(
    folder: Path, *, device: str = "cpu", every: int = 1, **_settings: object
) -> LearnedRewardModel:
    """Make the reward model of a folder that ``sole fit`` wrote.

    Args:
        folder: With config.json, model.safetensors and vocabulary.json.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``, which is the CPU: the head is too small
            for anything else to be quicker.
        every: Score every this many frames.
        _settings: Of models that reason or chain; they mean nothing here.

    Raises:
        ModelError: If a file is missing or damaged.
    """
    # Imported only now: torch takes seconds.
    from safetensors import SafetensorError

    from sole.rewarders.learned_net import read_network

    try:
        network = read_network(folder, "cpu" if device == "auto" else device)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:10]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"model {folder}: cannot be loaded ({reason}); expected a folder that `sole fit` wrote"
        ) from error
    kind = network.config.model_type.removeprefix("sole_")
    return LearnedRewardModel(network, f"{kind}-{digest}", every)
