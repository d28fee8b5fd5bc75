"""The JSON that goes over the wire; OpenAPI describes it from these classes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
)

from sole.data.episode import EpisodeScore, StepScore
from sole.errors import BadInputError
from sole.protocol.prompt import clean_task

MAX_TASK_CHARACTERS = 500
_MAX_EVERY = 10_000


def checked_task(task: str) -> str:
    """The sentence without blanks around it, if a prompt can hold it.

    Raises:
        ValueError: Otherwise. Found here it is one client's fault; found by the model it would be
            a failure of everybody in the batch.
    """
    try:
        clean_task(task)
    except BadInputError as error:
        raise ValueError(str(error).removeprefix("task: ")) from error
    return task.strip()


Task = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TASK_CHARACTERS),
    # The schema says with a pattern what the check says in words: blanks and full stops are none.
    Field(json_schema_extra={"pattern": r"[^\s.\u001c-\u001f\u0085]"}),
    AfterValidator(checked_task),
]
Winner = Literal["first", "second", "tie"]
PartName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class EpisodeRequest(_Asked):
    """One episode to score."""

    task: Task
    """What the robot shall do, one sentence."""
    views: dict[str, PartName] | None = None
    """Name of the parts that hold each view; left out, parts are called as the views are."""


class ScoreRequest(_Asked):
    """The part called ``request``."""

    episodes: Annotated[list[EpisodeRequest], Field(min_length=1)]
    """Judged in one batch."""
    think: StrictBool | None = None
    """Write reasoning or not; null takes the server's own way."""


class StreamRequest(_Asked):
    """The part called ``request`` of a stream."""

    task: Task
    """What the robot shall do, one sentence."""
    think: StrictBool | None = None
    """Write reasoning or not; null takes the server's own way."""
    layout: Literal["separate", "side-by-side"] = "separate"
    """side-by-side: the part ``both`` holds the two views, external on the left."""
    every: Annotated[StrictInt, Field(ge=1, le=_MAX_EVERY)] = 1
    """Judge every this many frames, and the last."""
    pictures: StrictBool = False
    """Send with each step what was judged, as small JPEG pictures."""


class MomentRequest(_Asked):
    """One side of a comparison: a moment of an episode."""

    views: dict[str, PartName] | None = None
    """Name of the parts that hold each view; left out, see the route."""
    frame: Annotated[StrictInt, Field(ge=0)] | None = None
    """Which frame of it; null is the last."""


class CompareRequest(_Asked):
    """The part called ``request`` of a comparison."""

    task: Task
    """What the robot shall do in both, one sentence."""
    first: MomentRequest = MomentRequest()
    """One side."""
    second: MomentRequest = MomentRequest()
    """The other side."""
    tie_margin: Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)] = 0.0
    """Percent points that do not count as a difference yet."""
    think: StrictBool | None = None
    """Write reasoning or not; null takes the server's own way."""


class SessionRequest(_Asked):
    """Open a session."""

    task: Task
    """What the robot shall do, one sentence."""
    think: StrictBool | None = None
    """Write reasoning or not; null takes the server's own way."""


class StepReply(_Told):
    """What the model says about one frame."""

    progress: float | None
    """Percent in [-100, 100]; null when the model failed."""
    success_probability: float | None
    """In [0, 1]; null when the model does not say."""
    reasoning: str
    """What it thought; empty in fast mode."""
    uncertainty: float | None
    """Standard deviation in percent points, or null."""
    error: str | None
    """Why there is no progress, or null."""
    scored: bool
    """False when the value was interpolated."""

    @classmethod
    def of(cls, step: StepScore) -> StepReply:
        """The same as JSON."""
        return cls(**vars(step))


class SessionStepReply(StepReply):
    """A step of a session."""

    index: int
    """Which frame this was; the first is 0."""


class EpisodeReply(_Told):
    """What the model says about one episode."""

    task: str
    steps: list[StepReply]
    """One for each frame."""

    @classmethod
    def of(cls, score: EpisodeScore) -> EpisodeReply:
        """The same as JSON."""
        return cls(task=score.task, steps=[StepReply.of(step) for step in score.steps])


class ScoreReply(_Told):
    """Scores, in the order of the request."""

    model_id: str
    """Weights and settings that judged."""
    episodes: list[EpisodeReply]


class StreamStart(_Told):
    """The event ``start``: what is going to be judged."""

    model_id: str
    """Weights and settings that judge."""
    task: str
    views: list[str]
    n_frames: int
    """Frames that were sent."""
    scored_frames: list[int]
    """Those that a step will come for, in this order."""
    fps: float | None
    """Frames per second of the film; null for pictures."""


class StreamStep(StepReply):
    """The event ``step``: one judged frame."""

    index: int
    """Which frame this is; the first is 0."""
    time_s: float | None
    """When it was, from the start of the film; null for pictures."""
    pictures: dict[str, str] | None
    """By view a JPEG as data: address, or null if none were asked for."""


class StreamEnd(_Told):
    """The event ``end``: all was judged."""

    n_steps: int
    seconds: float
    """From the first step's start to the last one's answer."""


class MomentReply(StepReply):
    """What the model says about one side of a comparison."""

    frame: int
    """Which frame was compared."""
    n_frames: int
    """How many its episode has."""


class CompareReply(_Told):
    """Which side is further."""

    model_id: str
    """Weights and settings that judged."""
    winner: Winner | None
    """Who is further; null when one side could not be judged."""
    margin: float | None
    """By how many percent points, never negative; null when one side could not be judged."""
    first: MomentReply
    second: MomentReply


class SessionReply(_Told):
    """An open session."""

    session_id: str
    model_id: str
    """Weights and settings that will judge."""
    idle_timeout_s: float
    """It is closed after this long without a step."""


class Limits(_Told):
    """What one request may hold."""

    max_body_bytes: int
    max_episodes: int
    max_frames: int
    max_picture_px: int
    max_request_px: int


class ModelCard(_Told):
    """Which model this is, what it needs, and what it has spent."""

    model_id: str
    """Weights and settings of a request that does not say whether to think."""
    models: dict[str, str]
    """Model id by way of judging (fast, think); empty if the model knows only one."""
    views: list[str]
    """Views that an episode must have."""
    known_views: list[str]
    """Views that it may have; at least one of them."""
    licence: str
    settings: dict[str, float]
    """How numbers are read."""
    success_thresholds: dict[str, float] = {}
    """By model id the success probability that counts, where a calibration says so."""
    needs_whole_episode: bool = False
    """It judges no running episode, only whole ones."""
    limits: Limits
    costs: dict[str, float]
    """What was spent since the server was started."""
    version: str
    """Of this software."""


class Refusal(_Told):
    """Why there is no answer."""

    error: str


class Health(_Told):
    """Whether the server is alive, or ready for work."""

    status: str
