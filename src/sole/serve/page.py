"""The page at ``/``: somebody drops a film, and watches the model judge it."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from sole import samples
from sole.serve.intake import (
    FILE,
    FILES,
    GUARDED,
    PICTURES,
    REQUEST_PART,
    Served,
    multipart_body,
    parse_request,
    place_for,
    read_form,
    refusals,
)
from sole.serve.messages import StreamEnd, StreamRequest, StreamStart, StreamStep
from sole.serve.pictures import VIDEO
from sole.serve.stream import BOTH, EVENT_STREAM, EventStream, Watching, decode_clip

BODIES = (StreamRequest, StreamStart, StreamStep, StreamEnd)
_ASSETS = Path(__file__).parent / "assets"
_KINDS = dict.fromkeys(("external", "wrist", BOTH), f"{VIDEO}, {PICTURES}")
_STREAM_BODY = multipart_body(
    {
        "properties": {
            REQUEST_PART: {"$ref": "#/components/schemas/StreamRequest"},
            **dict.fromkeys(_KINDS, FILES),
        },
        "required": [REQUEST_PART],
        "minProperties": 2,
    },
    {REQUEST_PART: "application/json", **_KINDS},
)
_EVENTS = {
    "description": "Events start (StreamStart), step (StreamStep) for each judged frame, then end "
    "(StreamEnd) or error (Refusal); the data of each is JSON on one line",
    "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
}
_CLIP = {
    "description": "An MP4 of both views side by side",
    "content": {VIDEO: {"schema": FILE}},
    "headers": {
        "Sole-Task": {"schema": {"type": "string"}, "description": "Its task, percent-encoded"},
        "Sole-Layout": {"schema": {"type": "string"}, "description": "Always side-by-side"},
    },
}
routes = APIRouter()
guarded = APIRouter(responses=refusals(), dependencies=GUARDED)


@routes.get("/", response_class=HTMLResponse)
async def page() -> Response:
    """A page to try the model in a browser; it asks for the token if there is one."""
    text, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(text, headers=headers)


@guarded.get("/v1/example", response_class=Response, responses={200: _CLIP})
async def example() -> Response:
    """The clip that ships with the package; the header Sole-Task says what the robot shall do."""
    headers = {"Sole-Task": quote(samples.TASK), "Sole-Layout": "side-by-side"}
    return FileResponse(samples.path(), media_type=VIDEO, headers=headers)


@guarded.post(
    "/v1/stream", response_class=Response, responses={200: _EVENTS}, openapi_extra=_STREAM_BODY
)
async def stream(request: Request, service: Served) -> Response:
    """Judge one episode and tell each frame's score as soon as it is there (server-sent events).

    What is wrong with the request is answered as on the other routes, before the first event.
    """
    async with place_for(request, service, "score"):
        fields, uploads = await read_form(request, service)
        asked = parse_request(StreamRequest, fields, '{"task": "..."}')
        clip = await service.aside(lambda: decode_clip(asked, uploads, service))
        watching = Watching(service, asked, clip)
    return EventStream(watching.events())


@functools.cache
def _page() -> tuple[str, str]:
    """The page with style and script inside, and the policy that lets only these two run."""
    style, script = ((_ASSETS / name).read_text() for name in ("page.css", "page.js"))
    text = (_ASSETS / "page.html").read_text()
    text = text.replace("/* page.css */", style).replace("/* page.js */", script)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return text, policy


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
