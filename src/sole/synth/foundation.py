"""Questions about space and time with short reasoning, from the same renders (design section 7).

Whether a drawer is open is easier to learn for a model that knows left from right, near from far
and earlier from later. Every answer follows from the simulator's facts, or from where things are in
the outside picture (``landmarks`` of our own worlds); what is near a border is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sole.data.episode import EXTERNAL, Episode, Facts
from sole.synth import borders
from sole.synth.examples import row
from sole.synth.reasoning import side_of

#: Key of ``Episode.extra``: for each frame, name -> {"picture", "depth_m", "place_m"}.
LANDMARKS = "landmarks"
_SIDE_WORDS = {"ahead": "in front of", "left": "to the left of", "right": "to the right of"}
_NEARER_M = 0.04
_PICTURE_GAP = 0.08
_DEPTH_GAP_M = 0.06
_DONE_GAP = 0.15
_STILL_M, _MOVED_M = 0.002, 0.02


@dataclass(frozen=True)
class Question:
    """One question with its answer.

    Attributes:
        kind: ``spatial`` or ``temporal``.
        frames: Whose outside pictures are shown, in this order.
        text: The question.
        reasoning: One or two sentences that lead to the answer.
        answer: One of the ``choices``, or a number with its unit.
        choices: Everything that could have been the answer.
    """

    kind: str
    frames: tuple[int, ...]
    text: str
    reasoning: str
    answer: str
    choices: tuple[str, ...]

    @property
    def with_choices(self) -> str:
        """What is asked, and what can be answered."""
        return f"{self.text} Answer with one of: {', '.join(self.choices)}."

    @property
    def reply(self) -> str:
        """What should be said."""
        return f"<think>{self.reasoning}</think><answer>{self.answer}</answer>"


@dataclass(frozen=True)
class Told:
    """What the simulator told of an episode, without its pictures.

    Attributes:
        task: The instruction.
        policy: What moved the robot.
        facts: Of each frame.
        true_progress: ``(T,)`` percent.
        true_success: ``(T,)`` bool.
        landmarks: For each frame what ``Episode.extra`` holds under :data:`LANDMARKS`, or empty.
    """

    task: str
    policy: str
    facts: Sequence[Facts]
    true_progress: np.ndarray
    true_success: np.ndarray
    landmarks: Sequence[Mapping[str, Any]] = ()


def told_of(episode: Episode) -> Told:
    """What questions about an episode follow from.

    Raises:
        ValueError: If the episode has no facts.
    """
    truth = episode.truth
    if truth is None or not truth.facts:
        raise ValueError(f"foundation: {episode.env_name} has no facts")
    return Told(
        episode.task, episode.policy, truth.facts, truth.true_progress, truth.true_success,
        episode.extra.get(LANDMARKS) or (),
    )  # fmt: skip


def draw_questions(
    told: Told, n_questions: int, rng: np.random.Generator, *, as_kept: bool = False
) -> list[Question]:
    """Draw questions of different makers; fewer where an episode has nothing clear to ask.

    ``as_kept`` draws those of data sets whose hashes are on record (presets/nano.manifest.json).
    """
    found: list[Question] = []
    makers = _MAKERS_AS_KEPT if as_kept else MAKERS
    for _ in range(3):
        for place in rng.permutation(len(makers)):
            if len(found) == n_questions:
                return found
            made = makers[int(place)](told, rng)
            if made is not None and made not in found:
                found.append(made)
    return found


def question_rows(episode: Episode, questions: list[Question]) -> Iterator[dict[str, Any]]:
    """Rows for :func:`sole.synth.examples.table_of`."""
    for one in questions:
        pictures = [episode.views[EXTERNAL][t] for t in one.frames]
        yield row(
            episode, pictures, [{"role": "user", "content": one.with_choices}], one.reply,
            kind=one.kind, frames=list(one.frames),
        )  # fmt: skip


def _where(told: Told, rng: np.random.Generator) -> Question | None:
    """On which side of the gripper is the object?"""
    t, now = _moment(told, rng)
    side = side_of(now)
    if side is None or borders.touches(now):
        return None
    name = now["object_name"]
    return Question(
        "spatial", (t,), f"Seen from the robot's base, where is the {name} from the gripper?",
        f"the gripper is {_distance_words(now)} the {name}, and the {name} lies "
        f"{_SIDE_WORDS.get(side, side)} it.",
        side, tuple(borders.SIDES),
    )  # fmt: skip


def _distance_words(now: Facts) -> str:
    word = borders.bin_of(now["gripper_to_object_m"], borders.DISTANCES_M)
    return {"at": "at", "near": "near", "some_way": "some way from", "far": "far from"}[word]


def _how_far(told: Told, rng: np.random.Generator) -> Question | None:
    """How far is it, in steps of ten centimetres?"""
    t, now = _moment(told, rng)
    cm = 100 * now["gripper_to_object_m"]
    rounded = round(cm / 10) * 10
    if abs(cm - rounded) > 3.5 or rounded > 50:
        return None
    return Question(
        "spatial", (t,),
        f"About how many centimetres is the gripper from the {now['object_name']}?",
        f"the gripper is {_distance_words(now)} the {now['object_name']}.",
        f"{rounded}", ("0", "10", "20", "30", "40", "50"),
    )  # fmt: skip


def _touching(told: Told, rng: np.random.Generator) -> Question | None:
    """Is there contact?"""
    t, now = _moment(told, rng)
    if borders.is_free(now) or (not borders.touches(now) and now["gripper_to_object_m"] < 0.08):
        return None
    touches = borders.touches(now)
    words = "in contact with" if touches else "apart from"
    return Question(
        "spatial", (t,), f"Does the gripper touch the {now['object_name']}?",
        f"the gripper is {words} the {now['object_name']}.", "yes" if touches else "no",
        ("yes", "no"),
    )  # fmt: skip


def _fraction(told: Told, rng: np.random.Generator) -> Question | None:
    """How much of the motion is done, in quarters? Asked where the words are true of the facts."""
    t, now = _moment(told, rng)
    quarter = _quarter_of(now)
    if quarter is None or bool(now["complete"]) != (quarter == 1):
        return None
    done, moved_m = abs(now["done_fraction"]), abs(now["object_moved_m"])
    if quarter == 0 and (done > borders.DONE_CHANGE or moved_m > borders.MOVED_M):
        return None
    name = "gripper" if borders.is_free(now) else now["object_name"]
    return _ask_fraction(told, t, quarter, name)


def _fraction_rounded(told: Told, rng: np.random.Generator) -> Question | None:
    """The same by rounding alone, which says of what moved a little that it has not."""
    t, now = _moment(told, rng)
    quarter = _quarter_of(now)
    return None if quarter is None else _ask_fraction(told, t, quarter, now["object_name"])


def _quarter_of(now: Facts) -> float | None:
    done = now["done_fraction"]
    quarter = round(done * 4) / 4
    return quarter if 0 <= quarter <= 1 and abs(done - quarter) <= 0.08 else None


def _ask_fraction(told: Told, t: int, quarter: float, name: str) -> Question:
    percent = f"{round(100 * quarter)}%"
    return Question(
        "spatial", (0, t),
        f"The task is: {told.task}. The first picture is the start. How much of the way to the "
        f"{told.facts[t]['goal_name']} is done in the second one?",
        f"compared with the start, the {name} "
        + ("has not moved toward its goal." if quarter == 0 else f"has come {percent} of the way."),
        percent, ("0%", "25%", "50%", "75%", "100%"),
    )  # fmt: skip


def _nearer(told: Told, rng: np.random.Generator) -> Question | None:
    """In which of two pictures is the gripper nearer to the object?"""
    (a, first), (b, second) = _moment(told, rng), _moment(told, rng)
    gap_m = second["gripper_to_object_m"] - first["gripper_to_object_m"]
    if abs(gap_m) < _NEARER_M:
        return None
    answer = "first" if gap_m > 0 else "second"
    return Question(
        "spatial", (a, b),
        f"In which picture is the gripper nearer to the {first['object_name']}?",
        f"it is {_distance_words(first)} the {first['object_name']} in the first picture and "
        f"{_distance_words(second)} it in the second.",
        answer, ("first", "second"),
    )  # fmt: skip


def _pair(told: Told, rng: np.random.Generator) -> tuple[int, list[tuple[str, Any]]] | None:
    """A frame, and two landmarks in random order."""
    frames = told.landmarks
    if not frames:
        return None
    t = int(rng.integers(len(frames)))
    names = sorted(frames[t])
    if len(names) < 2:
        return None
    a, b = (names[int(k)] for k in rng.permutation(len(names))[:2])
    return t, [(a, frames[t][a]), (b, frames[t][b])]


def _left_of(told: Told, rng: np.random.Generator) -> Question | None:
    """Which of two things is further left in the picture?"""
    drawn = _pair(told, rng)
    if drawn is None:
        return None
    t, ((a, at), (b, bt)) = drawn
    gap = bt["picture"][0] - at["picture"][0]
    inside = all(0 < x < 1 for x in (*at["picture"], *bt["picture"]))
    if abs(gap) < _PICTURE_GAP or not inside:
        return None
    answer = "left" if gap > 0 else "right"
    return Question(
        "spatial", (t,), f"In this picture, is the {a} left or right of the {b}?",
        f"the {a} appears further to the {answer} than the {b}.", answer, ("left", "right"),
    )  # fmt: skip


def _depth(told: Told, rng: np.random.Generator) -> Question | None:
    """Which of two things is nearer to the camera?"""
    drawn = _pair(told, rng)
    if drawn is None:
        return None
    t, ((a, at), (b, bt)) = drawn
    if abs(at["depth_m"] - bt["depth_m"]) < _DEPTH_GAP_M:
        return None
    answer = a if at["depth_m"] < bt["depth_m"] else b
    other = b if answer == a else a
    return Question(
        "spatial", (t,), f"Which is nearer to the camera, the {a} or the {b}?",
        f"the {answer} stands in front of the {other} as the camera looks.", answer, (a, b),
    )  # fmt: skip


def _earlier(told: Told, rng: np.random.Generator) -> Question | None:
    """Which of two pictures of a success is earlier? Asked where progress tells them apart."""
    if told.policy != "expert" or not told.true_success.any():
        return None
    end = int(np.argmax(told.true_success))
    if end < 2:
        return None
    a, b = sorted(int(t) for t in rng.choice(end + 1, 2, replace=False))
    if told.true_progress[b] - told.true_progress[a] < 100 * _DONE_GAP:
        return None
    shown, answer = ((a, b), "first") if rng.random() < 0.5 else ((b, a), "second")
    return Question(
        "temporal", shown,
        f"A robot does this without a mistake: {told.task}. Which picture was taken earlier?",
        f"less of the task is done in the {answer} picture.", answer, ("first", "second"),
    )  # fmt: skip


def _changed(told: Told, rng: np.random.Generator) -> Question | None:
    """Did the gripper come closer or go away between two pictures?"""
    a, b = sorted((_moment(told, rng), _moment(told, rng)), key=lambda one: one[0])
    (t, before), (u, now) = a, b
    gap_m = now["gripper_to_object_m"] - before["gripper_to_object_m"]
    if t == u or abs(gap_m) < _NEARER_M:
        return None
    answer = "closer" if gap_m < 0 else "away"
    return Question(
        "temporal", (t, u),
        f"From the first picture to the second, did the gripper move closer to the "
        f"{now['object_name']} or away from it?",
        f"the gripper was {_distance_words(before)} the {now['object_name']} and is "
        f"{_distance_words(now)} it now.",
        answer, ("closer", "away"),
    )  # fmt: skip


def _moved(told: Told, rng: np.random.Generator) -> Question | None:
    """Did the object move between two pictures?"""
    (t, before), (u, now) = sorted((_moment(told, rng), _moment(told, rng)), key=lambda one: one[0])
    if t == u or borders.is_free(now):
        return None
    moved_m = abs(now["object_moved_m"] - before["object_moved_m"])
    done = abs(now["done_fraction"] - before["done_fraction"])
    height_m = abs(now["object_height_m"] - before["object_height_m"])
    if moved_m >= _MOVED_M:
        answer = "yes"
    elif max(moved_m, height_m) < _STILL_M and done < 0.005:
        answer = "no"
    else:
        return None
    words = "is in another place" if answer == "yes" else "is where it was"
    return Question(
        "temporal", (t, u), f"Did the {now['object_name']} move between the two pictures?",
        f"the {now['object_name']} {words} in the second picture.", answer, ("yes", "no"),
    )  # fmt: skip


def _moment(told: Told, rng: np.random.Generator) -> tuple[int, Facts]:
    t = int(rng.integers(len(told.facts)))
    return t, told.facts[t]


MAKERS: tuple[Callable[[Told, np.random.Generator], Question | None], ...] = (
    _where, _how_far, _touching, _fraction, _nearer, _left_of, _depth, _earlier, _changed, _moved,
)  # fmt: skip
#: Questions of kept data sets stay as they are: another answer would be another hash.
_MAKERS_AS_KEPT = tuple(_fraction_rounded if make is _fraction else make for make in MAKERS)
