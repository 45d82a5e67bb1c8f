"""Requests and tokens per minute that the LLM account allows this process.

Own code, because what a call uses is known only after it: limiter libraries count what is taken and take nothing
back, and refuse to hand out more than a bucket holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from visibility.settings import LlmSettings

BURST = 0.1  # of a minute's amount may be taken at once, the rest flows: no minute gets more than its amount
OUTPUT_TOKENS = 400  # expected of a call
CHARACTERS_PER_TOKEN = 4
NOTHING = 1e-6  # what clocks and floats leave over

Clock = Callable[[], float]


class TokenBucket:
    """Allows so much in any minute, in the order of asking. One that is larger than the bucket waits until it is full.

    The estimate may be corrected after the fact: a bucket in debt makes the next ones wait.
    """

    def __init__(self, per_minute: float, clock: Clock = time.monotonic) -> None:
        self._most = max(1.0, per_minute * BURST)
        self._per_second = max(per_minute - self._most, per_minute * BURST) / 60
        self._level = self._most
        self._clock = clock
        self._seen = clock()
        self._queue = asyncio.Lock()

    async def take(self, amount: float) -> None:
        """Wait until the amount is there, and take it."""
        async with self._queue:
            needed = min(amount, self._most)
            while True:  # once more where a correction has taken what was waited for
                missing = needed - self._refilled()
                if missing <= NOTHING:
                    break
                await asyncio.sleep(missing / self._per_second)
            self._level -= amount

    def correct(self, amount: float) -> None:
        """Take more, or give back when negative, without waiting."""
        self._level = min(self._most, self._refilled() - amount)

    def _refilled(self) -> float:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._seen) * self._per_second)
        self._seen = now
        return self._level


class Usage:
    """What one call uses; `tokens` is set when the reply tells."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens


class Allowance:
    """This process's part of what the account is allowed; without a limit nothing waits."""

    def __init__(self, settings: LlmSettings, shards: int = 1, clock: Clock = time.monotonic) -> None:
        requests, tokens = settings.llm_requests_per_minute, settings.llm_tokens_per_minute
        self._requests = TokenBucket(requests / shards, clock) if requests else None
        self._tokens = TokenBucket(tokens / shards, clock) if tokens else None

    @asynccontextmanager
    async def call(self, characters: int) -> AsyncIterator[Usage]:
        """Wait until a call with so many characters is allowed; what it really used is set on the usage.

        A call that fails keeps its estimate: the vendor may have counted it.
        """
        estimate = characters // CHARACTERS_PER_TOKEN + OUTPUT_TOKENS
        if self._requests:
            await self._requests.take(1)
        if self._tokens:
            await self._tokens.take(estimate)
        usage = Usage(estimate)
        try:
            yield usage
        finally:
            if self._tokens:
                self._tokens.correct(usage.tokens - estimate)
