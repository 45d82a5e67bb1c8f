"""Finding a job whose snapshot id was lost between its submission and saving the id."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from visibility.errors import ProviderRefused, ProviderUnavailable, RateLimited, RetryableError
from visibility.providers.brightdata.client import BrightDataClient, Snapshot, SnapshotGone, UnreadableReply
from visibility.providers.brightdata.job import Job
from visibility.providers.brightdata.records import echoed_ids, join
from visibility.providers.brightdata.throttle import Withheld
from visibility.settings import BrightDataSettings
from visibility.store import jobs as store
from visibility.store.database import Database

logger = logging.getLogger(__name__)

SKEW = timedelta(minutes=5)  # between the clocks of vendor, database and this machine
UNRESOLVED = "Bright Data does not say whether it accepted a job; it is looked up again later."
ENDED_WITHOUT_RECORDS = frozenset({"failed", "cancelled", "canceled"})


class Unresolved(RetryableError):
    """The vendor cannot be asked whether it accepted a job: nothing may be concluded, nothing bought again."""

    code = "submission_unresolved"


class Lookup:
    """Looks through the vendor's list."""

    def __init__(self, database: Database, client: BrightDataClient, settings: BrightDataSettings) -> None:
        self._database = database
        self._client = client
        self._settings = settings

    async def find(self, job: Job, between_looks: Callable[[], Awaitable[None]]) -> str | None:
        """Return the snapshot that the vendor made of the job, or None when it made none.

        The vendor may list a job late: None is only said after the grace period. A snapshot that is still
        running may be ours: it is waited for until its records tell, or until the job's deadline. Raises
        Unresolved when the vendor does not answer.
        """
        listed_by = time.monotonic() + self._settings.adoption_grace_seconds
        failed = 0
        foreign: set[str] = set()  # not of this job; it may well be another lost job's
        while True:
            answered, untold = True, False
            try:
                found, untold = await self._look(job, foreign)
                if found is not None:
                    return found
                failed = 0
            except ProviderRefused as error:
                raise Unresolved(UNRESOLVED) from error
            except (RateLimited, ProviderUnavailable, UnreadableReply, SnapshotGone) as error:
                answered = False
                failed += not isinstance(error, Withheld)
            in_time = time.monotonic() < listed_by
            if failed >= self._settings.max_failed_polls or not (answered or in_time or not job.expired):
                raise Unresolved(UNRESOLVED)
            if answered and not in_time and (job.expired or not untold):
                return None
            soon = max(self._settings.adoption_grace_seconds / 4, 0.01)
            await asyncio.sleep(min(self._settings.poll_seconds, soon) if in_time else self._settings.poll_seconds)
            await between_looks()

    async def _look(self, job: Job, foreign: set[str]) -> tuple[str | None, bool]:
        """Return the job's snapshot if it is listed, and whether some listed one cannot be told yet."""
        since = job.submitted_from - SKEW
        until = (job.submitted_until or datetime.now(UTC)) + SKEW
        listed = [
            snapshot
            for snapshot in await self._client.snapshots(job.engine.dataset_id, since)
            if snapshot.snapshot_id not in foreign and (snapshot.created is None or since <= snapshot.created <= until)
        ]
        if not listed:
            return None, False
        # after the listing: whoever submitted meanwhile has had the time of a call to save its id
        known = await self._database.run(store.known_snapshots, [snapshot.snapshot_id for snapshot in listed])
        untold = False
        for snapshot in listed:
            if snapshot.snapshot_id in known:
                continue
            ours = await self._is_ours(job, snapshot)
            if ours is False:
                foreign.add(snapshot.snapshot_id)
            elif ours:
                logger.info("snapshot_adopted job_id=%s snapshot_id=%s", job.job_id, snapshot.snapshot_id)
                return snapshot.snapshot_id, False
            else:
                untold = True
        return None, untold

    async def _is_ours(self, job: Job, snapshot: Snapshot) -> bool | None:
        """Tell by the echoed ids (without any: by prompt and country) whose a snapshot is; None: not yet to be told."""
        if snapshot.status == "ready":
            try:
                records = await self._client.fetch(snapshot.snapshot_id)
            except UnreadableReply:
                return None
            except SnapshotGone:
                records = []
            if records is None:
                return None
            if _belongs(job, records):
                return True
        elif snapshot.status not in ENDED_WITHOUT_RECORDS:
            return None
        return False


def _belongs(job: Job, records: list[object]) -> bool:
    if ids := echoed_ids(records):
        return bool(ids & {entry.run_id for entry in job.inputs})
    readable = [record for record in records if isinstance(record, dict)]
    prompts = {entry.prompt for entry in job.inputs}
    if not all(str(record.get("prompt")) in prompts for record in readable):
        return False
    return bool(join(job.inputs, readable))
