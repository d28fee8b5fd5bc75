"""GVL: the frames in a random order, and a percentage for each of them in one reply.

Source: Ma et al. 2024 (arXiv 2411.04549) and OpenGVL (arXiv 2509.17321). The first picture is shown
as 0 percent; the others follow in a random order, because a model that sees the order says a rising
line whatever happens. One reply describes each picture and gives its percentage; undoing the
permutation gives the progress.

- ``gvl``, as published: one call for a whole episode. What it says about a frame depends on later
  frames, so there are no sessions. More than ``MAX_FRAMES`` scored frames are thinned evenly, the
  rest is interpolated.
- ``gvl-causal``: each scored frame t is asked about anew with the frames 0..t only, shuffled, and
  only its own percentage is kept: usable in a running robot, one call a frame. A longer past is
  thinned evenly to ``MAX_FRAMES`` pictures, the first and the current one among them.

The permutation follows the pictures, the task and the seed, not the batch. A picture that the
reply leaves out, names twice with different numbers, or gives more than 100 percent, is an error
of its frame. The wording is ours.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.models.backend import Backend, Prompt, ask_user
from sole.protocol.chain import fill_between, scored_frames
from sole.protocol.prompt import clean_task
from sole.rewarders.asking import (
    START,
    AskingModel,
    AskingSession,
    Inquiry,
    Needs,
    Query,
    Said,
    external_view,
)
from sole.rewarders.reading import spread_frames

OPENING = (
    "You judge how far a robot has come with a task. The task is: {task}.\n"
    "This is the scene at the very beginning, where 0% of the task is complete:"
)
MIDDLE = (
    "Other moments of the same attempt follow, {n} in all, in a random order. The order says "
    "nothing about time, and the attempt may have failed."
)
QUESTION = (
    "Judge each picture by itself. Describe it, then say which percentage of the task is complete "
    "in it, from 0% to 100%. Write one line for each picture, in the order shown, like this:\n"
    "Frame 1: <description> Completion: <number>%"
)
MAX_FRAMES = 30
TOKENS_A_FRAME = 64
_LINE = re.compile(r"Frame\s*(\d+)\s*[:.)-](.*?)(?=Frame\s*\d+\s*[:.)-]|\Z)", re.S | re.I)
_PERCENT = re.compile(r"Completion\s*:?\s*\**\s*(-?\d+(?:\.\d+)?)\s*%?", re.I)


class CausalGvl:
    """Every frame among those before it, shuffled, see the module.

    Args:
        seed: Of the permutations.
        max_frames: Pictures in one question, at least 2.
        name: How it is called.
    """

    needs = Needs.WORDS

    def __init__(self, seed: int = 0, max_frames: int = MAX_FRAMES, name: str = "gvl-causal"):
        self.name = name
        self._seed, self._max_frames = seed, max_frames
        self.max_new_tokens = TOKENS_A_FRAME * max_frames

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Show the first frame and all others in a random order; keep what is said of the last."""
        shown = [frames[i] for i in spread_frames(len(frames), self._max_frames)]
        order = shuffled(task, shown, self._seed)
        place = int(np.flatnonzero(order == len(shown) - 1)[0]) + 1

        def read(said: Sequence[Said], before: float) -> StepScore:
            return read_frames(said[0].text, len(order))[place - 1]

        return Inquiry((Query(write_question(task, shown, order)),), read)


