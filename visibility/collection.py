"""Asking the open questions of a batch: the answer collector that all orgs of a process share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from visibility.domain import AskSummary, QuestionRun
from visibility.errors import ConfigurationError
from visibility.identity import is_alive as process_is_alive
from visibility.providers.brightdata.client import BrightDataClient
from visibility.providers.brightdata.engines import Engine, engines
from visibility.providers.brightdata.filling import TURN, Filler, JobTask, Limits, Ticket
from visibility.providers.brightdata.job import JobOutcome
from visibility.providers.brightdata.jobs import JobRunner
from visibility.providers.brightdata.outages import DOWN, DOWN_MESSAGE
from visibility.providers.limits import Limiter, ProcessLimits
from visibility.providers.routing import provider_of
from visibility.settings import BrightDataSettings
from visibility.store import runs
from visibility.store.database import Database
from visibility.store.runs import NewJob, Pair, Progress

OnStored = Callable[[Sequence[UUID]], None]

ASKINGS = 2  # a first one, and one more for what a job did not bring
IDLE_SECONDS = 0.05  # another process is just claiming the same runs: its job shows a moment later
MOST_IDLE_LOOKS = 100


@dataclass(slots=True)
class _Pass:
    """What one call of `ask` has seen: each job once, each question run asked at most twice."""

    pair: Pair
    seen: set[UUID] = field(default_factory=set)
    asked: Counter[UUID] = field(default_factory=Counter)
    excluded: set[UUID] = field(default_factory=set)
    idle: int = 0

    def note(self, outcome: JobOutcome) -> None:
        self.seen.add(outcome.job_id)
        ours = [run.question_run_id for run in outcome.runs if (run.batch_id, run.model) == self.pair]
        if outcome.ended == "postponed":
            self.excluded.update(ours)
        elif outcome.ended != "released":
            self.asked.update(ours)
            self.excluded.update(run_id for run_id in ours if self.asked[run_id] >= ASKINGS)


class AnswerCollector:
    """One per process and Bright Data account; orgs that ask at the same time share vendor jobs.

    `submitter` names this process in the jobs it submits; `is_alive` tells of such a name whether its process
    lives (None: cannot be seen). `linger_seconds` is how long a job waits for further questions, `limiter` what
    counts running jobs and submissions: this process alone, unless another one is given.
    """

    def __init__(
        self,
        database: Database,
        settings: BrightDataSettings,
        *,
        max_attempts: int,
        submitter: str,
        linger_seconds: float | None = None,
        limiter: Limiter | None = None,
        is_alive: Callable[[str], bool | None] = process_is_alive,
    ) -> None:
        self._database = database
        self._settings = settings
        self._max_attempts = max_attempts
        self._submitter = submitter
        self._engines = engines(settings)
        self._running: dict[UUID, JobTask] = {}
        self._client = BrightDataClient(settings) if settings.api_key is not None else None
        if self._client is None:
            return
        limiter = limiter or ProcessLimits(settings)
        self._runner = JobRunner(
            database, self._client, settings, self._engines, limiter, submitter, is_alive, self._reopen
        )
        linger = settings.linger_seconds if linger_seconds is None else linger_seconds
        limits = Limits(limiter, self._runner.outages, settings.max_inputs_per_job, linger)
        self._fillers = {engine.provider: self._filler(engine, limits) for engine in self._engines.values()}

    async def ask(self, batch_id: UUID, model: str, on_stored: OnStored | None = None) -> AskSummary:
        """Ask the open runs of one model of a batch and wait until each is answered or has failed.

        Jobs of earlier passes are seen through first-hand: nothing that was bought is bought again. Answers are
        stored per job; `on_stored` then gets the ids of this batch and model. What fails is recorded on the runs
        and counted in the summary: by error code, `left_open` for runs that a later pass may still get.
        """
        pair = (batch_id, model)
        provider = provider_of(model)
        engine = self._engines.get(provider or "")
        if engine is None or self._client is None:
            code = "unsupported_model" if provider is None else "provider_not_configured"
            progress = await self._close_without_asking(pair, code, _not_asked_message(code, model))
        else:
            progress = await self._ask_all(engine, _Pass(pair), on_stored or (lambda run_ids: None))
        failed = dict(progress.failed or {})
        return AskSummary(
            model, progress.expected, progress.answered, failed, jobs=progress.jobs, cost_usd=progress.cost_usd
        )

    async def see_through(self, job_id: UUID) -> JobOutcome:
        """See an open job to its end, whoever has begun it, without asking anything: what it brings is stored.

        A job that was being submitted by a dead process is looked up at the vendor. Raises ConfigurationError
        without a key.
        """
        if self._client is None:
            raise ConfigurationError("BRIGHTDATA_API_KEY is not set: what Bright Data has cannot be fetched.")
        return await asyncio.shield(self._resumed(job_id))  # others may wait for the same job

    async def close(self) -> None:
        """Stop everything; open jobs stay open in the database and are seen through by a later pass."""
        if self._client is None:
            return
        for filler in self._fillers.values():
            await filler.close()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _ask_all(self, engine: Engine, current: _Pass, on_stored: OnStored) -> Progress:
        while True:
            progress = await self._progress(current.pair, current.excluded)
            if self._runner.refusal is not None:
                refusal = self._runner.refusal
                return await self._close_without_asking(current.pair, refusal.code, refusal.message)
            open_jobs = progress.open_jobs - current.seen
            if not (open_jobs or progress.claimable) or current.idle > MOST_IDLE_LOOKS:
                return progress
            if not open_jobs and await self._runner.outages.is_down(engine.provider):
                return await self._close_without_asking(current.pair, DOWN, DOWN_MESSAGE)
            heard = len(current.seen)
            await self._ask_once(engine, current, progress.claimable, open_jobs, on_stored)
            if len(current.seen) == heard:
                current.idle += 1
                await asyncio.sleep(IDLE_SECONDS)

    async def _ask_once(
        self, engine: Engine, current: _Pass, claimable: int, open_jobs: Collection[UUID], on_stored: OnStored
    ) -> None:
        """Wait for the open jobs and for new ones with everything that may be asked now."""
        ticket = Ticket(current.pair, claimable, current.excluded)
        for job_id in open_jobs:
            ticket.expect(self._resumed(job_id))
        filler = self._fillers[engine.provider]
        if claimable:
            filler.add(ticket)
        else:
            ticket.claimed()
        try:
            async for outcome in ticket:
                current.note(outcome)
                if answered := outcome.answered.get(current.pair):
                    on_stored(answered)
        finally:
            filler.withdraw(ticket)

    async def _close_without_asking(self, pair: Pair, code: str, message: str) -> Progress:
        await self._database.run(runs.fail_claimable, pair, code, message, self._max_attempts)
        return await self._progress(pair)

    async def _progress(self, pair: Pair, excluded: Collection[UUID] = ()) -> Progress:
        return await self._database.run(runs.progress, pair, self._max_attempts, excluded)

    def _filler(self, engine: Engine, limits: Limits) -> Filler:
        submission = self._runner.submission

        async def claim(pairs: Sequence[Pair], excluded: Collection[UUID]) -> tuple[UUID, list[QuestionRun]]:
            seconds = self._settings.deadline_seconds
            job = NewJob(uuid4(), engine.provider, engine.dataset_id, self._submitter, seconds)
            if self._runner.refusal is not None or await self._runner.outages.is_down(engine.provider):
                return job.job_id, []
            claimed: list[QuestionRun] = []
            submission.announce(job.job_id)
            try:
                claimed = await self._database.run(
                    runs.claim,
                    job,
                    pairs,
                    limit=limits.max_inputs,
                    turn=TURN,
                    max_attempts=self._max_attempts,
                    excluded=excluded,
                )
            finally:
                if not claimed:
                    submission.retract(job.job_id)
            return job.job_id, claimed

        def start(job_id: UUID, claimed: list[QuestionRun]) -> JobTask:
            task = self._keep(job_id, asyncio.create_task(self._runner.run(job_id, engine, claimed)))
            task.add_done_callback(lambda _: submission.retract(job_id))
            return task

        return Filler(engine.provider, limits, claim, start)

    def _reopen(self, released: Sequence[QuestionRun]) -> None:
        for filler in self._fillers.values():
            filler.reopen(released)

    def _resumed(self, job_id: UUID) -> JobTask:
        """Return the task that sees a job through; one per job, however many wait for it."""
        if (task := self._running.get(job_id)) is not None:
            return task
        return self._keep(job_id, asyncio.create_task(self._runner.resume(job_id)))

    def _keep(self, job_id: UUID, task: JobTask) -> JobTask:
        self._running[job_id] = task
        task.add_done_callback(lambda _: self._running.pop(job_id, None))
        return task


def _not_asked_message(code: str, model: str) -> str:
    if code == "unsupported_model":
        return f"No provider reaches the model {model!r}."
    return f"The provider of the model {model!r} is not configured."
