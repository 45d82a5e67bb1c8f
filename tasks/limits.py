"""Limits that hold across machines: Prefect's global concurrency limits around vendor jobs.

An acquisition costs 75–90 ms, so they guard only what is rare: a job that runs, and its submission. A process that
dies gives its running jobs back when their leases expire.

While the Prefect API does not answer, a process keeps to its own part of the limits (the total split between the
shards), warns once, and tries the API again a minute later. A job that runs goes on: no answer is lost for a limit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import (
    ConcurrencySlotAcquisitionError,
    concurrency,
    rate_limit,
)

from tasks.patience import within
from visibility.errors import ConfigurationError
from visibility.providers.limits import Limiter, ProcessLimits
from visibility.settings import BrightDataSettings, Settings

logger = logging.getLogger(__name__)

RUNNING_JOBS = "brightdata-running-jobs"
SUBMISSIONS = "brightdata-submissions"
LEASE_SECONDS = 60.0  # the shortest that Prefect allows; renewed while the job runs
LOOK_SECONDS = 30.0  # so long a full limit is waited for before it is made sure that the API still answers
ANSWER_SECONDS = 10.0
AWAY_SECONDS = 60.0
BURST = 0.2  # of a minute's submissions may go at once, the rest flows: no minute gets more than its number


def limiter(settings: Settings) -> Limiter:
    """Return the limits of this process's vendor jobs, shared by all machines where the settings say so."""
    own = ProcessLimits(settings.brightdata, settings.shards)
    return GlobalLimits(own) if settings.global_limits else own


def wanted_limits(settings: BrightDataSettings) -> dict[str, tuple[int, float]]:
    """Return limit and decay (slots a second; 0: held until released) of each global limit, by name."""
    per_minute = settings.submissions_per_minute
    at_once = max(1, math.floor(per_minute * BURST))
    flowing = max(per_minute - at_once, per_minute * BURST) / 60
    return {RUNNING_JOBS: (settings.max_running_jobs, 0.0), SUBMISSIONS: (at_once, flowing)}


class GlobalLimits:
    """The limits at the Prefect server; `own` serves while its API is away.

    Raises ConfigurationError where a limit does not exist or can never be had: nothing is claimed then.
    """

    def __init__(
        self,
        own: Limiter,
        *,
        running_jobs: str = RUNNING_JOBS,
        submissions: str = SUBMISSIONS,
        look_seconds: float = LOOK_SECONDS,
        away_seconds: float = AWAY_SECONDS,
    ) -> None:
        self._own = own
        self._running_jobs = running_jobs
        self._submissions = submissions
        self._look_seconds = look_seconds
        self._away_seconds = away_seconds
        self._away_until = 0.0
        self._warned = False
        self._own_submission = False

    @asynccontextmanager
    async def running_job(self, provider: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            if not await self._had(lambda: self._enter(held)):
                await held.enter_async_context(self._own.running_job(provider))
            yield

    async def submission(self, provider: str) -> None:
        timeout = self._look_seconds
        had = await self._had(lambda: rate_limit(self._submissions, timeout_seconds=timeout, strict=True))
        self._own_submission = not had
        if not had:
            await self._own.submission(provider)

    def not_submitted(self, provider: str) -> None:
        """Give back to this process; what the server counted comes back by itself, with the time."""
        if self._own_submission:
            self._own.not_submitted(provider)

    async def _had(self, acquire: Callable[[], Awaitable[None]]) -> bool:
        """Wait until it is acquired; False when the API is away. A full limit is waited for as long as it answers."""
        while time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(self._look_seconds + ANSWER_SECONDS):  # should Prefect's queue have died
                    await acquire()
            except TimeoutError:
                if not await _api_answers():
                    self._go_on_alone("it does not answer")
            except ConcurrencySlotAcquisitionError as error:
                if _is_refused(error):
                    raise ConfigurationError(
                        f"{error}. Create or repair the limits with `python -m deployments.bootstrap`."
                    ) from error
                self._go_on_alone(str(error))
            else:
                self._warned = False
                return True
        return False

    def _go_on_alone(self, reason: str) -> None:
        self._away_until = time.monotonic() + self._away_seconds
        if not self._warned:
            logger.warning("The Prefect API is away (%s): this process keeps to its own part of the limits.", reason)
        self._warned = True

    async def _enter(self, held: AsyncExitStack) -> None:
        slot = concurrency(
            self._running_jobs,
            timeout_seconds=self._look_seconds,
            lease_duration=LEASE_SECONDS,
            strict=True,
            raise_on_lease_renewal_failure=False,  # the job goes on: its answers are paid for
        )
        await slot.__aenter__()
        held.push_async_callback(_leave, slot)


async def _leave(slot: AbstractAsyncContextManager[None]) -> None:
    """Give a slot back; what cannot be given back now comes back when its lease expires."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await slot.__aexit__(None, None, None)
    except Exception as error:
        logger.warning("A running job's place comes back by its lease only: %s", type(error).__name__)


async def _api_answers() -> bool:
    async def ask() -> Exception | None:
        async with get_client() as client:
            return await client.api_healthcheck()

    try:
        return await within(ANSWER_SECONDS, ask()) is None
    except Exception:
        return False


def _is_refused(error: ConcurrencySlotAcquisitionError) -> bool:
    """Tell whether the server has answered that this will never be had, rather than not answered."""
    cause = error.__cause__
    if isinstance(cause, httpx.HTTPStatusError):
        return cause.response.is_client_error and cause.response.status_code not in (408, 429)
    return cause is None
