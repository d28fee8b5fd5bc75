"""Text to claims, and claims to verdicts: how often does a reasoner say what is not there?

The parser knows nothing of how :mod:`sole.synth.reasoning` chose its words: it reads sentences by
patterns (:mod:`sole.synth.claim_patterns`) that also match what models say in their own way. A
claim is false only when it is wrong beyond the slack of :mod:`sole.synth.borders`; what the facts
cannot decide is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sole.data.episode import Facts, make_facts
from sole.synth import claim_judges as judges
from sole.synth import claim_patterns as patterns


@dataclass(frozen=True)
class Claim:
    """One thing a text says about a moment.

    Attributes:
        kind: distance, side, touch, hold, event, gripper_moved, object_moved, height, verdict,
            stage or next.
        value: What is claimed, for example ``near`` or ``toward``.
        since_start: The change is told from the first frame on, not from the previous one.
        words: The words that made the claim.
    """

    kind: str
    value: str
    since_start: bool = False
    words: str = ""


_SENTENCE = re.compile(r"[^.;!\n]+")
_PART = re.compile(r",|\b(?:and|but|while|whereas|yet(?= the)|though)\b")
_RELATIVE = re.compile(r"^\W*(?:which|that)\b")
_LIFTS_IT = re.compile(r"\b(?:lift|rais|lower)(?:ed|es|s|ing) (?:it|the)\b")
_OF_OBJECT = re.compile(
    r"\b(?:left|right|front) of the|\b(?:above|below|behind|ahead of) (?:the|it)\b"
)
_OPPOSITE = {
    "left": "right",
    "right": "left",
    "ahead": "behind",
    "behind": "ahead",
    "below": "above",
    "above": "below",
}
_WHOLE = tuple(
    (kind, patterns.compiled(table))
    for kind, table in (
        ("verdict", patterns.VERDICTS),
        ("stage", patterns.STAGES),
        ("event", patterns.EVENTS),
    )
)
_STATES = tuple(
    (kind, patterns.compiled(table))
    for kind, table in (("hold", patterns.HOLDS), ("touch", patterns.TOUCHES))
)
_DISTANCES = patterns.compiled(patterns.DISTANCES)
_SIDES = patterns.compiled(patterns.SIDES)
_HEIGHTS = patterns.compiled(patterns.HEIGHTS)
_NEXT_KINDS = patterns.compiled(patterns.NEXT_KINDS)
_Table = tuple[tuple[str, re.Pattern[str]], ...]
#: Kind, value and the words that say so.
_Found = list[tuple[str, str, str]]


def extract_claims(text: str) -> list[Claim]:
    """Return what ``text`` claims about the moment, in the order it is read sentence by sentence.

    Example:
        >>> claims = extract_claims("The gripper is near the cup. It moved closer.")
        >>> [(claim.kind, claim.value) for claim in claims]
        [('distance', 'near'), ('gripper_moved', 'closer')]
        >>> extract_claims("a fine day")
        []
    """
    claims: list[Claim] = []
    about_gripper = True
    for raw in _SENTENCE.findall(text.lower().replace("\u2019", "'")):
        since_start = patterns.SINCE_START.search(raw) is not None
        sentence = patterns.SINCE_START.sub(" ", raw)
        found, about_gripper = _read_sentence(sentence, about_gripper)
        claims.extend(Claim(kind, value, since_start, words) for kind, value, words in found)
    return _without_repeats(claims)


def _without_repeats(claims: list[Claim]) -> list[Claim]:
    seen: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        seen.setdefault((claim.kind, claim.value), claim)
    return list(seen.values())


def _read_sentence(sentence: str, about_gripper: bool) -> tuple[_Found, bool]:
    """Return the claims and whether "it" in the next sentence means the gripper."""
    sentence, after = _take_next(sentence)
    found: _Found = []
    for kind, table in _WHOLE:
        sentence = _take(sentence, kind, table, found)
    aside = patterns.ASIDE.search(sentence)
    if aside:
        found.append(("object_moved", "aside", aside.group()))
        sentence = _blank(sentence, aside)
    for part in _PART.split(sentence):
        relative = _RELATIVE.match(part) is not None
        subject = patterns.SUBJECT.match(part)
        if subject:
            name = subject["named"] or subject["bare"]
            about_gripper = patterns.GRIPPER.search(name) is not None
        found.extend(_read_part(part, about_gripper and not relative))
    return found + after, about_gripper


def _take_next(sentence: str) -> tuple[str, _Found]:
    """Cut off what the sentence says about the future; return the rest and the claims."""
    done = patterns.HOLD.search(sentence)
    if done:
        return sentence[: done.start()], [("next", "hold", done.group())]
    ahead = patterns.NEXT.search(sentence)
    if ahead is None:
        return sentence, []
    for value, pattern in _NEXT_KINDS:
        if pattern.search(ahead["rest"]):
            return sentence[: ahead.start()], [("next", value, ahead.group().strip())]
    return sentence[: ahead.start()], []


def _take(sentence: str, kind: str, table: _Table, found: _Found) -> str:
    """Add the claims of one kind to ``found``; return the sentence with their words blanked."""
    for value, pattern in table:
        match = pattern.search(sentence)
        if match:
            found.append((kind, value, match.group().strip()))
            sentence = _blank(sentence, match)
    return sentence


def _blank(sentence: str, match: re.Match[str]) -> str:
    return f"{sentence[: match.start()]} ~ {sentence[match.end() :]}"


def _read_part(part: str, about_gripper: bool) -> _Found:
    found: _Found = []
    for kind, table in _STATES:
        part = _take(part, kind, table, found)
    if not _RELATIVE.match(part):
        part = _take_motion(part, about_gripper, found)
    if about_gripper or patterns.GRIPPER.search(part):
        part = _take(part, "distance", _DISTANCES, found)
    if not about_gripper or _LIFTS_IT.search(part):
        part = _take(part, "height", _HEIGHTS, found)
    sides: _Found = []
    _take(part, "side", _SIDES, sides)
    # "The gripper is above the cup" says that the cup is below.
    turned = about_gripper and bool(patterns.GRIPPER.search(part) or _OF_OBJECT.search(part))
    found += [(k, _OPPOSITE[v] if turned else v, words) for k, v, words in sides]
    return found


def _take_motion(part: str, about_gripper: bool, found: _Found) -> str:
    kept = patterns.KEPT.search(part)
    if kept:
        found.append(("gripper_moved", "same", kept.group()))
        return _blank(part, kept)
    kind = "gripper_moved" if about_gripper else "object_moved"
    values = ("same", "closer", "away") if about_gripper else ("still", "toward", "away")
    motions = (patterns.UNMOVED, patterns.NEARER, patterns.FARTHER)
    for value, pattern in zip(values, motions, strict=True):
        match = pattern.search(part)
        if match:
            found.append((kind, value, match.group().strip()))
            return _blank(part, match)
    return part


def judge_claim(
    claim: Claim, first: Facts | None, previous: Facts | None, current: Facts
) -> bool | None:
    """Return whether a claim is true of the facts, None when they cannot tell.

    Args:
        claim: What was said.
        first: Facts at the first frame; needed for changes told "since the start".
        previous: Facts at the previous frame; None means that changes count from ``first``.
        current: Facts at the moment that is spoken of.

    Returns:
        False only when the claim is wrong beyond the slack of :mod:`sole.synth.borders`.

    Example:
        >>> judge_claim(Claim("distance", "at"), None, None, make_facts(gripper_to_object_m=0.3))
        False
        >>> judge_claim(Claim("gripper_moved", "closer"), None, None, make_facts()) is None
        True
    """
    if claim.kind in judges.OF_NOW:
        return judges.OF_NOW[claim.kind](claim.value, current)
    reference = first if claim.since_start or previous is None else previous
    if reference is None:
        return None
    if claim.kind == "verdict":
        return judges.verdict(claim.value, reference, current, first)
    judge = judges.OF_CHANGE.get(claim.kind)
    return None if judge is None else judge(claim.value, reference, current)


def judge_text(
    text: str, previous: Facts | None, current: Facts, first: Facts | None = None
) -> list[tuple[Claim, bool | None]]:
    """Return every claim of ``text`` with its verdict (see :func:`judge_claim`)."""
    return [(c, judge_claim(c, first, previous, current)) for c in extract_claims(text)]


def hallucination_rate(verdicts: Iterable[bool | None]) -> float:
    """Return the share of checkable claims that are false; NaN when none is checkable.

    Example:
        >>> hallucination_rate([True, False, None, True, True])
        0.25
    """
    checkable = [verdict for verdict in verdicts if verdict is not None]
    return checkable.count(False) / len(checkable) if checkable else math.nan


def checker_accuracy(cases: Sequence[Mapping[str, Any]]) -> float:
    """Return how often the checker agrees with people: the share of claims it finds and judges so.

    Args:
        cases: Each has ``text``, ``current`` and optionally ``previous`` (changes to
            :func:`sole.data.episode.make_facts`, None for no previous frame), ``first`` and
            ``expected``: a list of [kind, value, true | false | null].

    Returns:
        Agreements over all claims that either side has; a claim only one side sees is an error.

    Raises:
        ValueError: There is no claim to compare.
    """
    agreed = total = 0
    for case in cases:
        expected = {(kind, value, verdict) for kind, value, verdict in case["expected"]}
        found = {(claim.kind, claim.value, verdict) for claim, verdict in judge_case(case)}
        agreed += len(expected & found)
        total += len({entry[:2] for entry in expected | found})
    if not total:
        raise ValueError("checker accuracy: expected cases with claims, got none")
    return agreed / total


def judge_case(case: Mapping[str, Any]) -> list[tuple[Claim, bool | None]]:
    """Judge the text of one case of :func:`checker_accuracy` by its own facts."""
    previous = case.get("previous")
    return judge_text(
        case["text"],
        None if previous is None else _facts_of(previous),
        _facts_of(case["current"]),
        _facts_of(case.get("first", {})),
    )


def _facts_of(changes: Mapping[str, Any]) -> Facts:
    """Facts from JSON, where a tuple is a list."""
    offset = {"offset_m": tuple(changes["offset_m"])} if "offset_m" in changes else {}
    return make_facts(**{**changes, **offset})
