"""``--annotator``: a vision-language model puts generated reasoning into richer words.

The model sees the composite and the facts and rewrites the draft; what it says is checked like
anybody's words. A text with a false claim, with too little that can be checked, or with a number in
it is thrown away, and the draft stays: an annotator can add words, never untruths that the checker
knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sole.data.episode import Facts
from sole.errors import ConfigError
from sole.models.backend import Backend, ask_user
from sole.synth.claims import judge_text

MAX_NEW_TOKENS = 220
#: A rewritten text must hold this many claims that the facts confirm.
FEWEST_TRUE = 2
_MOST_WORDS = 120
_ASK = (
    "The picture shows a robot at several moments: the first one on the left, the present one on "
    "the right, and the previous one between them if there are three columns. The upper row is an "
    "outside camera, the lower row the camera at the wrist. The task is: {task}.\n"
    "What a simulator knows of the present moment: {facts}\n"
    "A correct description: {draft}\n"
    "Say the same in your own words, two to four sentences, and mention what either camera shows. "
    "Use no numbers, add nothing that you cannot see, and reply with the description only."
)
_TOLD = (
    "object_name", "goal_name", "gripper_to_object_m", "contact", "grasped", "done_fraction",
    "complete",
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A generated text with what it speaks of.

    Attributes:
        task: The instruction.
        text: The generated reasoning.
        picture: The composite that the example shows, uint8 RGB.
        first, previous, now: Facts; ``previous`` is None in a from-zero read.
    """

    task: str
    text: str
    picture: np.ndarray
    first: Facts
    previous: Facts | None
    now: Facts


def rewrite(drafts: Sequence[Draft], backend: Backend) -> list[str | None]:
    """Return the model's words for each draft, None where they were refused or never came."""
    prompts = [
        ask_user([one.picture, _ASK.format(task=one.task, facts=_facts(one.now), draft=one.text)])
        for one in drafts
    ]
    replies = backend.generate(prompts, max_new_tokens=MAX_NEW_TOKENS)
    return [
        None if reply.error else accepted(reply.text, draft)
        for reply, draft in zip(replies, drafts, strict=True)
    ]


def accepted(text: str, draft: Draft) -> str | None:
    """The text on one line in lower case, or None if it says anything that it must not.

    Example:
        >>> from sole.data.episode import make_facts
        >>> now = make_facts(contact=True, gripper_to_object_m=0.02)
        >>> draft = Draft("push it", "", np.zeros((2, 2, 3), np.uint8), make_facts(), None, now)
        >>> accepted("The gripper is touching the puck. Next push it to the goal.", draft)
        'the gripper is touching the puck. next push it to the goal.'
        >>> accepted("The gripper is far from the puck. Next push it to the goal.", draft)
    """
    said = " ".join(text.split()).lower()
    if any(c.isdigit() or c in "<>" for c in said) or not 0 < len(said.split()) <= _MOST_WORDS:
        return None
    verdicts = [verdict for _, verdict in judge_text(said, draft.previous, draft.now, draft.first)]
    good = False not in verdicts and verdicts.count(True) >= FEWEST_TRUE
    return said if good else None


def open_annotator(name: str) -> Backend:
    """The backend behind ``openai:http://HOST:PORT/v1#MODEL``.

    Raises:
        ConfigError: If the address cannot be read.
    """
    if not name.startswith("openai:"):
        raise ConfigError(f"--annotator {name!r}: expected openai:http://HOST:PORT/v1#MODEL")
    from sole.models.api.address import parse_address
    from sole.models.api.backend import OpenAIBackend

    return OpenAIBackend(parse_address(name))


def _facts(now: Facts) -> str:
    told = {key: now[key] for key in _TOLD}
    return json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in told.items()})