class ShuffledGvl(AskingModel):
    """A whole episode in one call, see the module.

    Args:
        backend: The model.
        every: Score every this many frames, and the last one.
        seed: Of the permutation.
        max_frames: Pictures in one question, at least 2.
    """

    needs_whole_episode = True

    def __init__(
        self, backend: Backend, *, every: int = 1, seed: int = 0, max_frames: int = MAX_FRAMES
    ):
        super().__init__(backend, CausalGvl(seed, max_frames, "gvl"), every=every)
        self._seed, self._max_frames = seed, max_frames

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode; one call each."""
        began = time.perf_counter()
        films = [external_view(episode.views) for episode in episodes]
        indices = [self._shown(episode.n_frames) for episode in episodes]
        pairs = list(zip(episodes, films, indices, strict=True))
        orders = [shuffled(e.task, [film[t] for t in kept], self._seed) for e, film, kept in pairs]
        asked = [i for i, kept in enumerate(indices) if len(kept) > 1]
        queries = []
        for i in asked:
            episode, film, kept = pairs[i]
            prompt = write_question(episode.task, [film[t] for t in kept], orders[i])
            queries.append(Query(prompt))
        said = dict(zip(asked, self._say(queries), strict=True))
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        scores = []
        for i, (episode, _, kept) in enumerate(pairs):
            steps = self._steps(kept, orders[i], said[i]) if i in said else {0: START}
            filled = fill_between(steps, episode.n_frames)
            scores.append(EpisodeScore(filled, self.model_id, episode.task))
        self.costs.seconds += time.perf_counter() - began
        return scores

    def start(self, task: str) -> AskingSession:
        """Refuse.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{self.model_id}: looks at the whole episode, so it cannot judge a running one; use "
            "score(), or gvl-causal"
        )

    def _shown(self, n_frames: int) -> np.ndarray:
        kept = scored_frames(n_frames, self.every)
        return kept[spread_frames(len(kept), self._max_frames)]

    def _steps(self, kept: np.ndarray, order: np.ndarray, said: Said) -> dict[int, StepScore]:
        found = read_frames(said.text, len(order))
        if said.error:
            found = [StepScore(None, error=said.error)] * len(order)
        steps = {0: START} | {int(kept[k]): step for k, step in zip(order, found, strict=True)}
        self.costs.parse_failures += sum(step.error is not None for step in steps.values())
        return dict(sorted(steps.items()))


def shuffled(task: str, frames: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """A random order of the frames 1, 2 ..; the same for the same pictures, task and seed."""
    digest = hashlib.blake2b(f"{seed}\n{task}".encode(), digest_size=8)
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).tobytes())
    generator = np.random.default_rng(int.from_bytes(digest.digest(), "big"))
    return 1 + generator.permutation(len(frames) - 1)


def write_question(task: str, frames: Sequence[np.ndarray], order: np.ndarray) -> Prompt:
    """The first picture as 0 percent, then the others in ``order``."""
    parts: list[str | np.ndarray] = [OPENING.format(task=clean_task(task)), frames[0]]
    parts.append(MIDDLE.format(n=len(order)))
    for place, k in enumerate(order, start=1):
        parts += [f"Frame {place}:", frames[k]]
    return ask_user([*parts, QUESTION])


def read_frames(text: str, n_frames: int) -> list[StepScore]:
    r"""What a reply says about each of the shown frames, in the order shown.

    Example:
        >>> reply = "Frame 1: A hand. Completion: 30%\nFrame 2: It is open. Completion: 90%"
        >>> [step.progress for step in read_frames(reply, 3)]
        [30.0, 90.0, None]
        >>> read_frames(reply, 2)[1].reasoning
        'It is open.'
    """
    said: dict[int, list[tuple[float, str]]] = {}
    for number, line in _LINE.findall(text):
        found = _PERCENT.findall(line)
        if found:
            words = _PERCENT.split(line)[0].strip()
            said.setdefault(int(number), []).append((float(found[-1]), words))
    return [_read_frame(said.get(place, []), place) for place in range(1, n_frames + 1)]


def _read_frame(said: list[tuple[float, str]], place: int) -> StepScore:
    values = {value for value, _ in said}
    if len(values) != 1:
        many = "several percentages" if values else "no percentage"
        return StepScore(None, error=f"the reply has {many} for frame {place}")
    value = values.pop()
    if not 0.0 <= value <= 100.0:
        return StepScore(None, error=f"the reply says {value:g}% for frame {place}")
    return StepScore(value, reasoning=said[0][1])
