"""The HTTP interface; what a route does lies in :mod:`sole.serve.service`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sole import __version__
from sole.errors import ModelError
from sole.rewarders.base import RewardModel
from sole.serve.config import ServeConfig
from sole.serve.messages import (
    EpisodeReply,
    Health,
    ModelCard,
    Refusal,
    ScoreReply,
    ScoreRequest,
    SessionReply,
    SessionRequest,
    SessionStepReply,
)
from sole.serve.metrics import CONTENT_TYPE
from sole.serve.middleware import CountRequests, LimitBody
from sole.serve.pictures import Upload
from sole.serve.refusal import refusal
from sole.serve.service import Service

_REQUEST_PART = "request"
_MAX_ID_CHARACTERS = 200


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
    app.include_router(_open)
    app.include_router(_guarded)
    app.add_middleware(LimitBody, max_bytes=settings.max_body_bytes)
    app.add_middleware(CountRequests, counts=service.counts)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ModelError, _failed)
    app.add_exception_handler(ClientDisconnect, _gone)
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, with the JSON that one part of a multipart body holds."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        at = "#/components/schemas/{model}"
        asked = ScoreRequest.model_json_schema(ref_template=at)
        parts = {**asked.pop("$defs", {}), ScoreRequest.__name__: asked}
        schema["components"]["schemas"].update(parts)
        app.openapi_schema = schema
    return app.openapi_schema


def _service(request: Request) -> Service:
    return request.app.state.service


def _authorised(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    token: str | None = request.app.state.token
    if token is None:
        return
    scheme, _, sent = (authorization or "").partition(" ")
    same = secrets.compare_digest(sent.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise HTTPException(
            401, "expected the header 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"}
        )


Served = Annotated[Service, Depends(_service)]
RequestId = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=_MAX_ID_CHARACTERS,
        description="A request sent again under the same id is answered again, not done again.",
    ),
]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "Refused: what came, what is expected"},
    "5XX": {"model": Refusal, "description": "The model failed, or the server is stopping"},
}
_open = APIRouter(prefix="/v1", responses=_REFUSALS)
_guarded = APIRouter(responses=_REFUSALS, dependencies=[Depends(_authorised)])


def _multipart(schema: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    encoding = {name: {"contentType": kind} for name, kind in types.items()}
    content = {
        "multipart/form-data": {"schema": {"type": "object", **schema}, "encoding": encoding}
    }
    return {"requestBody": {"required": True, "content": content}}


_FILE = {"type": "string", "format": "binary"}
_PICTURES = "image/png, image/jpeg"
_SCORE_BODY = _multipart(
    {
        "properties": {
            _REQUEST_PART: {"$ref": "#/components/schemas/ScoreRequest"},
            "external": {"type": "array", "items": _FILE, "description": "One MP4, or pictures"},
            "wrist": {"type": "array", "items": _FILE, "description": "One MP4, or pictures"},
        },
        "required": [_REQUEST_PART],
        "minProperties": 2,
    },
    {
        _REQUEST_PART: "application/json",
        "external": f"video/mp4, {_PICTURES}",
        "wrist": f"video/mp4, {_PICTURES}",
    },
)
_STEP_BODY = _multipart(
    {
        "properties": {"external": _FILE, "wrist": _FILE},
        "minProperties": 1,
        "additionalProperties": False,
    },
    {"external": _PICTURES, "wrist": _PICTURES},
)


@_open.get("/health")
async def health() -> Health:
    """Whether the process answers at all."""
    return Health(status="alive")


@_open.get("/ready")
async def ready(service: Served) -> Health:
    """Whether new work is taken; 503 while the server is stopping."""
    if service.draining:
        raise refusal(503, "stopping; accepted work is being finished")
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
    async with _place(request, service, "score"):
        fields, uploads = await _read_form(request, service)
        asked = _parse_request(fields)
        model_id, scores = await service.score(asked, uploads, request_id)
    return ScoreReply(model_id=model_id, episodes=[EpisodeReply.of(s) for s in scores])


@_guarded.post("/v1/sessions", status_code=201)
async def open_session(
    asked: SessionRequest, service: Served, request_id: RequestId = None
) -> SessionReply:
    """Begin an episode whose frames will come one by one."""
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
    async with _place(request, service, "step"):
        with service.sessions.using(session_id) as session:
            fields, uploads = await _read_form(request, service)
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


@asynccontextmanager
async def _place(request: Request, service: Service, kind: str) -> AsyncIterator[None]:
    """Hold a place in the queue while a request is read, decoded and judged; 429 if full."""
    if service.is_full(kind):
        # Reading what is on its way lets the client see the answer instead of a broken connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(service.settings.upload_timeout_s):
                async for _ in request.stream():
                    pass
        raise refusal(429, "as many requests as the queue holds are waiting; come back later")
    with service.place(kind):
        yield


async def _read_form(request: Request, service: Service) -> tuple[dict[str, str], list[Upload]]:
    """Receive a multipart body: its texts by name, and its files in their order."""
    settings = service.settings
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise refusal(415, "expected multipart/form-data with a file for each view")
    n_files = 2 * settings.max_episodes * settings.max_frames
    try:
        async with (
            asyncio.timeout(settings.upload_timeout_s),
            request.form(max_files=n_files, max_fields=16) as form,
        ):
            return await _sorted_parts(form.multi_items())
    except TimeoutError as error:
        raise refusal(408, f"no whole body within {settings.upload_timeout_s:g} s") from error
    except ClientDisconnect:
        service.n_gone += 1
        raise


async def _sorted_parts(parts: Any) -> tuple[dict[str, str], list[Upload]]:
    texts: dict[str, str] = {}
    uploads: list[Upload] = []
    for name, part in parts:
        if not isinstance(part, UploadFile):
            texts[name] = part
        elif name == _REQUEST_PART:
            texts[name] = (await part.read()).decode(errors="replace")
        else:
            kind = (part.content_type or "").partition(";")[0].strip().lower()
            uploads.append(Upload(name, kind, await part.read()))
    return texts, uploads


def _parse_request(fields: dict[str, str]) -> ScoreRequest:
    if _REQUEST_PART not in fields:
        raise refusal(422, 'no part called request; expected {"episodes": [{"task": "..."}]}')
    try:
        return ScoreRequest.model_validate_json(fields[_REQUEST_PART])
    except ValidationError as error:
        raise refusal(422, f"request: {_complaint(error.errors()[0])}") from error


def _complaint(first: Any) -> str:
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": _complaint(error.errors()[0])}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the model failed: {error}"}, 500)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
