"""A model behind an OpenAI-compatible address as a :class:`sole.models.backend.Backend`.

Requests run in a few threads. What fails in passing (a limit, an overload, a lost connection) is
tried again after a growing, random pause, or when the endpoint says. A prompt that is still not
answered is an error of that prompt; an endpoint that cannot be reached at all, or refuses the key
or the model, stops everything, because nothing would be answered.

The key comes from the environment, goes into one header, and is written nowhere else.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import Any

import httpx
import numpy as np

from sole.errors import ConfigError, ModelError, ServerError, SoleError
from sole.models.api.address import Address
from sole.models.api.wire import (
    TOP_LOGPROBS,
    read_error,
    read_first_token,
    read_reply,
    write_messages_json,
)
from sole.models.backend import Capabilities, Generated, Prompt

log = logging.getLogger(__name__)
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that another try may mend."""
FOR_ALL = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})
"""Statuses that no prompt would escape."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
CONNECT_S = 10.0
SEED = 0


@dataclass
class Usage:
    """What an endpoint was asked and says it counted.

    Attributes:
        requests: Tries, retries included.
        retries: Tries after a failed one.
        failures: Prompts that were not answered in the end.
        prompt_tokens, completion_tokens: As the endpoint reports them.
    """

    requests: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def price(self, prompt_per_million: float, completion_per_million: float) -> float:
        """What that costs, in the currency of the two prices per million tokens.

        Example:
            >>> Usage(prompt_tokens=2_000_000, completion_tokens=500_000).price(1.0, 4.0)
            4.0
        """
        parts = self.prompt_tokens * prompt_per_million
        return (parts + self.completion_tokens * completion_per_million) / 1e6


@dataclass(frozen=True)
class _Outcome:
    """The body of an answer, or why there will be none."""

    body: Mapping[str, Any]
    error: str | None = None


@dataclass(frozen=True)
class _Passing:
    """A failure that another try may mend, after a wait if the endpoint asked for one."""

    error: str
    wait_s: float = 0.0
    unreachable: bool = False


class OpenAIBackend:
    """Asks one model of one endpoint: temperature 0 and a fixed seed, where it takes them.

    Args:
        address: Where it is, and how it is asked.
        key: Sent as a bearer token; None takes it from ``address.key_variable``, if it is set.
        sleep: Waits so many seconds; None waits too, but ends when all is stopped.

    Raises:
        ConfigError: If the variable holds what cannot be a key.

    Attributes:
        usage: Requests and tokens so far.
    """

    capabilities = Capabilities(logprobs="first_token", plain=False)

    def __init__(
        self,
        address: Address,
        *,
        key: str | None = None,
        sleep: Callable[[float], None] | None = None,
    ):
        self.address, self.usage = address, Usage()
        self.model_id = f"{address.model}@{address.host}"
        self._key = key or _read_key(address.key_variable)
        self._sleep, self._lock = sleep, threading.Lock()
        self._left_out: frozenset[str] = frozenset()
        self._reached = False
        self._jitter = random.Random()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(address.timeout_s, connect=min(CONNECT_S, address.timeout_s)),
            limits=httpx.Limits(max_connections=address.concurrency),
        )
        weakref.finalize(self, self._client.close)  # Reward models have no end of their own.

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[Generated]:
        """Reply to each prompt; one that is not answered in the end has an error.

        Raises:
            ServerError: If the endpoint cannot be reached, or refuses the key or the model.
            ModelError: If a prompt is plain text, which a chat endpoint cannot continue.
        """
        outcomes = self._ask_all(prompts, {"max_tokens": max_new_tokens})
        return [
            Generated("", error=one.error) if one.error else read_reply(one.body)
            for one in outcomes
        ]

    def logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[str]) -> np.ndarray:
        """Log-probability of each candidate as the first token of the reply.

        NaN where a candidate is not among the 20 likeliest tokens, or a prompt got no answer.

        Raises:
            ServerError: If the endpoint cannot be reached, or refuses the key or the model.
            ModelError: If it gives no probabilities, or a prompt is plain text.
        """
        wanted = {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        found = np.full((len(prompts), len(candidates)), np.nan)
        for i, one in enumerate(self._ask_all(prompts, wanted)):
            if one.error:
                continue
            row = read_first_token(one.body, candidates)
            if row is None:
                raise ModelError(
                    f"{self.model_id}: this endpoint gives no probabilities (logprobs); use a "
                    "reward model that reads words"
                )
            found[i] = row
        return found

    def _ask_all(self, prompts: Sequence[Prompt], settings: Mapping[str, Any]) -> list[_Outcome]:
        if any(not prompt.chat for prompt in prompts):
            raise ModelError(f"{self.model_id}: a chat endpoint cannot continue a plain text")
        stop = threading.Event()
        found: dict[int, _Outcome] = {}

        def ask(i: int) -> tuple[int, _Outcome]:
            try:
                return i, self._ask(prompts[i], settings, stop)
            except SoleError:  # Refused for all: nobody needs to ask or wait any more.
                stop.set()
                raise

        # When all are refused, or the user stops, nothing waits for what is still under way, not
        # even the end of Python (as it would for the threads of a ThreadPoolExecutor).
        pool = ThreadPool(max(1, min(self.address.concurrency, len(prompts))))
        try:
            found.update(pool.imap_unordered(ask, range(len(prompts))))
        finally:
            stop.set()
            pool.close()
        return [found[i] for i in range(len(prompts))]

    def _ask(self, prompt: Prompt, settings: Mapping[str, Any], stop: threading.Event) -> _Outcome:
        """Ask until there is an answer; after ``stop`` nobody looks at what this returns."""
        messages = write_messages_json(prompt)
        failed = _Passing("")
        for tries in range(self.address.retries + 1):
            if tries:
                self._wait(self._pause_s(tries - 1, failed.wait_s), stop)
            if stop.is_set():
                return _Outcome({}, "stopped")
            outcome = self._try(messages, settings, again=tries > 0)
            if isinstance(outcome, _Outcome):
                return outcome
            failed = outcome
            if failed.unreachable and not self._reached:
                break  # Most likely the address is wrong; that is to be said at once.
        if failed.unreachable:
            raise ServerError(f"{self.model_id}: cannot be reached at {self.address.url}")
        return self._give_up(failed.error)

    def _try(
        self, messages: list[dict[str, Any]], settings: Mapping[str, Any], *, again: bool
    ) -> _Outcome | _Passing:
        """Ask once, or once more without a setting that the model does not take."""
        left_out = self._left_out
        with self._lock:
            self.usage.requests += 1
            self.usage.retries += again
        payload = self._payload(messages, settings, left_out)
        try:
            answer = self._client.post(f"{self.address.url}/chat/completions", json=payload)
        except httpx.RequestError as error:
            unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return _Passing(f"no answer ({type(error).__name__})", unreachable=unreachable)
        self._reached = True
        body = _json(answer)
        if answer.status_code == 200:
            if not isinstance(body, Mapping):
                return self._give_up("200: no JSON")
            self._count(body)
            return _Outcome(body)
        error, parameter = read_error(body, answer.status_code, self._key)
        if answer.status_code in {400, 422} and self._leave_out(parameter, left_out):
            return self._try(messages, settings, again=True)
        if answer.status_code in FOR_ALL:
            raise ServerError(self._say_for_all(error, answer.status_code))
        if answer.status_code in PASSING:
            return _Passing(error, _seconds(answer.headers.get("Retry-After")))
        return self._give_up(error)

    def _give_up(self, error: str) -> _Outcome:
        with self._lock:
            self.usage.failures += 1
        return _Outcome({}, f"the endpoint did not answer: {error}")

    def _payload(
        self, messages: list[dict[str, Any]], settings: Mapping[str, Any], left_out: frozenset[str]
    ) -> dict[str, Any]:
        payload = {"model": self.address.model, "messages": messages, "temperature": 0, **settings}
        payload["seed"] = SEED
        if "max_tokens" in left_out:
            payload["max_completion_tokens"] = payload["max_tokens"]
        return {name: value for name, value in payload.items() if name not in left_out}

    def _leave_out(self, parameter: str | None, sent_without: frozenset[str]) -> bool:
        """Do without a setting from now on, if it is one of ours and was sent."""
        if parameter not in {"max_tokens", "temperature", "seed"} or parameter in sent_without:
            return False
        with self._lock:
            if parameter not in self._left_out:
                self._left_out |= {parameter}
                if parameter != "max_tokens":  # That one only has another name.
                    log.warning("%s takes no %s: replies may vary", self.model_id, parameter)
        return True

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        if self._sleep is None:
            stop.wait(seconds)
        else:
            self._sleep(seconds)

    def _pause_s(self, tries: int, asked_s: float) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**tries)
        return min(LONGEST_PAUSE_S, max(longest * (0.5 + 0.5 * self._jitter.random()), asked_s))

    def _count(self, body: Mapping[str, Any]) -> None:
        usage = body.get("usage")
        if not isinstance(usage, Mapping):
            return
        asked, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        with self._lock:
            self.usage.prompt_tokens += asked if isinstance(asked, int) else 0
            self.usage.completion_tokens += written if isinstance(written, int) else 0

    def _say_for_all(self, error: str, status: int) -> str:
        hint = {
            401: f"; set {self.address.key_variable} to its key",
            403: f"; set {self.address.key_variable} to a key that may use this model",
            404: "; check the address (it usually ends in /v1) and the model's name after #",
        }
        return f"{self.model_id}: the endpoint refuses ({error}){hint.get(status, '')}"


def _read_key(variable: str) -> str | None:
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{variable}: holds characters that no key has; copy it again")
    return key or None


def _json(answer: httpx.Response) -> Any:
    """The answer's JSON; None for a proxy's page or half an answer."""
    try:
        return answer.json()
    except ValueError:
        return None


def _seconds(retry_after: str | None) -> float:
    """What a Retry-After header says: seconds, or a date; 0 if it says neither."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
