"""What the routes work with: the model in its ways of judging, the queue, sessions and counts."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sole import __version__
from sole.data.episode import VIEW_NAMES, Episode, EpisodeScore, StepScore
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import own_threshold
from sole.serve.batching import Batcher, ScoreJob, StepJob
from sole.serve.config import ServeConfig
from sole.serve.messages import Limits, ModelCard, ScoreRequest
from sole.serve.metrics import RequestCounts, exposition
from sole.serve.pictures import PixelBudget, Upload, by_part, decode_moment, decode_views
from sole.serve.refusal import refusal
from sole.serve.sessions import Answers, OpenSession, SessionTable

_DECODERS = 2
_SWEEP_S = 15.0
T = TypeVar("T")


class Service:
    """One served model.

    Args:
        model: Judges; must not be used by anybody else meanwhile.
        settings: Limits and ways of judging.
    """

    def __init__(self, model: RewardModel, settings: ServeConfig):
        self.settings = settings
        self.began_s = time.time()
        self.models = _ways_of_judging(model, settings)
        self.usual = self.models.get("fast") or self.models.get("think") or model
        self.counts = RequestCounts()
        self.sessions = SessionTable(settings.max_sessions, settings.idle_timeout_s)
        self.scored = Answers()
        self.n_refused = self.n_gone = 0
        self._busy = {"step": 0, "score": 0}
        self._room = {"step": settings.max_queue, "score": settings.max_score_queue}
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work from here on; at the end, let what is running end."""
        self.batcher = Batcher(self.settings.max_batch, self.settings.batch_wait_ms / 1000)
        self.batcher.start()
        sweeper = asyncio.get_running_loop().create_task(self._sweep())
        yield
        sweeper.cancel()
        await self.batcher.close()
        self._decoders.shutdown(cancel_futures=True)

    def model_for(self, think: bool | None) -> RewardModel:
        """Who judges when a client asks to think or not; a model with one way has no choice.

        Raises:
            HTTPException: 422 if the server was started for the other way only.
        """
        if think is None or not self.models:
            return self.usual
        wanted = "think" if think else "fast"
        if wanted not in self.models:
            raise refusal(422, f"think: this server was started with --think {self.settings.think}")
        return self.models[wanted]

    def is_full(self, kind: str) -> bool:
        """Whether no further request of this kind (step, score) can be taken; counts refusals."""
        full = self._busy[kind] >= self._room[kind]
        self.n_refused += full
        return full

    @contextmanager
    def place(self, kind: str) -> Iterator[None]:
        """Hold one of the places of this kind."""
        self._busy[kind] += 1
        try:
            yield
        finally:
            self._busy[kind] -= 1

    async def step(
        self, session: OpenSession, uploads: Sequence[Upload], request_id: str | None
    ) -> tuple[int, StepScore]:
        """Judge the next moment of a session; return its index and score.

        Raises:
            HTTPException: If a picture is refused, or a view is missing or new.
            ModelError: If the model fails.
        """
        views, digest = await self._decode(lambda: decode_moment(uploads, self.settings), uploads)
        self.check_views(session.model, list(views))
        session.check_views(views)
        return await session.answers.once(
            request_id, digest, lambda: self.batcher.submit(StepJob(session.model, session, views))
        )

    async def score(
        self, request: ScoreRequest, uploads: Sequence[Upload], request_id: str | None
    ) -> tuple[str, list[EpisodeScore]]:
        """Score whole episodes; return the judging model's id and the scores.

        Raises:
            HTTPException: If the request or its files are refused.
            ModelError: If the model fails.
        """
        model = self.model_for(request.think)
        episodes, digest = await self._decode(lambda: self._episodes(request, uploads), uploads)
        digest += request.model_dump_json().encode()
        scores = await self.scored.once(
            request_id, digest, lambda: self.batcher.submit(ScoreJob(model, episodes))
        )
        return model.model_id, scores

    def card(self) -> ModelCard:
        """What the model is, needs and has spent."""
        config = self.settings
        licence = config.licence or ("Apache-2.0" if config.model == "nano" else "not stated")
        decoding = getattr(self.usual, "decoding", None)
        limits = {name: getattr(config, name) for name in Limits.model_fields}
        return ModelCard(
            model_id=self.usual.model_id,
            models={way: model.model_id for way, model in self.models.items()},
            views=list(self.usual.views),
            known_views=list(VIEW_NAMES),
            licence=licence,
            settings={} if decoding is None else {"from_zero_weight": decoding.from_zero_weight},
            success_thresholds=self._thresholds(),
            needs_whole_episode=getattr(self.usual, "needs_whole_episode", False),
            limits=Limits(**limits),
            costs=self._costs(),
            version=__version__,
        )

    def metrics(self) -> str:
        """Everything that is counted, for Prometheus."""
        batches = self.batcher.counts
        counters: dict[str, tuple[str, float]] = {
            "sole_batches_total": ("Batches that the model judged.", batches.batches),
            "sole_jobs_total": ("Steps and score requests in them.", batches.jobs),
            "sole_failed_jobs_total": ("Those that the model broke at.", batches.failures),
            "sole_refused_total": ("Requests turned away because of a full queue.", self.n_refused),
            "sole_gone_total": ("Clients that left while they sent.", self.n_gone),
            "sole_expired_sessions_total": ("Closed for idleness.", self.sessions.n_expired),
        }
        for name, value in self._costs().items():
            counters[f"sole_model_{name}_total"] = (f"Cost counter {name} of the model.", value)
        gauges: dict[str, tuple[str, float]] = {
            "sole_sessions": ("Open sessions.", len(self.sessions)),
            "sole_waiting_jobs": ("Jobs in the queue.", len(self.batcher)),
            "sole_busy_steps": ("Steps being read, waiting or judged.", self._busy["step"]),
            "sole_busy_scores": ("The same of score requests.", self._busy["score"]),
        }
        return exposition(self.counts, counters, gauges)

    def _thresholds(self) -> dict[str, float]:
        """Of each way of judging, because each has a calibration of its own."""
        found = {m.model_id: own_threshold(m) for m in (self.usual, *self.models.values())}
        return {model_id: at for model_id, at in found.items() if at is not None}

    def _costs(self) -> dict[str, float]:
        all_costs = [vars(m.costs) for m in self.models.values()] or [vars(self.usual.costs)]
        return {name: float(sum(costs[name] for costs in all_costs)) for name in all_costs[0]}

    async def aside(self, do: Callable[[], T]) -> T:
        """Do what takes a while beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, do)

    async def _decode(self, decode: Callable[[], T], uploads: Sequence[Upload]) -> tuple[T, bytes]:
        """Decode beside the event loop; return that, and a digest of what was uploaded."""
        return await self.aside(lambda: (decode(), _digest(uploads)))

    def _episodes(self, request: ScoreRequest, uploads: Sequence[Upload]) -> list[Episode]:
        if len(request.episodes) > self.settings.max_episodes:
            n = len(request.episodes)
            raise refusal(413, f"{n} episodes; expected at most {self.settings.max_episodes}")
        parts = by_part(uploads)
        budget = PixelBudget(self.settings)
        return [
            self._episode(asked.task, asked.views or _own_names(parts), parts, budget)
            for asked in request.episodes
        ]

    def _episode(
        self,
        task: str,
        names: dict[str, str],
        parts: dict[str, list[Upload]],
        budget: PixelBudget,
    ) -> Episode:
        self.check_views(self.usual, list(names))
        views, _ = decode_views(names, parts, self.settings, budget)
        return Episode(task, views)

    def check_views(self, model: RewardModel, names: Sequence[str]) -> None:
        """Refuse views (422) that nobody knows, and an episode that lacks one the model needs."""
        unknown = [name for name in names if name not in VIEW_NAMES]
        if unknown or not names:
            got = f"got {unknown[0]!r}" if unknown else "got none"
            raise refusal(422, f"views: expected some of {', '.join(VIEW_NAMES)}; {got}")
        lacking = [name for name in model.views if name not in names]
        if lacking:
            raise refusal(422, f"views: the model needs {lacking[0]!r}, got {', '.join(names)}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.settings.idle_timeout_s))
            self.sessions.expire()


def _ways_of_judging(model: RewardModel, settings: ServeConfig) -> dict[str, Any]:
    thinking, fast = getattr(model, "thinking", None), getattr(model, "fast", None)
    if thinking is None or fast is None:
        return {}
    ways = {"fast": fast, "think": thinking}
    kept = {"auto": ("fast", "think"), "fast": ("fast",), "always": ("think",)}[settings.think]
    return {way: ways[way]() for way in kept}


def _own_names(parts: dict[str, list[Upload]]) -> dict[str, str]:
    return {name: name for name in VIEW_NAMES if name in parts}


def _digest(uploads: Sequence[Upload]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for upload in uploads:
        digest.update(f"{upload.view}/{upload.content_type}/{len(upload.data)}/".encode())
        digest.update(upload.data)
    return digest.digest()
