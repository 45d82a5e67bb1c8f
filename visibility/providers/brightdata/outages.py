"""One circuit per engine, counted in jobs: an engine that is down costs its own answers, and no waiting.

closed ──so many failed jobs in a row──▶ open ──after the pause──▶ half-open: one job goes ahead, the others wait for it
   ▲                                       ▲                          │
   └──────────── the job came back ────────┼──────────────────────────┤
                                           └───────── it failed ──────┘
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HALF_OPENED, OPENED, OpenedState

from visibility.errors import ProviderDown
from visibility.providers.brightdata.job import JobOutcome
from visibility.settings import BrightDataSettings

logger = logging.getLogger(__name__)

DOWN = ProviderDown.code
DOWN_MESSAGE = "The engine has failed so many jobs in a row that it gets a pause; nothing was asked. Ask again later."


class EngineDown(Exception):
    """The circuit is open: the job was not begun."""


class _JobFailed(Exception):
    def __init__(self, outcome: JobOutcome) -> None:
        super().__init__()
        self.outcome = outcome


class Outages:
    """The circuits of one account's engines, by provider name."""

    def __init__(self, settings: BrightDataSettings) -> None:
        self._breakers = AsyncCircuitBreakerFactory(
            settings.engine_failures,
            settings.engine_pause_seconds,
            exclude=[(BaseException, lambda error: not isinstance(error, _JobFailed))],
        )
        self._trials: dict[str, asyncio.Event] = {}

    async def is_down(self, provider: str) -> bool:
        """Tell whether the engine is paused; False from the moment when a job may try it again."""
        context = (await self._breakers.get_breaker(provider)).context
        return context.state == OPENED and time.time() <= (context.opened_at or 0) + context.ttl

    async def trial_ended(self, provider: str) -> None:
        """Wait while one job tries an engine that was down."""
        while (trial := self._trials.get(provider)) is not None:
            await trial.wait()

    async def watched(self, provider: str, job: Awaitable[JobOutcome]) -> JobOutcome:
        """Await a job of the engine and count how it ended. Raises EngineDown, without awaiting, when it is paused."""
        breaker = await self._breakers.get_breaker(provider)
        trial = asyncio.Event()
        try:
            async with breaker:
                if breaker.context.state == HALF_OPENED:
                    self._trials[provider] = trial
                outcome = await job
                if outcome.failed_by_engine:
                    raise _JobFailed(outcome)
                return outcome
        except OpenedState:
            raise EngineDown from None
        except _JobFailed as failed:
            if breaker.context.state == OPENED:
                logger.warning("engine_down provider=%s pause_seconds=%s", provider, breaker.context.ttl)
            return failed.outcome
        finally:
            trial.set()
            if self._trials.get(provider) is trial:
                del self._trials[provider]
