"""How often one Bright Data account may be called from this process.

25 answers of 429 within 5 minutes block the caller's address until support lifts it. So after a 429 calls of
the same kind wait their turn, one at a time, and after a few of them none is sent until 5 minutes have passed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from visibility.errors import RateLimited

WINDOW_SECONDS = 300.0
MOST_REFUSALS = 6  # a first one and those after waits of 2, 4, 8, 16 and 32 s
MOST_DOUBLINGS = 4
LONGEST_PATIENCE_SECONDS = 60.0  # a longer Retry-After is not waited for: the runs fail and are asked another time

Clock = Callable[[], float]


class Withheld(RateLimited):
    """The call was not sent, because the vendor has refused too many before it."""


class Budget:
    """Allows so many submissions in any minute."""

    def __init__(self, submissions_per_minute: float, clock: Clock = time.monotonic) -> None:
        self._most = max(1, int(submissions_per_minute))
        self._span_seconds = 60.0 * self._most / submissions_per_minute
        self._clock = clock
        self._spent: deque[float] = deque()

    async def spend(self) -> None:
        """Wait until one more submission keeps within the allowed number, and count it."""
        while True:
            now = self._clock()
            while self._spent and self._spent[0] <= now - self._span_seconds:
                self._spent.popleft()
            if len(self._spent) < self._most:
                self._spent.append(now)
                return
            await asyncio.sleep(self._spent[0] + self._span_seconds - now)

    def give_back(self) -> None:
        """Take back the last submission: nothing was sent."""
        if self._spent:
            self._spent.pop()


class Room:
    """Holds work back when the pieces of all work in memory would get too many; work with more than that goes alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, pieces: int) -> AsyncIterator[None]:
        """Hold so many pieces while the body runs."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held or self._held + pieces <= self._most)
            self._held += pieces
        try:
            yield
        finally:
            self._held -= pieces
            async with self._changed:
                self._changed.notify_all()


class Throttle:
    """The discipline of one kind of call after 429; at most `most_at_once` are under way at any time."""

    def __init__(self, backoff_seconds: float, most_at_once: int, clock: Clock = time.monotonic) -> None:
        self._backoff_seconds = backoff_seconds
        self._clock = clock
        self._at_once = asyncio.Semaphore(most_at_once)
        self._one_at_a_time = asyncio.Lock()
        self._refusals: deque[float] = deque()
        self._in_a_row = 0
        self._not_before = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold for one call. Raises Withheld when the vendor has refused too many calls to dare another."""
        async with self._at_once:
            if not self._in_a_row:
                yield
                return
            async with self._one_at_a_time:
                await self.patience()
                yield

    async def patience(self) -> None:
        """Wait as long as the vendor asked for. Raises Withheld instead of waiting for more than a minute."""
        now = self._clock()
        while self._refusals and self._refusals[0] <= now - WINDOW_SECONDS:
            self._refusals.popleft()
        wait = self._not_before - now
        if len(self._refusals) >= MOST_REFUSALS:
            wait = self._refusals[0] + WINDOW_SECONDS - now
            raise Withheld("Bright Data refused too many calls; nothing is sent for now.", retry_after_seconds=wait)
        if wait > LONGEST_PATIENCE_SECONDS:
            raise Withheld("Bright Data asks for more patience than we have.", retry_after_seconds=wait)
        if wait > 0:
            await asyncio.sleep(wait)

    def refused(self, retry_after_seconds: float | None) -> None:
        """Note a 429 and when to call again: the vendor's own figure, else 2, 4, 8, 16, 32 s."""
        doubled = self._backoff_seconds * 2.0 ** min(self._in_a_row, MOST_DOUBLINGS)
        wait = doubled if retry_after_seconds is None else retry_after_seconds
        now = self._clock()
        self._in_a_row += 1
        self._refusals.append(now)
        self._not_before = max(self._not_before, now + wait)

    def accepted(self) -> None:
        """Note that a call was not refused."""
        self._in_a_row = 0
