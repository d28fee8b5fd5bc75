"""One episode judged frame by frame while somebody watches, as server-sent events.

Every frame is a job of its own, so that a stream goes into common batches with the sessions of
robots and never keeps them waiting for longer than one step.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi.responses import StreamingResponse
from PIL import Image
from pydantic import BaseModel
from starlette.types import Message, Send

from sole.data.episode import VIEW_NAMES
from sole.data.readers import split_side_by_side
from sole.errors import ModelError, VideoError
from sole.protocol.chain import scored_frames
from sole.serve.batching import StepJob
from sole.serve.messages import Refusal, StreamEnd, StreamRequest, StreamStart, StreamStep
from sole.serve.pictures import PixelBudget, Upload, by_part, decode_view, decode_views
from sole.serve.refusal import refusal
from sole.serve.service import Service
from sole.serve.sessions import OpenSession, begin

_LOG = logging.getLogger(__name__)
EVENT_STREAM = "text/event-stream"
BOTH = "both"
STALLED_S = 30.0
_SHOWN_SIDE_PX = 320
_QUALITY = 82


@dataclass(frozen=True)
class Clip:
    """Decoded views of one episode; ``fps`` is None for pictures, which tell no time."""

    views: Mapping[str, np.ndarray]
    fps: float | None

    @property
    def n_frames(self) -> int:
        """Frames of each view."""
        return len(next(iter(self.views.values())))

    def moment(self, index: int) -> dict[str, np.ndarray]:
        """What every camera saw at one frame."""
        return {name: frames[index] for name, frames in self.views.items()}


def decode_clip(asked: StreamRequest, uploads: Sequence[Upload], service: Service) -> Clip:
    """Decode the views of one episode.

    Raises:
        HTTPException: If a part is missing, refused or of another length than the other.
    """
    parts, settings = by_part(uploads), service.settings
    budget = PixelBudget(settings)
    if asked.layout == "separate":
        names = {name: name for name in VIEW_NAMES if name in parts}
        service.check_views(service.usual, list(names))
        return Clip(*decode_views(names, parts, settings, budget))
    if BOTH not in parts:
        raise refusal(422, f"side-by-side: expected one part called {BOTH}, got {sorted(parts)}")
    frames, fps = decode_view(parts[BOTH], settings, budget)
    try:
        return Clip(split_side_by_side(frames, BOTH), fps)
    except VideoError as error:
        raise refusal(422, str(error)) from error


class Watching:
    """One episode on its way through the model; made before the answer begins.

    Args:
        service: Whose model judges.
        asked: How.
        clip: What.

    Raises:
        HTTPException: 422 if the model cannot judge this way.
    """

    def __init__(self, service: Service, asked: StreamRequest, clip: Clip):
        self._service, self._asked, self._clip = service, asked, clip
        model = service.model_for(asked.think)
        self._opened = OpenSession(model, begin(model, asked.task), time.monotonic())
        self._frames = [int(t) for t in scored_frames(clip.n_frames, asked.every)]

    async def events(self) -> AsyncGenerator[str, None]:
        """The text of all events; holds a place among the whole episodes meanwhile."""
        with self._service.place("score"):
            yield event("start", self._start())
            began = time.perf_counter()
            try:
                for index in self._frames:
                    yield event("step", await self._step(index))
            except ModelError as error:
                yield event("error", Refusal(error=f"the model failed: {error}"))
                return
            finally:
                self._opened.ended = True
            seconds = time.perf_counter() - began
            yield event("end", StreamEnd(n_steps=len(self._frames), seconds=seconds))

    def _start(self) -> StreamStart:
        return StreamStart(
            model_id=self._opened.model.model_id,
            task=self._asked.task,
            views=list(self._clip.views),
            n_frames=self._clip.n_frames,
            scored_frames=self._frames,
            fps=self._clip.fps,
        )

    async def _step(self, index: int) -> StreamStep:
        moment, fps = self._clip.moment(index), self._clip.fps
        job = StepJob(self._opened.model, self._opened, moment)
        _, score = await asyncio.shield(self._service.batcher.submit(job))
        shown = await self._service.aside(lambda: _shown(moment)) if self._asked.pictures else None
        time_s = None if fps is None else index / fps
        return StreamStep(index=index, time_s=time_s, pictures=shown, **vars(score))


def event(kind: str, data: BaseModel) -> str:
    r"""One server-sent event; JSON has no line breaks, so its data is one line.

    Example:
        >>> event("error", Refusal(error="two\nlines"))
        'event: error\ndata: {"error":"two\\nlines"}\n\n'
    """
    return f"event: {kind}\ndata: {data.model_dump_json()}\n\n"


def _shown(moment: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: _jpeg_address(frame) for name, frame in moment.items()}


def _jpeg_address(frame: np.ndarray) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


class EventStream(StreamingResponse):
    """Events as they come; somebody who stops reading them is left, and frees the place.

    Args:
        events: Texts of events.
        stalled_s: How long a reader may take for one of them.
    """

    def __init__(self, events: AsyncGenerator[str, None], stalled_s: float = STALLED_S):
        # Proxies like nginx would else collect the whole answer before they pass it on.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type=EVENT_STREAM, headers=headers)
        self._events, self._stalled_s = events, stalled_s

    async def stream_response(self, send: Send) -> None:
        """Answer; whatever happens, the events have ended afterwards."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._stalled_s):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            _LOG.warning("a stream was given up: nobody read it for %g s", self._stalled_s)
        finally:
            await self._events.aclose()
