"""A route for tools that speak OpenAI's chat protocol; what it takes: :mod:`openai_messages`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError

from sole.data.episode import StepScore
from sole.errors import ModelError
from sole.serve.intake import GUARDED, Served, complaint, patience, place_for, refusals
from sole.serve.messages import EpisodeRequest, ScoreRequest, StepReply
from sole.serve.openai_messages import (
    FORM,
    ChatReply,
    ChatRequest,
    Choice,
    ErrorBody,
    ErrorReply,
    Listed,
    ModelList,
    read_message,
    spoken,
)
from sole.serve.pictures import Upload
from sole.serve.service import Service
from sole.serve.stream import EVENT_STREAM

BODIES = (ChatRequest,)
_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
#: What the decoders say of a picture; OpenAI knows only one status for a request that is wrong.
_PICTURE_REFUSED = frozenset({413, 415, 422})
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}},
    }
}
_ANSWER = {
    "description": "One answer; with stream, its chunks as OpenAI writes them",
    "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
}


class _Route(APIRoute):
    """A route whose errors have OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, with errors written anew."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except HTTPException as error:
                param = "model" if error.status_code == 404 else None
                return _error(error.status_code, str(error.detail), param, error.headers)
            except RequestValidationError as error:
                return _error(400, complaint(error.errors()[0]))
            except ModelError as error:
                return _error(500, f"the model failed: {error}")

        return answer


routes = APIRouter(
    prefix="/v1", responses=refusals(ErrorReply), dependencies=GUARDED, route_class=_Route
)


@routes.get("/models")
async def models(service: Served) -> ModelList:
    """What can be asked, in OpenAI's form."""
    began = int(service.began_s)
    return ModelList(data=[Listed(id=name, created=began) for name in _ways(service)])


@routes.post(
    "/chat/completions",
    response_model=ChatReply,
    responses={200: _ANSWER},
    openapi_extra=_BODY,
)
async def chat(request: Request, service: Served) -> Response:
    """Judge the last of the pictures of one user message.

    The pictures are moments in time order, the first one where the task began: first and current,
    or any number between them. With the line `Views: external, wrist` in the text, each moment is
    a pair. The rest of the text is the task.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(400, "expected a body of type application/json")
    async with place_for(request, service, "score"):
        async with patience(service):
            body = await request.body()
        asked, task, uploads = await service.aside(lambda: _read(body))
        step, model_id = await _judge(service, asked.model, task, uploads)
    reply = ChatReply(
        id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=model_id,
        choices=[Choice(message=spoken(step))],
        score=StepReply.of(step),
    )
    if asked.stream:
        return Response(_chunks(reply), media_type=EVENT_STREAM)
    return JSONResponse(reply.model_dump())


def _read(body: bytes) -> tuple[ChatRequest, str, list[Upload]]:
    try:
        asked = ChatRequest.model_validate_json(body)
        return asked, *read_message(asked.messages[0])
    except ValidationError as error:
        raise HTTPException(400, f"{complaint(error.errors()[0])}; {FORM}") from error
    except ValueError as error:
        raise HTTPException(400, f"{error}; {FORM}") from error


async def _judge(
    service: Service, name: str, task: str, uploads: list[Upload]
) -> tuple[StepScore, str]:
    ways = _ways(service)
    if name not in ways:
        raise HTTPException(404, f"model {name[:80]!r}: not served; there are {', '.join(ways)}")
    asked = ScoreRequest(episodes=[EpisodeRequest(task=task)], think=ways[name])
    try:
        model_id, scores = await service.score(asked, uploads, None)
    except HTTPException as error:
        status = 400 if error.status_code in _PICTURE_REFUSED else error.status_code
        raise HTTPException(status, error.detail, error.headers) from error
    return scores[0].steps[-1], model_id


def _ways(service: Service) -> dict[str, bool | None]:
    """By model id, whether it thinks; the usual one first."""
    usual: dict[str, bool | None] = {service.usual.model_id: None}
    return usual | {model.model_id: way == "think" for way, model in service.models.items()}


def _chunks(reply: ChatReply) -> str:
    """The whole answer as events: it is judged at once, so it also comes at once."""
    head = {
        "id": reply.id,
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
    }
    message = reply.choices[0].message.model_dump()
    last = {"score": reply.score.model_dump()}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **last},
    ]
    return "".join(f"data: {text}\n\n" for text in [*map(json.dumps, chunks), "[DONE]"])


def _error(
    status: int, message: str, param: str | None = None, headers: Any = None
) -> JSONResponse:
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = ErrorBody(message=message, type=kind, param=param, code=_CODES.get(status))
    return JSONResponse(ErrorReply(error=body).model_dump(), status, headers)
