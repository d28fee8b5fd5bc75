"""VLM-RM: how near a picture is to a sentence in CLIP's space, seen along the way from a baseline.

Source: Rocamonde et al. 2023 (arXiv 2310.12921). With x the normalised embedding of the picture, g
that of the goal sentence, b that of a baseline sentence, d = g - b and the projection P on the line
along d, goal-baseline regularisation is

    r(x) = 1 - 0.5 |(alpha P + (1 - alpha) I) (x - g)|^2

so alpha 0 is the cosine of picture and goal, and alpha 1 counts only the place on the line from
baseline to goal. Here alpha is 0.5, which was not tuned.

r lies between about 0 and 1 and says nothing about the start. The last step is ours: the progress
is ``100 (r_t - r_0) / (1 - r_0)``, within [-100, 100], which puts the first frame at 0 and the
goal itself at 100. It needs no later frame, so running episodes can be judged.

The sentences are ours (``GOAL``, ``BASELINE``). CLIP tells few states of a scene apart: its authors
needed the largest one, and on manipulation it is a control rather than a judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.episode import EXTERNAL, Episode, EpisodeScore, StepScore
from sole.errors import ConfigError
from sole.models.base import check_moment
from sole.protocol.chain import fill_between, scored_frames
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import external_view
from sole.rewarders.base import CostCounters

NAME = "vlmrm"
GOAL = "a robot arm that has finished this task: {task}"
BASELINE = "a robot arm and some objects on a table"
ALPHA = 0.5
_START = StepScore(progress=0.0)

EmbedPictures = Callable[[Sequence[np.ndarray]], np.ndarray]
EmbedTexts = Callable[[Sequence[str]], np.ndarray]


def goal_baseline_reward(
    pictures: np.ndarray, goal: np.ndarray, baseline: np.ndarray, alpha: float
) -> np.ndarray:
    """Goal-baseline regularised reward of picture embeddings.

    Args:
        pictures: ``(N, D)``, each of length 1.
        goal: ``(D,)`` of length 1.
        baseline: ``(D,)`` of length 1, another one than the goal.
        alpha: 0 to 1.

    Returns:
        float64 ``(N,)``, at most 1.

    Example:
        >>> goal, baseline = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        >>> pictures = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
        >>> goal_baseline_reward(pictures, goal, baseline, 0.0).round(6).tolist()
        [1.0, 0.0, 0.6]
        >>> goal_baseline_reward(pictures, goal, baseline, 1.0).round(6).tolist()
        [1.0, 0.0, 0.96]
    """
    line = (goal - baseline).astype(np.float64)
    squared = float(line @ line)
    if squared == 0.0:  # The goal says nothing beyond the baseline, so there is no line.
        line, squared = np.zeros_like(line), 1.0
    apart = pictures.astype(np.float64) - goal
    along = np.outer(apart @ line / squared, line)
    mixed = alpha * along + (1.0 - alpha) * apart
    return 1.0 - 0.5 * (mixed**2).sum(axis=1)


class VlmRmModel:
    """CLIP with a goal and a baseline as a reward model.

    Args:
        name: Of the CLIP model and its version.
        embed_pictures: uint8 RGB pictures to embeddings ``(N, D)`` of length 1.
        embed_texts: Sentences to embeddings ``(N, D)`` of length 1.
        alpha: Strength of the regularisation, 0 to 1.
        every: Look at every this many frames, and the last one; the rest is interpolated.

    Raises:
        ConfigError: If ``alpha`` is out of range.
    """

    views: tuple[str, ...] = (EXTERNAL,)

    def __init__(
        self,
        name: str,
        embed_pictures: EmbedPictures,
        embed_texts: EmbedTexts,
        *,
        alpha: float = ALPHA,
        every: int = 1,
    ):
        if not 0.0 <= alpha <= 1.0:
            raise ConfigError(f"vlmrm: expected alpha from 0 to 1, got {alpha}")
        self.model_id = f"{NAME}:{name}/a{alpha:g}/e{every}"
        self.alpha, self.every = alpha, every
        self.costs = CostCounters()
        self._pictures, self._texts = embed_pictures, embed_texts

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode.

        Raises:
            ValueError: If an episode lacks the external view.
        """
        began = time.perf_counter()
        films = [external_view(episode.views) for episode in episodes]
        scores = []
        for episode, film in zip(episodes, films, strict=True):
            kept = scored_frames(episode.n_frames, self.every)
            rewards = self.rewards(episode.task, [film[t] for t in kept])
            steps = {int(t): _step(r, rewards[0]) for t, r in zip(kept, rewards, strict=True)}
            steps[0] = _START
            filled = fill_between(steps, episode.n_frames)
            scores.append(EpisodeScore(filled, self.model_id, episode.task))
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return scores

    def start(self, task: str) -> VlmRmSession:
        """Open a session that is fed frame by frame."""
        return VlmRmSession(self, task)

    def rewards(self, task: str, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """The published r of each picture, float64 ``(N,)``."""
        goal, baseline = self._texts([GOAL.replace("{task}", clean_task(task)), BASELINE])
        self.costs.model_calls += len(pictures)
        return goal_baseline_reward(self._pictures(pictures), goal, baseline, self.alpha)


class VlmRmSession:
    """One running episode: the first frame is 0 percent.

    Attributes:
        model: Who judges it.
    """

    def __init__(self, model: VlmRmModel, task: str):
        self.model = model
        self._task = task
        self._at_start: float | None = None

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next moment; each view is uint8 RGB ``(H, W, 3)``."""
        check_moment(views)
        reward = float(self.model.rewards(self._task, [external_view(views)])[0])
        self.model.costs.frames += 1
        if self._at_start is None:
            self._at_start = reward
            return _START
        return _step(reward, self._at_start)


def _step(reward: float, at_start: float) -> StepScore:
    room = max(1.0 - at_start, 1e-6)  # a first frame that is the goal leaves none
    return StepScore(float(np.clip(100.0 * (reward - at_start) / room, -100.0, 100.0)))


def load_vlmrm(
    name: str, *, device: str = "auto", every: int = 1, alpha: float = ALPHA
) -> VlmRmModel:
    """Make the reward model of a CLIP of transformers.

    Args:
        name: ``ORGANISATION/MODEL`` on Hugging Face with ``@REVISION`` or not, or a folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        every: Look at every this many frames.
        alpha: Strength of the regularisation.

    Raises:
        ConfigError: If there is no such model, or it is no CLIP.
        ModelError: If it cannot be downloaded or loaded.
    """
    # Imported only now: torch and transformers take seconds.
    from sole.models.hf.clip import ClipEmbedder
    from sole.models.hf.names import parse_name

    parts = parse_name(name)
    if parts.preset or not (parts.is_folder or parts.is_hub_name):
        raise ConfigError(
            f"model {NAME}:{name}: expected a CLIP: a folder, or a name on Hugging Face such as "
            "openai/clip-vit-base-patch32"
        )
    clip: Any = ClipEmbedder(parts.where, parts.revision, device)
    where = Path(parts.where).resolve().name if parts.is_folder else parts.where
    label = f"{where}@{clip.version}"
    return VlmRmModel(label, clip.pictures, clip.texts, alpha=alpha, every=every)
