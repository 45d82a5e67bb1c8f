"""Structured calls to OpenAI or Azure OpenAI: one retry layer, a circuit breaker, every billed call accounted for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import stamina
from pydantic import BaseModel

from visibility.domain import LlmCall
from visibility.errors import (
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
    RetryableError,
    UnusableReply,
)
from visibility.llm.allowance import Allowance
from visibility.llm.batched import BatchedCalls, BatchedReply
from visibility.llm.catalog import ModelPrice, known_model
from visibility.llm.endpoint import endpoint_of
from visibility.llm.replies import Parsed, billed_call, parsed_reply, response_format, system_message
from visibility.llm.translation import translated
from visibility.settings import LlmSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion
    from purgatory import AsyncCircuitBreakerFactory
    from purgatory.domain.model import ExcludeType
    from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

MAX_OUTPUT_TOKENS = 16_000  # reasoning counts as output; far above any honest reply, so only a runaway is cut off
MAX_WAIT_SECONDS = 60.0
BREAKER_FAILURES = 10  # in a row: a fault rate of 20 % reaches it once in ten million calls
BREAKER_SECONDS = 15.0
REFUSAL_SECONDS = 30.0

BATCHED_PURPOSES = frozenset({"evaluation", "brands", "mention"})  # names are needed at once

SLOW_TO_IMPORT = ("openai", "openai.types.chat", "purgatory")


class LlmClient:
    """One per process and event loop; `settings` are checked on construction, nothing is sent before `parse`.

    `shards` processes share the requests and tokens per minute that the settings name. With `batched` calls about
    answers go through it, and are made directly where it brings no reply.
    Raises ConfigurationError for a missing key, half an Azure configuration and an unknown or dead model.
    """

    def __init__(
        self,
        settings: LlmSettings,
        *,
        shards: int = 1,
        batched: BatchedCalls | None = None,
        today: date | None = None,
        breaker_failures: int = BREAKER_FAILURES,
        breaker_seconds: float = BREAKER_SECONDS,
    ) -> None:
        self.settings = settings
        self._batched = batched
        self._endpoint = endpoint_of(settings)
        day = today or datetime.now(UTC).date()
        roles = {settings.evaluation_model, settings.brands_model, settings.names_model}
        self._models = {name: known_model(name, day) for name in roles}
        self._allowance = Allowance(settings, shards)
        self._slots = asyncio.Semaphore(settings.llm_concurrency)
        self._breaker_limits = breaker_failures, breaker_seconds
        self._breakers: AsyncCircuitBreakerFactory | None = None
        self._refusal: tuple[float, ProviderRefused] | None = None
        self._sdk: AsyncOpenAI | None = None

    async def parse(
        self,
        purpose: str,
        model: str,
        system: str,
        user: str,
        schema: type[Parsed],
        *,
        cache_key: str | None = None,
        directly: bool = False,
    ) -> tuple[Parsed, LlmCall]:
        """Ask `model` for a reply that fits `schema`, `directly` by no batch; return it with what the call cost.

        Raises UnusableReply (paid, carries the call) for a refusal, a cut-off or a reply that breaks the schema;
        RetryableError when retries are used up or the circuit is open; ProviderRefused for key, quota or model;
        ItemError for a request that the vendor does not accept.
        """
        await _import_libraries()
        price = self._models.get(model) or known_model(model, datetime.now(UTC).date())
        request = self._request(price, system, user, schema, cache_key or purpose)
        if self._batched is not None and purpose in BATCHED_PURPOSES and not directly:
            reply = await self._batched.ask(request)
            if reply is not None:
                return self._parsed_batched(self._batched, reply, purpose, price, schema)
        completion, latency_seconds = await self._send(request)
        call = billed_call(purpose, price, completion, latency_seconds)
        return parsed_reply(completion, schema, call), call

    def _parsed_batched(
        self, batched: BatchedCalls, reply: BatchedReply, purpose: str, price: ModelPrice, schema: type[Parsed]
    ) -> tuple[Parsed, LlmCall]:
        from openai.types.chat import ChatCompletion

        completion = ChatCompletion.construct(**reply.completion)
        call = billed_call(purpose, price.batched(), completion, reply.latency_seconds, reply.call_id)
        try:
            return parsed_reply(completion, schema, call), call
        except UnusableReply:
            batched.spend(reply)
            raise

    async def close(self) -> None:
        """Close the connections."""
        if self._batched is not None:
            await self._batched.close()
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    async def __aenter__(self) -> LlmClient:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def _request(
        self, price: ModelPrice, system: str, user: str, schema: type[BaseModel], cache_key: str
    ) -> dict[str, Any]:
        breakpoints = price.explicit_cache and self._endpoint.deployment is None  # Azure does not document them
        body: dict[str, Any] = {
            "model": self._endpoint.deployment or price.name,
            "messages": [system_message(system, breakpoint_after=breakpoints), {"role": "user", "content": user}],
            "response_format": response_format(schema),
            "max_completion_tokens": MAX_OUTPUT_TOKENS,
            "prompt_cache_key": cache_key,
        }
        if breakpoints:
            body["prompt_cache_options"] = {"mode": "explicit"}
        if price.reasoning_effort is not None:
            body["reasoning_effort"] = price.reasoning_effort
        if price.temperature:
            body["temperature"] = 0
        return body

    async def _send(self, request: dict[str, Any]) -> tuple[ChatCompletion, float]:
        """One call with its retries; a slot is held while a request is on its way, not while waiting to repeat it.

        The seconds are those of the request that was answered.
        """
        size = sum(len(str(message["content"])) for message in request["messages"])
        async for attempt in stamina.retry_context(
            on=_wait_before_retry,
            attempts=self.settings.llm_max_attempts,
            timeout=None,
            wait_initial=self.settings.llm_backoff_seconds,
            wait_jitter=self.settings.llm_backoff_seconds,
            wait_max=MAX_WAIT_SECONDS,
        ):
            with attempt:
                async with self._slots, self._circuit(), self._allowance.call(size) as usage:
                    started = time.monotonic()
                    completion = await self._post(request)
                    usage.tokens = completion.usage.total_tokens if completion.usage else usage.tokens
                    return completion, time.monotonic() - started
        raise AssertionError("stamina always returns or raises")

    @asynccontextmanager
    async def _circuit(self) -> AsyncIterator[None]:
        """Fail at once while the vendor is down, or has just refused this account: no request is made."""
        from purgatory.domain.model import OpenedState

        if self._refusal is not None and time.monotonic() - self._refusal[0] < REFUSAL_SECONDS:
            raise ProviderRefused(self._refusal[1].message, code=self._refusal[1].code)
        try:
            async with await self._breaker():
                yield
        except OpenedState:
            raise ProviderUnavailable(
                "The LLM failed repeatedly and is left alone for a moment.", sent=False, code="llm_circuit_open"
            ) from None
        except ProviderRefused as refusal:
            self._refusal = (time.monotonic(), refusal)
            raise

    async def _breaker(self) -> AsyncCircuitBreaker:
        if self._breakers is None:
            from purgatory import AsyncCircuitBreakerFactory  # 0.4 s to import, it brings redis

            exclude: ExcludeType = [(BaseException, _is_no_outage)]
            self._breakers = AsyncCircuitBreakerFactory(*self._breaker_limits, exclude=exclude)
        return await self._breakers.get_breaker("llm")

    async def _post(self, request: dict[str, Any]) -> ChatCompletion:
        from openai.types.chat import ChatCompletion

        with translated():
            # the SDK's own time-out is per read: a body that trickles in would never reach it
            async with asyncio.timeout(self.settings.llm_timeout_seconds):
                # not `chat.completions.create`, which walks 40 typed parameters: 0.7 ms of CPU a call
                completion = await self._connected().post("/chat/completions", body=request, cast_to=ChatCompletion)
        if not isinstance(completion, ChatCompletion):  # the SDK returns other content types as plain text
            raise ProviderUnavailable("The LLM's response is not a completion.", code="llm_broken_response")
        return completion

    def _connected(self) -> AsyncOpenAI:
        if self._sdk is None:
            # 0.8 s to import: not for those who only ask for --help
            from openai import AsyncOpenAI, DefaultAioHttpClient

            self._sdk = AsyncOpenAI(
                base_url=self._endpoint.base_url,
                api_key=self._endpoint.key,
                default_headers={"api-key": self._endpoint.key} if self._endpoint.deployment else None,
                timeout=self.settings.llm_timeout_seconds,
                max_retries=0,
                # httpx2's own pool looks at every connection for every request: 1 ms of CPU a call with 256 slots
                http_client=DefaultAioHttpClient(),
            )
        return self._sdk


async def _import_libraries() -> None:
    """Import what is slow to import (a second) in a thread, so that meanwhile questions can be asked."""
    if not all(name in sys.modules for name in SLOW_TO_IMPORT):
        await asyncio.to_thread(lambda: [import_module(name) for name in SLOW_TO_IMPORT])


def _wait_before_retry(error: Exception) -> bool | float:
    """Tell stamina whether to try again, and how long to wait where the vendor said so."""
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        return error.retry_after_seconds if error.retry_after_seconds <= MAX_WAIT_SECONDS else False
    return isinstance(error, RetryableError) and error.code != "llm_circuit_open"


def _is_no_outage(error: BaseException) -> bool:
    return not isinstance(error, ProviderUnavailable)
