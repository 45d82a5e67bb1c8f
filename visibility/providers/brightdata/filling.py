"""Filling jobs with the question runs of many askers.

An asker leaves a ticket; the filler of its engine waits until the tickets fill a job or have lingered long
enough, claims their runs in one statement, and starts the job. Every asker hears of the jobs its runs are in.

Askers take turns: whoever has had its share of a job and wants more goes behind the others, so that an asker with
thousands of runs delays one with a few by a part of a job. A share is as large as what most askers want of an engine,
so that these stay in one job: it is then bought, stored and read at once.

Of what waits nothing is held in memory but a ticket per asker: question runs are claimed when their job may start.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from visibility.domain import QuestionRun
from visibility.errors import RetryableError
from visibility.providers.brightdata.job import JobOutcome
from visibility.providers.brightdata.outages import Outages
from visibility.providers.limits import Limiter
from visibility.store.runs import Pair

TURN = 60  # runs of one asker in a job before the others have their turn

JobTask = asyncio.Task[JobOutcome]
Claim = Callable[[Sequence[Pair], Collection[UUID]], Awaitable[tuple[UUID, list[QuestionRun]]]]
Start = Callable[[UUID, list[QuestionRun]], JobTask]


class Ticket:
    """What one asker wants asked, and the outcomes of the jobs that it waits for."""

    def __init__(self, pair: Pair, wanted: int, excluded: Collection[UUID]) -> None:
        self.pair = pair
        self.wanted = wanted
        self.excluded = frozenset(excluded)
        self.since = time.monotonic()
        self._pending = 1  # the claiming itself, until `claimed`
        self._outcomes: asyncio.Queue[JobOutcome | Exception | None] = asyncio.Queue()

    def expect(self, job: JobTask) -> None:
        """Wait for this job too."""
        self._pending += 1
        job.add_done_callback(self._arrive)

    def reopen(self, wanted: int) -> None:
        """Want runs that a job has released; `claimed` ends it again."""
        self._pending += 1
        self.wanted = wanted

    def claimed(self, error: Exception | None = None) -> None:
        """Note that no further job will be started for this ticket."""
        if error is not None:
            self._outcomes.put_nowait(error)
        self._settle()

    def _arrive(self, job: JobTask) -> None:
        if job.cancelled():
            self._outcomes.put_nowait(RetryableError("The collector was closed while a job was open."))
        else:
            error = job.exception()
            self._outcomes.put_nowait(error if isinstance(error, Exception) else job.result())
        self._settle()

    def _settle(self) -> None:
        self._pending -= 1
        if not self._pending:
            self._outcomes.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[JobOutcome]:
        """Yield outcomes as jobs end. An error of one job is raised after all others have ended."""
        problem: Exception | None = None
        while (outcome := await self._outcomes.get()) is not None:
            if isinstance(outcome, Exception):
                problem = problem or outcome
            else:
                yield outcome
        if problem is not None:
            raise problem


@dataclass(frozen=True, slots=True)
class Limits:
    """What all fillers of an account share, and how full and how old a job may get before it starts."""

    limiter: Limiter
    outages: Outages
    max_inputs: int
    linger_seconds: float


class Filler:
    """One per engine; works only while there are tickets."""

    def __init__(self, provider: str, limits: Limits, claim: Claim, start: Start) -> None:
        self._provider = provider
        self._limits = limits
        self._claim = claim
        self._start = start
        self._askers: list[Ticket] = []
        self._tickets: list[Ticket] = []  # of those, the ones with runs still to be claimed
        self._more = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    def add(self, ticket: Ticket) -> None:
        """Take a ticket; the filler calls its `claimed` when all its runs are in jobs."""
        self._askers.append(ticket)
        self._wait_for(ticket)

    def reopen(self, runs: Sequence[QuestionRun]) -> None:
        """Claim runs again that a refused job has released; without an asker they wait for a later pass."""
        counts = Counter((run.batch_id, run.model) for run in runs)
        for ticket in self._askers:
            if counts[ticket.pair] and ticket not in self._tickets:
                ticket.reopen(counts[ticket.pair])
                self._wait_for(ticket)

    def _wait_for(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)
        self._more.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._fill())

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a ticket whose asker is gone or served; jobs that were started go on."""
        for tickets in (self._askers, self._tickets):
            if ticket in tickets:
                tickets.remove(ticket)

    async def close(self) -> None:
        """Stop claiming, and give back what was held for running jobs."""
        tasks = [*self._jobs] if self._work is None else [self._work, *self._jobs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self) -> None:
        try:
            while self._tickets:
                await self._linger()
                if self._tickets:
                    await self._fill_one()
        except Exception as error:
            tickets, self._tickets = self._tickets, []
            for ticket in tickets:
                ticket.claimed(error)

    async def _linger(self) -> None:
        """Wait for more tickets until a job is full or the oldest ticket has waited long enough."""
        while self._tickets and sum(ticket.wanted for ticket in self._tickets) < self._limits.max_inputs:
            left = min(ticket.since for ticket in self._tickets) + self._limits.linger_seconds - time.monotonic()
            if left <= 0:
                return
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except TimeoutError:
                return

    async def _fill_one(self) -> None:
        """Fill one job; return when its runs are claimed, while the job goes on."""
        await self._limits.outages.trial_ended(self._provider)
        claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        job = asyncio.create_task(self._hold(claimed))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await claimed

    async def _hold(self, claimed: asyncio.Future[None]) -> None:
        """Hold what a job needs while it runs; until `claimed` is set an error is the filler's."""
        try:
            async with self._limits.limiter.running_job(self._provider):
                job = await self._start_one()
                if not claimed.done():
                    claimed.set_result(None)
                if job is not None:
                    await asyncio.wait([job])
        except Exception as error:
            if claimed.done():
                raise
            claimed.set_exception(error)
        finally:
            claimed.cancel()  # no effect when it is set

    async def _start_one(self) -> JobTask | None:
        """Claim as late as possible: when the vendor may be called at once, so that a claimed job is never idle."""
        await self._limits.limiter.submission(self._provider)
        tickets = self._next_in_turn()
        job_id, runs = await self._claim_for(tickets)
        task = self._start(job_id, runs) if runs else None
        if task is None:
            self._limits.limiter.not_submitted(self._provider)
        self._hand_out(tickets, runs, task)
        return task

    def _next_in_turn(self) -> list[Ticket]:
        """Return as many tickets as could fill two jobs: others may have claimed some of their runs."""
        chosen, missing = [], 2 * self._limits.max_inputs
        for ticket in self._tickets:
            chosen.append(ticket)
            missing -= min(ticket.wanted, TURN)
            if missing <= 0:
                break
        return chosen

    async def _claim_for(self, tickets: Sequence[Ticket]) -> tuple[UUID, list[QuestionRun]]:
        excluded = frozenset[UUID]().union(*(ticket.excluded for ticket in tickets))
        return await self._claim([ticket.pair for ticket in tickets], excluded)

    def _hand_out(self, tickets: Sequence[Ticket], runs: Sequence[QuestionRun], task: JobTask | None) -> None:
        """Tell the askers; fewer runs than fit mean that nothing is left to claim for any of them."""
        counts = Counter((run.batch_id, run.model) for run in runs)
        is_full = len(runs) >= self._limits.max_inputs
        for ticket in tickets:
            taken = counts[ticket.pair]
            if task is not None and taken:
                ticket.expect(task)
                ticket.wanted -= taken
            waits = ticket in self._tickets
            if not is_full or ticket.wanted <= 0:
                if waits:
                    self._tickets.remove(ticket)
                ticket.claimed()
            elif waits and taken >= TURN:
                self._tickets.remove(ticket)
                self._tickets.append(ticket)
