"""How a request comes in: its token, its place in the queue, its parts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from sole.serve.messages import MAX_TASK_CHARACTERS, Refusal
from sole.serve.pictures import Upload
from sole.serve.refusal import refusal
from sole.serve.service import Service

REQUEST_PART = "request"
FILE = {"type": "string", "format": "binary"}
PICTURES = "image/png, image/jpeg"
FILES = {"type": "array", "items": FILE, "minItems": 1, "description": "One MP4, or pictures"}
_MAX_ID_CHARACTERS = 200
#: Of a body that holds a task and little else; a character takes 12 bytes at most (two escapes).
_MAX_JSON_BYTES = 16 * MAX_TASK_CHARACTERS
Asked = TypeVar("Asked", bound=BaseModel)


def _service(request: Request) -> Service:
    return request.app.state.service


def authorised(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    """Let a request pass that carries the token, if there is one.

    Raises:
        HTTPException: 401 otherwise.
    """
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
GUARDED = [Depends(authorised)]
RequestId = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=_MAX_ID_CHARACTERS,
        description="A request sent again under the same id is answered again, not done again.",
    ),
]


def refusals(shape: type[BaseModel] = Refusal) -> dict[int | str, dict[str, Any]]:
    """What the schema says of a route's errors; ``shape`` is how they are written."""
    return {
        "4XX": {"model": shape, "description": "Refused: what came, what is expected"},
        "5XX": {"model": shape, "description": "The model failed, or the server is stopping"},
    }


def multipart_body(schema: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """A multipart body for the schema: its parts, and the content type of each."""
    encoding = {name: {"contentType": kind} for name, kind in types.items()}
    content = {
        "multipart/form-data": {"schema": {"type": "object", **schema}, "encoding": encoding}
    }
    return {"requestBody": {"required": True, "content": content}}


@asynccontextmanager
async def place_for(request: Request, service: Service, kind: str) -> AsyncIterator[None]:
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


@asynccontextmanager
async def patience(service: Service) -> AsyncIterator[None]:
    """Give up a body that does not come (408), and count clients that leave meanwhile."""
    limit_s = service.settings.upload_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise refusal(408, f"no whole body within {limit_s:g} s") from error
    except ClientDisconnect:
        service.n_gone += 1
        raise


async def read_form(request: Request, service: Service) -> tuple[dict[str, str], list[Upload]]:
    """Receive a multipart body: its texts by name, and its files in their order."""
    settings = service.settings
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise refusal(415, "expected multipart/form-data with a file for each view")
    n_files = 2 * settings.max_episodes * settings.max_frames
    async with patience(service), request.form(max_files=n_files, max_fields=16) as form:
        return await _sorted_parts(form.multi_items())


async def _sorted_parts(parts: Any) -> tuple[dict[str, str], list[Upload]]:
    texts: dict[str, str] = {}
    uploads: list[Upload] = []
    for name, part in parts:
        if not isinstance(part, UploadFile):
            texts[name] = part
        elif name == REQUEST_PART:
            texts[name] = (await part.read()).decode(errors="replace")
        else:
            kind = (part.content_type or "").partition(";")[0].strip().lower()
            uploads.append(Upload(name, kind, await part.read()))
    return texts, uploads


def parse_request(kind: type[Asked], fields: Mapping[str, str], example: str) -> Asked:
    """Read the JSON of the part called ``request``; ``example`` is shown where it is missing.

    Raises:
        HTTPException: 422 with the field that is wrong.
    """
    if REQUEST_PART not in fields:
        raise refusal(422, f"no part called {REQUEST_PART}; expected {example}")
    try:
        return kind.model_validate_json(fields[REQUEST_PART])
    except ValidationError as error:
        raise refusal(422, f"request: {complaint(error.errors()[0])}") from error


async def read_json(kind: type[Asked], request: Request, service: Service) -> Asked:
    """Receive a small JSON body.

    Raises:
        HTTPException: 413 if it is large, 415 for another type, 422 with the field that is wrong.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise refusal(415, "expected a body of type application/json")
    body = bytearray()
    async with patience(service):
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_JSON_BYTES:
                raise refusal(413, f"the body: expected at most {_MAX_JSON_BYTES} bytes")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        raise refusal(422, f"body: {complaint(error.errors()[0])}") from error


def complaint(first: Any) -> str:
    """One of pydantic's errors on one line: where, and what."""
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
