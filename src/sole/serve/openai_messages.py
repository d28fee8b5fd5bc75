"""The part of OpenAI's chat protocol that a judge of pictures can speak, and what it refuses.

A question is one user message: pictures in time order and a text that holds the task. Whatever
else the protocol knows is an error with a reason, because a judge that quietly leaves out half of
what it was told is worse than none. Fields that cannot change a judgement are taken and have no
effect.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from sole.data.episode import EXTERNAL, VIEW_NAMES, StepScore
from sole.protocol.prompt import write_reply
from sole.serve.messages import StepReply, checked_task
from sole.serve.pictures import FORMATS, Upload

FORM = (
    "expected one user message with at least two PNG or JPEG pictures as data: addresses, from the "
    "first moment to the current one, and a text with the task"
)
_ADDRESS = re.compile(r"data:(image/(?:png|jpeg));base64,", re.IGNORECASE)
_VIEWS_LINE = re.compile(r"views?:(.*)", re.IGNORECASE)
_TASK_WORD = re.compile(r"^task:", re.IGNORECASE)
_STATED = re.compile(r"previous progress:", re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)


def _checked_address(url: str) -> str:
    if not _ADDRESS.match(url):
        raise ValueError(
            f"expected data:image/png;base64,... or data:image/jpeg;base64,..., got {url[:24]!r}; "
            "pictures are never fetched from elsewhere"
        )
    return url


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class ImageUrl(_Asked):
    """Where a picture is: in the address itself."""

    url: Annotated[
        str,
        Field(json_schema_extra={"pattern": "^data:image/(png|jpeg);base64,"}),
        AfterValidator(_checked_address),
    ]
    """data:image/png;base64,... or data:image/jpeg;base64,...; nothing is fetched."""
    detail: Literal["auto", "low", "high"] | None = None
    """No effect: each model has its own picture size."""


class ImagePart(_Asked):
    """One picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(_Asked):
    """Words; all of them together hold the task."""

    type: Literal["text"]
    text: str


class UserMessage(_Asked):
    """The one question."""

    role: Literal["user"]
    content: Annotated[
        list[Annotated[ImagePart | TextPart, Field(discriminator="type")]], Field(min_length=3)
    ]
    """Pictures in time order, with both views external before wrist, and the text."""


class ChatRequest(_Asked):
    """A question to the judge."""

    model: str
    """One of the ids that /v1/models lists."""
    messages: Annotated[list[UserMessage], Field(min_length=1, max_length=1)]
    """One user message: every question stands alone, and there is nothing to instruct."""
    stream: StrictBool | None = None
    """Answer as server-sent events."""
    stream_options: dict[str, Any] | None = None
    """No effect."""
    n: Annotated[StrictInt, Field(ge=1, le=1)] | None = None
    """One answer: the judge draws no lots."""
    temperature: float | None = None
    """No effect."""
    top_p: float | None = None
    """No effect."""
    presence_penalty: float | None = None
    """No effect."""
    frequency_penalty: float | None = None
    """No effect."""
    seed: int | None = None
    """No effect."""
    max_tokens: int | None = None
    """No effect: an answer is a few dozen words at most."""
    max_completion_tokens: int | None = None
    """No effect."""
    user: str | None = None
    """No effect."""
    metadata: dict[str, Any] | None = None
    """No effect."""
    store: Literal[False] | None = None
    """Nothing is stored."""


class Reply(_Told):
    """The answer's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    """``<think>...</think><answer>60%</answer>``, or null when the model gave no number."""
    refusal: str | None
    """Why there is no number, or null."""


class Choice(_Told):
    """The one answer."""

    index: Literal[0] = 0
    message: Reply
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatReply(_Told):
    """An answer; how many tokens it took is not counted."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """Seconds since 1970."""
    model: str
    choices: list[Choice]
    score: StepReply
    """Beyond OpenAI's protocol: the same as numbers, with uncertainty."""


class Listed(_Told):
    """A model of the list."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When the server was started, in seconds since 1970."""
    owned_by: Literal["sole"] = "sole"


class ModelList(_Told):
    """What can be asked: the same weights with and without reasoning; the usual way first."""

    object: Literal["list"] = "list"
    data: list[Listed]


class ErrorBody(_Told):
    """What is wrong, as OpenAI says it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(_Told):
    """Why there is no answer."""

    error: ErrorBody


def read_text(text: str) -> tuple[str, tuple[str, ...]]:
    r"""The task and the views that a text names.

    The text is one sentence, or lines ``Task: ...`` and ``Views: external, wrist``. Without the
    second all pictures are the external view.

    Raises:
        ValueError: If it holds no task, more than one, or views that nobody knows.

    Example:
        >>> read_text("open the drawer")
        ('open the drawer', ('external',))
        >>> read_text("Task: open the drawer.\nViews: external, wrist.")
        ('open the drawer.', ('external', 'wrist'))
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [match[1] for line in lines if (match := _VIEWS_LINE.match(line))]
    tasks = [line for line in lines if not _VIEWS_LINE.match(line)]
    if len(tasks) != 1 or len(named) > 1:
        raise ValueError(
            f"text: expected one line with the task, and at most one 'Views: external, wrist', got "
            f"{len(tasks)} and {len(named)}"
        )
    if _STATED.search(tasks[0]):
        raise ValueError("text: previous progress is not taken; the model judges earlier pictures")
    views = _view_names(named[0]) if named else (EXTERNAL,)
    return checked_task(_TASK_WORD.sub("", tasks[0])), views


def _view_names(words: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in words.strip(" .").split(","))
    if len(set(names)) < len(names) or not set(names) <= set(VIEW_NAMES):
        raise ValueError(f"text: Views: expected some of {', '.join(VIEW_NAMES)}, got {words!r}")
    return names


def read_message(message: UserMessage) -> tuple[str, list[Upload]]:
    """The task, and the pictures with the view that each belongs to, in their order.

    Raises:
        ValueError: If the text is not as expected, or the pictures do not make moments.
    """
    texts = [part.text for part in message.content if isinstance(part, TextPart)]
    images = [part.image_url.url for part in message.content if isinstance(part, ImagePart)]
    task, views = read_text("\n".join(texts))
    if len(images) % len(views) or len(images) < 2 * len(views):
        raise ValueError(
            f"pictures: expected {' and '.join(views)} of at least two moments, "
            f"got {len(images)} pictures"
        )
    uploads = [_upload(views[k % len(views)], url, k) for k, url in enumerate(images)]
    return task, uploads


def _upload(view: str, url: str, index: int) -> Upload:
    match = _ADDRESS.match(url)
    assert match is not None, "the request was validated"
    kind = match[1].lower()
    assert kind in FORMATS
    try:
        return Upload(view, kind, base64.b64decode(url[match.end() :], validate=True))
    except binascii.Error as error:
        raise ValueError(f"picture {index + 1}: its base64 is damaged ({error})") from error


def spoken(step: StepScore) -> Reply:
    """A score as the model would say it.

    Example:
        >>> spoken(StepScore(41.6, reasoning="It opens.")).content
        '<think>It opens.</think><answer>42%</answer>'
    """
    if step.progress is None:
        return Reply(content=None, refusal=step.error)
    reasoning = _TAG.sub("", step.reasoning)  # a tag that a model wrote would end its own answer
    return Reply(content=write_reply(reasoning, round(step.progress)), refusal=None)
