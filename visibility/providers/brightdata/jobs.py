"""The state machine of one job, from its claim to the stored answers; safe to stop at any point.

submitting ──accepted──▶ submitted ──ready──▶ (ready) ──fetched──▶ fetched
    │                        │                    └─ cannot be fetched: stays ready for a later pass
    ├─ never accepted: failed (runs get their attempt back)
    └─ unknown: looked up    ├─ the vendor failed it: failed; deadline: cancelled
                             └─ the vendor does not answer: stays submitted for a later pass
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import stamina

from visibility.domain import QuestionRun
from visibility.errors import FatalError, ProviderRefused, ProviderUnavailable, RateLimited
from visibility.providers.brightdata.client import BrightDataClient, SnapshotGone, UnreadableReply
from visibility.providers.brightdata.engines import Engine, inputs_of
from visibility.providers.brightdata.job import Ending, Job, JobOutcome, answered_in
from visibility.providers.brightdata.lookup import ENDED_WITHOUT_RECORDS, Unresolved
from visibility.providers.brightdata.outages import DOWN, DOWN_MESSAGE, EngineDown, Outages
from visibility.providers.brightdata.records import read_portions
from visibility.providers.brightdata.submission import Submission, SubmissionLost, is_under_way
from visibility.providers.brightdata.throttle import Room, Withheld
from visibility.providers.limits import Limiter
from visibility.settings import BrightDataSettings
from visibility.store import jobs as store
from visibility.store import runs as run_store
from visibility.store.database import Database
from visibility.store.jobs import JobRow
from visibility.store.runs import Stored

logger = logging.getLogger(__name__)

NO_ANSWER = (RateLimited, ProviderUnavailable, UnreadableReply)
CANCEL_ATTEMPTS = 3
MOST_RECORDS_HELD = 1000  # of all jobs together between fetching and storing: some 10 MB as text, 50 MB as objects
LEAST_POLLS = 3  # a job found again after its deadline gets these before it is cancelled


class JobRunner:
    """Runs jobs of one account to their end; `refusal` is set once the vendor refuses the account."""

    def __init__(
        self,
        database: Database,
        client: BrightDataClient,
        settings: BrightDataSettings,
        engines: dict[str, Engine],
        limiter: Limiter,
        submitter: str,
        is_alive: Callable[[str], bool | None],
        on_release: Callable[[Sequence[QuestionRun]], None],
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._engines = engines
        self.submission = Submission(database, client, settings, limiter, submitter, on_release)
        self.outages = Outages(settings)
        self._room = Room(MOST_RECORDS_HELD)
        self._is_alive = is_alive
        self.refusal: ProviderRefused | None = None

    async def run(self, job_id: UUID, engine: Engine, runs: list[QuestionRun]) -> JobOutcome:
        """Submit a job that was claimed just now and see it through."""
        deadline = time.monotonic() + self._settings.deadline_seconds
        job = Job(job_id, engine, inputs_of(runs), deadline, submitted_from=datetime.now(UTC))
        running = self._run(job)
        try:
            return await self.outages.watched(engine.provider, running)
        except EngineDown:
            running.close()
            return await self._not_accepted(job, DOWN, DOWN_MESSAGE)

    async def _run(self, job: Job) -> JobOutcome:
        try:
            with self.submission.under_way(job.job_id):
                ended = await self._submit(job)
        except SubmissionLost:
            return await self.resume(job.job_id)
        return ended or await self._collect(job)

    async def resume(self, job_id: UUID) -> JobOutcome:
        """See an open job through that an earlier pass, or another process, has begun."""
        while True:
            row, runs = await self._database.run(store.load_with_runs, job_id)
            job = self._job(row, runs)
            if row.status not in store.OPEN:
                return self._outcome(job, "returned", await self._database.run(run_store.statuses_of_job, job_id))
            if row.status != "submitting":
                return await self._collect(job, at_once=True)
            if self._is_submitted_elsewhere(row):
                await asyncio.sleep(self._settings.poll_seconds)
                continue
            try:
                with self.submission.under_way(job_id):
                    ended = await self._recover(job, row.submitter)
            except SubmissionLost:
                continue
            return ended or await self._collect(job, at_once=True)

    def _job(self, row: JobRow, runs: list[QuestionRun]) -> Job:
        timeout = timedelta(seconds=self._settings.request_timeout_seconds)
        return Job(
            row.job_id,
            replace(self._engines[row.provider], dataset_id=row.dataset_id),  # of when it was submitted
            inputs_of(runs),
            time.monotonic() + max(row.seconds_left, self._settings.poll_seconds * LEAST_POLLS),
            submitted_from=row.created_at,
            submitted_until=row.submitted_at + timeout,
            snapshot_id=row.snapshot_id,
            ready=row.status == "ready",
            kept_ready=row.status == "ready",
        )

    def _is_submitted_elsewhere(self, row: JobRow) -> bool:
        """Tell whether somebody is still submitting the job: it must not be declared lost then."""
        here = is_under_way(row.submitter, row.job_id)
        if here is not None:
            return here
        return row.age_seconds < self._settings.submit_timeout_seconds and self._is_alive(row.submitter) is not False

    # --- submitting: None means accepted ---------------------------------------------------------

    async def _submit(self, job: Job) -> JobOutcome | None:
        try:
            await self.submission.submit(job)
        except Unresolved as error:
            self._note_refusal(error.__cause__)
            return await self._leave(job, error.message, failed_by_engine=self.refusal is None)
        except (*NO_ANSWER, FatalError) as error:
            self._note_refusal(error)
            logger.warning("job_not_accepted job_id=%s reason=%s", job.job_id, error.code)
            code = "provider_unavailable" if isinstance(error, UnreadableReply) else error.code
            down = isinstance(error, ProviderUnavailable | UnreadableReply)
            return await self._not_accepted(job, code, error.message, failed_by_engine=down)
        return None if job.snapshot_id else await self._give_up(job)

    async def _not_accepted(self, job: Job, code: str, message: str, *, failed_by_engine: bool = False) -> JobOutcome:
        """Close a job that the vendor did not accept: its runs fail and get their attempt back."""
        await self._database.run(store.fail_unsubmitted, job.job_id, self.submission.submitter, code, message)
        return self._outcome(job, "postponed", failed_by_engine=failed_by_engine)

    async def _recover(self, job: Job, from_submitter: str) -> JobOutcome | None:
        submitter = self.submission.submitter
        if not await self._database.run(store.take, job.job_id, submitter, from_submitter):
            raise SubmissionLost("Another process has taken over the submission of a job.")
        try:
            return None if await self.submission.recover(job) else await self._give_up(job)
        except Unresolved as error:
            self._note_refusal(error.__cause__)
            return await self._leave(job, error.message)

    async def _give_up(self, job: Job) -> JobOutcome:
        """Close a job that the vendor never accepted; what still travels in it may be asked at once."""
        await self._database.run(store.give_up_unsubmitted, job.job_id, self.submission.submitter)
        return self._outcome(job, "released")

    # --- submitted, ready ------------------------------------------------------------------------

    async def _collect(self, job: Job, *, at_once: bool = False) -> JobOutcome:
        """Poll until the job has ended, the deadline has passed, or the vendor has failed too many polls."""
        failed, gone = 0, 0
        if not at_once:
            await self._pause(job)
        while True:
            try:
                if (ended := await self._look(job)) is not None:
                    return ended
                failed = 0
            except Withheld:
                pass  # nothing was sent: the vendor failed nothing
            except NO_ANSWER:
                failed += 1
            except SnapshotGone as error:
                failed, gone = 0, gone + 1  # it has answered; that it forgot the job counts for itself
                if gone >= self._settings.max_failed_polls:
                    return await self._fail(job, "failed", error.code, error.message)
            except ProviderRefused as error:
                self._note_refusal(error)
                return await self._leave(job, error.message)
            if failed >= self._settings.max_failed_polls:
                message = "Bright Data does not answer; the job is fetched later."
                return await self._leave(job, message, failed_by_engine=True)
            if job.expired:
                return await self._expire(job)
            await self._pause(job)

    async def _look(self, job: Job) -> JobOutcome | None:
        """Ask once how the job is and take what it returned; None while it is not done."""
        assert job.snapshot_id is not None
        if not job.ready:
            status = await self._client.progress(job.snapshot_id)
            if status in ENDED_WITHOUT_RECORDS:
                ending = "failed" if status == "failed" else "cancelled"
                return await self._fail(job, ending, f"job_{ending}", f"Bright Data's job ended as {status}.")
            job.ready = status == "ready"
        return await self._take(job) if job.ready else None

    async def _take(self, job: Job) -> JobOutcome | None:
        """Fetch and store a ready job; None while its records are being built or arrive cut off."""
        assert job.snapshot_id is not None
        async with self._room.hold(len(job.inputs)):
            try:
                records = await self._client.fetch(job.snapshot_id)
            except UnreadableReply:
                records = None
            if records is not None:
                return await self._store(job, records)
        if not job.kept_ready:
            job.kept_ready = await self._database.run(store.mark_ready, job.job_id)
        return None

    async def _store(self, job: Job, records: list[Any]) -> JobOutcome:
        price = self._settings.price_per_record_usd
        portions = partial(read_portions, job.engine.provider, job.inputs, records, price)
        stored = await self._database.insist(store.finish, job.job_id, portions)
        if not stored:  # another process was first
            stored = await self._database.run(run_store.statuses_of_job, job.job_id)
        logger.info("job_fetched job_id=%s inputs=%s", job.job_id, len(job.inputs))
        return self._outcome(job, "returned", stored)

    async def _expire(self, job: Job) -> JobOutcome:
        """End a job at its deadline; one that got ready meanwhile, or cannot be cancelled, is not asked anew."""
        message = "The job is ready, but its records could not be fetched; they are fetched later."
        if job.ready:
            return await self._leave(job, message)
        try:
            ended = await self._cancel(job)
        except (*NO_ANSWER, SnapshotGone, FatalError) as error:
            self._note_refusal(error)
            return await self._leave(job, "The deadline has passed, and the job could not be cancelled.")
        return ended or await self._leave(job, message)

    async def _cancel(self, job: Job) -> JobOutcome | None:
        """Cancel a job, or take what it returned after all; None when it got ready but cannot be fetched now."""
        assert job.snapshot_id is not None
        async for attempt in stamina.retry_context(
            on=(ProviderUnavailable, UnreadableReply), attempts=CANCEL_ATTEMPTS, wait_max=1.0
        ):
            with attempt:
                await self._client.cancel(job.snapshot_id)
                job.ready = await self._client.progress(job.snapshot_id) == "ready"
        if job.ready:
            return await self._take(job)
        return await self._fail(job, "cancelled", "deadline_exceeded", "The job took longer than its deadline.")

    async def _fail(self, job: Job, status: str, code: str, message: str) -> JobOutcome:
        logger.warning("job_failed job_id=%s reason=%s", job.job_id, code)
        if await self._database.run(store.fail, job.job_id, status, code, message):
            return self._outcome(job, "failed", failed_by_engine=True)
        return self._outcome(job, "returned", await self._database.run(run_store.statuses_of_job, job.job_id))

    async def _leave(self, job: Job, message: str, *, failed_by_engine: bool = False) -> JobOutcome:
        """Leave a job open, with its runs asked: a later pass re-attaches, nobody buys again."""
        logger.warning("job_left_open job_id=%s", job.job_id)
        await self._database.run(store.note, job.job_id, message)
        return self._outcome(job, "postponed", failed_by_engine=failed_by_engine)

    async def _pause(self, job: Job) -> None:
        left = job.deadline - time.monotonic()
        wait = pause_seconds(self._settings.deadline_seconds - left, self._settings.poll_seconds)
        await asyncio.sleep(max(0.0, min(wait * random.uniform(0.8, 1.2), left)))

    def _note_refusal(self, error: BaseException | None) -> None:
        if isinstance(error, ProviderRefused):
            self.refusal = error

    def _outcome(
        self, job: Job, ended: Ending, stored: list[Stored] | None = None, *, failed_by_engine: bool = False
    ) -> JobOutcome:
        return JobOutcome(job.job_id, ended, job.runs, answered_in(stored or ()), failed_by_engine)


def pause_seconds(elapsed_seconds: float, poll_seconds: float) -> float:
    """Return how long to wait before the next look at a job: a fifteenth of its age, within a quarter and the whole.

    Always the whole would add 8 % to a job that takes a minute.
    """
    return min(poll_seconds, max(poll_seconds / 4, elapsed_seconds / 15))
