"""An episode as one growing conversation: the first frame, then one turn for each later moment.

The three-column picture shows the first frame and the previous one again in every question. A
conversation shows each frame once and goes on; whoever keeps what was computed for its beginning (a
prefix cache: vLLM, or a server of it) reads only the new turn. No released model was trained on
this form; SOLE-R1-8B was trained on the picture.

    system     who you are, and the form of a reply
    user       [external] [wrist]  the views, the task, and that this moment is 0%
    assistant  <think></think><answer>0%</answer>
    user       [external] [wrist]  "This is the next timestep. Predict its task progress."
    assistant  <think>...</think><answer>12%</answer>
    ...

A reply that cannot be read is left out together with its turn, so that what follows never builds on
it; the turn before it is still a beginning of the next question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sole.data.episode import EXTERNAL, WRIST
from sole.protocol.composite import fit_tile, ordered_views
from sole.protocol.prompt import SOLE_R1, clean_task, write_reply

TILE_PX = 384
"""Side of one view's picture: as large as in the picture of SOLE-R1-8B."""
_VIEWS = {
    (EXTERNAL, WRIST): (
        "At every timestep there are two pictures: the external camera's, then the robot's wrist "
        "camera's."
    ),
    (EXTERNAL,): "At every timestep there is one picture, the external camera's.",
    (WRIST,): "At every timestep there is one picture, the robot's wrist camera's.",
}
OPENING = (
    "Here is a robot attempting to complete a task. {views} The task description is: {task}. "
    "This is the very first timestep, and the task progress is 0%."
)
NEXT = "This is the next timestep. Predict its task progress."
START_REPLY = write_reply("", 0)


@dataclass(frozen=True)
class Conversation:
    """What was said and shown of one episode so far.

    Attributes:
        messages: Chat form, each content a list of text and image parts.
        images: uint8 RGB tiles ``(TILE_PX, TILE_PX, 3)`` in the order of the image parts.
        views: Names of the views, the same in every turn.
    """

    messages: tuple[Mapping[str, Any], ...]
    images: tuple[np.ndarray, ...]
    views: tuple[str, ...]

    @classmethod
    def start(cls, task: str, views: Mapping[str, np.ndarray]) -> Conversation:
        """Open with the first moment, which is 0 percent by definition.

        Raises:
            BadInputError: If the task is empty or holds a control token.
            ValueError: If the views are not one or two of external and wrist, uint8 RGB.

        Example:
            >>> told = Conversation.start("open it", {"wrist": np.zeros((4, 4, 3), np.uint8)})
            >>> [message["role"] for message in told.messages], len(told.images)
            (['system', 'user', 'assistant'], 1)
        """
        names = ordered_views(views)
        opening = OPENING.format(views=_VIEWS[names], task="{task}")
        text = opening.replace("{task}", clean_task(task))
        messages = (_message("system", SOLE_R1.system), _turn(names, text), _said(START_REPLY))
        return cls(messages, _tiles(names, views), names)

    def asking(self, views: Mapping[str, np.ndarray]) -> Conversation:
        """The question about the next moment: all so far, and one more turn of the user's.

        Raises:
            ValueError: If the views are not those of the first moment.
        """
        if ordered_views(views) != self.views:
            raise ValueError(f"streaming: expected views {self.views}, got {tuple(views)}")
        messages = (*self.messages, _turn(self.views, NEXT))
        return Conversation(messages, (*self.images, *_tiles(self.views, views)), self.views)

    def answered(self, reply: str) -> Conversation:
        """After the model's reply to :meth:`asking`."""
        return Conversation((*self.messages, _said(reply)), self.images, self.views)


def _tiles(names: tuple[str, ...], views: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(fit_tile(views[name], TILE_PX) for name in names)


def _turn(names: tuple[str, ...], text: str) -> dict[str, Any]:
    content: list[dict[str, str]] = [{"type": "image"} for _ in names]
    return {"role": "user", "content": [*content, {"type": "text", "text": text}]}


def _said(reply: str) -> dict[str, Any]:
    return _message("assistant", reply)


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
