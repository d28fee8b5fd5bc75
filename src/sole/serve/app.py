"""The HTTP interface; what a route does lies in :mod:`sole.serve.service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sole import __version__
from sole.errors import ModelError
from sole.rewarders.base import RewardModel
from sole.serve import compare, openai, page
from sole.serve.config import ServeConfig
from sole.serve.intake import (
    FILE,
    FILES,
    GUARDED,
    PICTURES,
    REQUEST_PART,
    RequestId,
    Served,
    complaint,
    multipart_body,
    parse_request,
    place_for,
    read_form,
    read_json,
    refusals,
)
from sole.serve.messages import (
    EpisodeReply,
    Health,
    ModelCard,
    ScoreReply,
    ScoreRequest,
    SessionReply,
    SessionRequest,
    SessionStepReply,
)
from sole.serve.metrics import CONTENT_TYPE
from sole.serve.middleware import CountRequests, LimitBody
from sole.serve.refusal import refusal
from sole.serve.service import Service

#: Bodies that routes read by themselves; FastAPI knows nothing of them.
_HAND_READ: tuple[type[BaseModel], ...] = (
    ScoreRequest,
    SessionRequest,
    *page.BODIES,
    *compare.BODIES,
    *openai.BODIES,
)


def make_app(model: RewardModel, settings: ServeConfig, token: str | None = None) -> FastAPI:
    """The ASGI application that serves ``model``.

    Args:
        model: Belongs to the application from now on.
        settings: Limits and ways of judging.
        token: What clients must send as bearer token, or None.

    Example:
        ``uvicorn.run(make_app(load_reward_model("nano"), ServeConfig()))``
    """
    service = Service(model, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    about = "Judges how far a robot's task has come, from pictures and one sentence."
    app = FastAPI(
        title="sole", version=__version__, description=about, lifespan=lifespan,
        docs_url=None, redoc_url=None, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.service, app.state.token = service, token
    app.openapi = lambda: _schema(app)
    for router in (_open, _guarded, page.routes, page.guarded, compare.routes, openai.routes):
        app.include_router(router)
    app.add_middleware(LimitBody, max_bytes=settings.max_body_bytes)
    app.add_middleware(CountRequests, counts=service.counts)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ModelError, _failed)
    app.add_exception_handler(ClientDisconnect, _gone)
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, with the bodies that routes read by themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for body in _HAND_READ:
            described = body.model_json_schema(ref_template="#/components/schemas/{model}")
            parts = {**described.pop("$defs", {}), body.__name__: described}
            schema["components"]["schemas"].update(parts)
        app.openapi_schema = schema
    return app.openapi_schema


_open = APIRouter(prefix="/v1", responses=refusals())
_guarded = APIRouter(responses=refusals(), dependencies=GUARDED)
_SCORE_BODY = multipart_body(
    {
        "properties": {
            REQUEST_PART: {"$ref": "#/components/schemas/ScoreRequest"},
            "external": FILES,
            "wrist": FILES,
        },
        "required": [REQUEST_PART],
        "minProperties": 2,
    },
    {
        REQUEST_PART: "application/json",
        "external": f"video/mp4, {PICTURES}",
        "wrist": f"video/mp4, {PICTURES}",
    },
)
_STEP_BODY = multipart_body(
    {
        "properties": {"external": FILE, "wrist": FILE},
        "minProperties": 1,
        "additionalProperties": False,
    },
    {"external": PICTURES, "wrist": PICTURES},
)
_SESSION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/SessionRequest"}}
        },
    }
}


@_open.get("/health")
async def health() -> Health:
    """Whether the process answers at all."""
    return Health(status="alive")


@_open.get("/ready")
async def ready() -> Health:
    """Whether new work is taken; a server that is stopping takes no connection."""
    return Health(status="ready")


@_guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Served) -> Response:
    """Counters for Prometheus."""
    return Response(service.metrics(), media_type=CONTENT_TYPE)


@_guarded.get("/v1/model")
async def model_card(service: Served) -> ModelCard:
    """Which model judges, what it needs, what a request may hold, what was spent."""
    return service.card()


@_guarded.post("/v1/score", openapi_extra=_SCORE_BODY)
async def score(request: Request, service: Served, request_id: RequestId = None) -> ScoreReply:
    """Score a batch of whole episodes."""
    async with place_for(request, service, "score"):
        fields, uploads = await read_form(request, service)
        asked = parse_request(ScoreRequest, fields, '{"episodes": [{"task": "..."}]}')
        model_id, scores = await service.score(asked, uploads, request_id)
    return ScoreReply(model_id=model_id, episodes=[EpisodeReply.of(s) for s in scores])


@_guarded.post("/v1/sessions", status_code=201, openapi_extra=_SESSION_BODY)
async def open_session(
    request: Request, service: Served, request_id: RequestId = None
) -> SessionReply:
    """Begin an episode whose frames will come one by one."""
    # As a parameter FastAPI would read and parse it before the token is asked for.
    asked = await read_json(SessionRequest, request, service)
    model = service.model_for(asked.think)
    session_id = service.sessions.open(model, asked.task, request_id)
    return SessionReply(
        session_id=session_id,
        model_id=model.model_id,
        idle_timeout_s=service.settings.idle_timeout_s,
    )


@_guarded.post("/v1/sessions/{session_id}/step", openapi_extra=_STEP_BODY)
async def step(
    session_id: str, request: Request, service: Served, request_id: RequestId = None
) -> SessionStepReply:
    """Judge the next frame: one picture for each view."""
    async with place_for(request, service, "step"):
        with service.sessions.using(session_id) as session:
            fields, uploads = await read_form(request, service)
            if fields:
                raise refusal(
                    422, f"step: expected pictures only, got the text {next(iter(fields))!r}"
                )
            index, score = await service.step(session, uploads, request_id)
    return SessionStepReply(index=index, **vars(score))


@_guarded.delete("/v1/sessions/{session_id}", status_code=204)
async def close_session(session_id: str, service: Served) -> None:
    """End an episode; doing so twice is no error."""
    service.sessions.close(session_id)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": complaint(error.errors()[0])}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the model failed: {error}"}, 500)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
