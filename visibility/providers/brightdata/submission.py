"""Getting a claimed job accepted exactly once.

Between the vendor's acceptance and the saved snapshot id lies the only gap in which an answer could be bought
twice. It is closed by the job row that exists before, and by looking up before anything is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import stamina
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from visibility.domain import QuestionRun, RunFailure
from visibility.errors import FatalError, ProviderUnavailable, RateLimited, VisibilityError
from visibility.providers.brightdata.client import BrightDataClient, SnapshotGone, SubmissionRefused, UnreadableReply
from visibility.providers.brightdata.engines import unaskable
from visibility.providers.brightdata.job import Job
from visibility.providers.brightdata.lookup import Lookup, Unresolved
from visibility.providers.brightdata.refusals import refused_inputs
from visibility.providers.brightdata.throttle import Withheld
from visibility.providers.limits import Limiter
from visibility.settings import BrightDataSettings
from visibility.store import jobs, runs
from visibility.store.database import Database

logger = logging.getLogger(__name__)

MOST_SUBMISSIONS = 6
BREAKER_THRESHOLD = 5
BREAKER_SECONDS = 30

# Who in this process is submitting which job at this moment. A submitter of this process whose job is not in here
# has been cancelled, though the process lives: the job is lost and may be taken over at once.
_under_way: set[tuple[str, UUID]] = set()
_submitters_here: set[str] = set()


class SubmissionLost(VisibilityError):
    """Another process has taken the submission over, or closed it."""

    code = "submission_lost"


def is_under_way(submitter: str, job_id: UUID) -> bool | None:
    """Tell whether this process is submitting the job; None when the submitter is another process."""
    return (submitter, job_id) in _under_way if submitter in _submitters_here else None


class Submission:
    """Submits jobs of one account; `submitter` names this process in the job's row.

    `on_release` hears of question runs that left a refused job and may be asked at once.
    """

    def __init__(
        self,
        database: Database,
        client: BrightDataClient,
        settings: BrightDataSettings,
        limiter: Limiter,
        submitter: str,
        on_release: Callable[[Sequence[QuestionRun]], None],
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._limiter = limiter
        self._lookup = Lookup(database, client, settings)
        self._breakers = AsyncCircuitBreakerFactory(
            BREAKER_THRESHOLD,
            BREAKER_SECONDS,
            exclude=[(BaseException, lambda error: not isinstance(error, ProviderUnavailable))],
        )
        self._on_release = on_release
        self.submitter = submitter
        _submitters_here.add(submitter)

    def announce(self, job_id: UUID) -> None:
        """Let others in this process see that the submission is alive; before its row can be seen."""
        _under_way.add((self.submitter, job_id))

    def retract(self, job_id: UUID) -> None:
        """End the announcement."""
        _under_way.discard((self.submitter, job_id))

    @contextmanager
    def under_way(self, job_id: UUID) -> Iterator[None]:
        """Announce the submission while it lasts."""
        self.announce(job_id)
        try:
            yield
        finally:
            self.retract(job_id)

    async def submit(self, job: Job) -> None:
        """Get a job accepted that was claimed just now, and save its snapshot id.

        Inputs that cannot be asked leave the job; without any left there is no snapshot. Raises RateLimited,
        ProviderUnavailable or FatalError when the vendor certainly did not accept it, Unresolved when that cannot
        be known, SubmissionLost when another process has the job.
        """
        failures = unaskable(job.engine, job.inputs, self._settings.unsupported_countries)
        if failures:
            await self._drop(job, {failure.question_run_id for failure in failures}, failures)
        backoff = self._settings.rate_limit_backoff_seconds
        async for attempt in stamina.retry_context(
            on=_worth_another, attempts=MOST_SUBMISSIONS, timeout=None, wait_initial=backoff, wait_max=backoff * 16,
            wait_jitter=backoff / 4,
        ):  # fmt: skip
            with attempt:
                if attempt.num > 1:
                    await self._prepare_another(job)
                await self._submit_once(job)

    async def recover(self, job: Job) -> bool:
        """Find the snapshot of a submission whose process is gone; False when the vendor never accepted it.

        Raises Unresolved or SubmissionLost.
        """
        snapshot_id = await self._lookup.find(job, lambda: self._sign_of_life(job))
        if snapshot_id is None:
            return False
        return await self._save(job, snapshot_id)

    async def _submit_once(self, job: Job) -> None:
        while job.inputs:
            try:
                snapshot_id = await self._trigger(job)
            except SubmissionRefused as refusal:
                await self._reduce(job, refusal)
                if job.inputs:
                    await self._prepare_another(job)
                continue
            except (ProviderUnavailable, UnreadableReply) as error:
                if isinstance(error, ProviderUnavailable) and not error.sent:
                    raise
                logger.warning("submission_ambiguous job_id=%s reason=%s", job.job_id, error.code)
                found = await self._lookup.find(job, lambda: self._sign_of_life(job))
                if found is None:
                    raise
                snapshot_id = found
            if await self._save(job, snapshot_id):
                return
            raise UnreadableReply("Bright Data named a snapshot that belongs to another job.")

    async def _trigger(self, job: Job) -> str:
        """Send the job once; an open breaker refuses without sending."""
        breaker = await self._breakers.get_breaker(job.engine.provider)
        try:
            async with breaker:
                bodies = [entry.body(job.engine) for entry in job.inputs]
                return await self._client.trigger(job.engine.dataset_id, bodies)
        except OpenedState as opened:
            raise ProviderUnavailable("Bright Data has failed too often; it gets a pause.", sent=False) from opened

    async def _prepare_another(self, job: Job) -> None:
        """Wait until another submission is allowed, and make sure that the job is still ours to submit."""
        await self._limiter.submission(job.engine.provider)
        await self._client.submissions.patience()
        await self._sign_of_life(job)

    async def _sign_of_life(self, job: Job) -> None:
        if not await self._database.run(jobs.take, job.job_id, self.submitter, self.submitter):
            raise SubmissionLost("Another process has taken over the submission of a job.")

    async def _reduce(self, job: Job, refusal: SubmissionRefused) -> None:
        """Take the named inputs out of a refused job; when none is named, ask its halves one after the other."""
        failures = refused_inputs(job.inputs, refusal.problems)
        if failures:
            await self._drop(job, {failure.question_run_id for failure in failures}, failures)
            return
        half = job.runs[len(job.inputs) // 2 :]
        half_ids = {run.question_run_id for run in half}
        await self._database.run(runs.release, job.job_id, sorted(half_ids))
        job.keep({entry.run_id for entry in job.inputs} - half_ids)
        self._on_release(half)

    async def _drop(self, job: Job, run_ids: set[UUID], failures: Sequence[RunFailure]) -> None:
        await self._database.run(runs.drop, job.job_id, failures)
        job.keep({entry.run_id for entry in job.inputs} - run_ids)

    async def _save(self, job: Job, snapshot_id: str) -> bool:
        """Save the snapshot id, whatever the database does meanwhile; False when the snapshot is another job's."""
        saved = await self._database.insist(jobs.save_snapshot, job.job_id, snapshot_id)
        if saved:
            job.snapshot_id = snapshot_id
            logger.info("job_submitted job_id=%s snapshot_id=%s inputs=%s", job.job_id, snapshot_id, len(job.inputs))
            return True
        row = await self._database.run(jobs.load, job.job_id)
        if row.status == "submitting":
            return False
        if row.snapshot_id != snapshot_id:
            await self._withdraw(snapshot_id)
        raise SubmissionLost("Another process has taken over the submission of a job.")

    async def _withdraw(self, snapshot_id: str) -> None:
        """Cancel what the vendor accepted after the job was given up: its questions are asked elsewhere by now."""
        logger.warning("orphan_cancelled snapshot_id=%s", snapshot_id)
        try:
            await self._client.cancel(snapshot_id)
        except (RateLimited, ProviderUnavailable, SnapshotGone, FatalError) as error:
            logger.warning("orphan_not_cancelled snapshot_id=%s reason=%s", snapshot_id, error.code)


def _worth_another(error: Exception) -> bool | float:
    """After a 429 the throttle does the waiting; an unresolved submission is never sent again."""
    if isinstance(error, Withheld | Unresolved):
        return False
    if isinstance(error, RateLimited):
        return 0.0
    return isinstance(error, ProviderUnavailable | UnreadableReply)
