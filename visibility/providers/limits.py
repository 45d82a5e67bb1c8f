"""How much of a vendor's account may be used at a time; acquired around rare things only, never per answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from visibility.providers.brightdata.throttle import Budget
from visibility.settings import BrightDataSettings


class Limiter(Protocol):
    """What a process must have before it submits a vendor job; `provider` is e.g. `brightdata:chatgpt`."""

    def running_job(self, provider: str) -> AbstractAsyncContextManager[None]:
        """Hold one of the account's running jobs while the body runs; waits for it."""

    async def submission(self, provider: str) -> None:
        """Wait until one more submission is allowed, and count it."""

    def not_submitted(self, provider: str) -> None:
        """Say that the submission that was allowed last is not made."""


class ProcessLimits:
    """The limits of one account inside this process: its part, where several processes (`shards`) share the account."""

    def __init__(self, settings: BrightDataSettings, shards: int = 1) -> None:
        self._running_jobs = asyncio.Semaphore(max(1, settings.max_running_jobs // shards))
        self._budget = Budget(settings.submissions_per_minute / shards)

    @asynccontextmanager
    async def running_job(self, provider: str) -> AsyncIterator[None]:
        async with self._running_jobs:
            yield

    async def submission(self, provider: str) -> None:
        await self._budget.spend()

    def not_submitted(self, provider: str) -> None:
        self._budget.give_back()
