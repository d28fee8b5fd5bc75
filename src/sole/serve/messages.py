"""The JSON that goes over the wire; OpenAPI describes it from these classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from sole.data.episode import EpisodeScore, StepScore


def _stripped(task: str) -> str:
    if not task.strip():
        raise ValueError("expected a sentence, got blanks")
    return task.strip()


Task = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"\S"), AfterValidator(_stripped)
]
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
