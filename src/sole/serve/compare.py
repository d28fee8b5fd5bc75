"""Which of two moments of a task is further: both are judged, and their numbers compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fastapi import APIRouter, Request

from sole.data.episode import VIEW_NAMES, EpisodeScore
from sole.serve.intake import (
    FILES,
    GUARDED,
    PICTURES,
    REQUEST_PART,
    RequestId,
    Served,
    multipart_body,
    parse_request,
    place_for,
    read_form,
    refusals,
)
from sole.serve.messages import (
    CompareReply,
    CompareRequest,
    EpisodeRequest,
    MomentReply,
    MomentRequest,
    ScoreRequest,
    Winner,
)
from sole.serve.pictures import Upload
from sole.serve.refusal import refusal
from sole.serve.service import Service

BODIES = (CompareRequest,)
SIDES = ("first", "second")
_OWN_PARTS = {side: {view: f"{side}_{view}" for view in VIEW_NAMES} for side in SIDES}
_PARTS = [*VIEW_NAMES, *(part for own in _OWN_PARTS.values() for part in own.values())]
_BODY = multipart_body(
    {
        "properties": {
            REQUEST_PART: {"$ref": "#/components/schemas/CompareRequest"},
            **dict.fromkeys(_PARTS, FILES),
        },
        "required": [REQUEST_PART],
        "minProperties": 2,
    },
    {REQUEST_PART: "application/json", **dict.fromkeys(_PARTS, f"video/mp4, {PICTURES}")},
)
routes = APIRouter(responses=refusals(), dependencies=GUARDED)


@routes.post("/v1/compare", openapi_extra=_BODY)
async def compare(request: Request, service: Served, request_id: RequestId = None) -> CompareReply:
    """Say which of two episodes, or of two moments of one episode, is further.

    The episodes come as parts called first_external, first_wrist, second_external, second_wrist, or
    as `views` of each side says. Two moments of one episode: send it as external and wrist, and
    name the `frame` of each side. An episode begins at 0 percent by definition, so two
    episodes must begin alike; a single picture has nothing to be compared with.
    """
    async with place_for(request, service, "score"):
        fields, uploads = await read_form(request, service)
        asked = parse_request(CompareRequest, fields, '{"task": "..."}')
        return await judge_both(service, asked, uploads, request_id)


async def judge_both(
    service: Service, asked: CompareRequest, uploads: Sequence[Upload], request_id: str | None
) -> CompareReply:
    """Score the episodes of both sides in one batch and compare the two moments.

    Raises:
        HTTPException: If the files are refused, or a moment does not exist.
        ModelError: If the model fails.
    """
    sent = {upload.view for upload in uploads}
    moments = (asked.first, asked.second)
    names = [_parts_of(side, moment, sent) for side, moment in zip(SIDES, moments, strict=True)]
    different = names[:1] if names[0] == names[1] else names
    episodes = [EpisodeRequest(task=asked.task, views=views) for views in different]
    whole = ScoreRequest(episodes=episodes, think=asked.think)
    model_id, scores = await service.score(whole, uploads, request_id)
    replies = [
        _reply(side, score, moment.frame)
        # The same episode on both sides was judged once.
        for side, moment, score in zip(SIDES, moments, (scores[0], scores[-1]), strict=True)
    ]
    winner, margin = verdict(replies[0].progress, replies[1].progress, asked.tie_margin)
    return CompareReply(
        model_id=model_id, winner=winner, margin=margin, first=replies[0], second=replies[1]
    )


def verdict(
    first: float | None, second: float | None, tie_margin: float
) -> tuple[Winner | None, float | None]:
    """Who is further and by how many percent points; nobody knows when one number is missing.

    Example:
        >>> verdict(20.0, 65.0, 0.0), verdict(20.0, 25.0, 10.0), verdict(None, 65.0, 0.0)
        (('second', 45.0), ('tie', 5.0), (None, None))
    """
    if first is None or second is None:
        return None, None
    margin = abs(first - second)
    if margin <= tie_margin:
        return "tie", margin
    return ("first" if first > second else "second"), margin


def _parts_of(side: str, moment: MomentRequest, sent: Collection[str]) -> dict[str, str]:
    """By view, the part that holds it: what the request says, else the side's own, else common."""
    if moment.views:
        return moment.views
    own = {view: part for view, part in _OWN_PARTS[side].items() if part in sent}
    common = {view: view for view in VIEW_NAMES if view in sent}
    if not own and not common:
        expected = " or ".join(_OWN_PARTS[side].values())
        raise refusal(422, f"{side}: no pictures; expected a part {expected}, or its views")
    return own or common


def _reply(side: str, score: EpisodeScore, frame: int | None) -> MomentReply:
    n_frames = len(score.steps)
    if n_frames == 1:
        raise refusal(
            422,
            f"{side}: one picture alone is 0 percent by definition; send the start before it",
        )
    at = n_frames - 1 if frame is None else frame
    if at >= n_frames:
        raise refusal(422, f"{side}: no frame {at}; the episode has frames 0 to {n_frames - 1}")
    return MomentReply(frame=at, n_frames=n_frames, **vars(score.steps[at]))
