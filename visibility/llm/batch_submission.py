"""One batch of LLM requests at the vendor: submitted once, found again after a crash, looked at until it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import stamina
import structlog

from visibility.errors import RetryableError, VisibilityError
from visibility.llm.vendor_batches import BatchGone, VendorBatches
from visibility.settings import LlmSettings
from visibility.store.database import Database
from visibility.store.llm_batches import NOBODY, BatchRow, finish, keep, load, release, save_vendor_batch, take_over

SILENT_POLLS = 10  # without a sign of life a submitter that cannot be seen counts as gone
LAST_LOOK = 1.1  # of the deadline; a batch that was cancelled and has not ended by then brings nothing any more
FAILED_LOOKS = 10  # in a row, the last one after LAST_LOOK: a batch that cannot be read brings nothing either

log = structlog.get_logger(__name__)


class BatchSubmission:
    """What a process does with batches, its own and those that dead ones have left."""

    def __init__(
        self,
        database: Database,
        vendor: VendorBatches,
        settings: LlmSettings,
        submitter: str,
        is_alive: Callable[[str], bool | None],
    ) -> None:
        self._database, self._vendor, self._settings = database, vendor, settings
        self._submitter, self._is_alive = submitter, is_alive
        self._under_way: set[UUID] = set()
        self._watched: dict[UUID, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._failed_looks: Counter[UUID] = Counter()

    @contextmanager
    def under_way(self, llm_batch_id: UUID) -> Iterator[None]:
        """While the body runs nobody here takes the batch for one that a crash has left."""
        self._under_way.add(llm_batch_id)
        try:
            yield
        finally:
            self._under_way.discard(llm_batch_id)

    async def submit(self, llm_batch_id: UUID, lines: Sequence[bytes]) -> None:
        """Send a batch that is written already; raises nothing of the vendor's.

        One that the vendor refuses is closed as failed. Where it cannot be told whether it was accepted, the batch
        stays `submitting`: `see_through` looks it up.
        """
        try:
            file_id = await self._uploaded(llm_batch_id, lines)
        except VisibilityError as error:
            await self._give_up(llm_batch_id, error.code)
            return
        if not await self._database.insist(keep, llm_batch_id, self._submitter, input_file_id=file_id):
            return
        try:
            vendor_batch_id = await self._vendor.create(llm_batch_id, file_id)
        except RetryableError as error:
            log.warning("llm_batch.submission_unclear", llm_batch_id=str(llm_batch_id), code=error.code)
            await self._database.insist(keep, llm_batch_id, self._submitter)
        except VisibilityError as error:
            await self._give_up(llm_batch_id, error.code)
        else:
            await self._save(llm_batch_id, vendor_batch_id)

    async def see_through(self, llm_batch_id: UUID) -> None:
        """Wait until the batch is closed, or was deleted because the vendor never got it.

        Its submitter looks at it; in place of one that is gone, this process does. Raises FatalError when the vendor
        refuses the account. However many wait for a batch, it is looked at once.
        """
        watching = self._watched.get(llm_batch_id)
        if watching is None:
            watching = self._watched[llm_batch_id] = asyncio.create_task(self._watch(llm_batch_id))
            watching.add_done_callback(lambda _: self._watched.pop(llm_batch_id))
        await asyncio.shield(watching)

    async def close(self) -> None:
        """Stop looking; what is open stays open."""
        watching = list(self._watched.values())
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    async def _watch(self, llm_batch_id: UUID) -> None:
        while (row := await self._database.insist(load, llm_batch_id)) is not None and row.is_open:
            closed = await self._is_ours(row) and await self._advanced(row)
            if not closed:
                await asyncio.sleep(self._settings.llm_batch_poll_seconds)

    async def _uploaded(self, llm_batch_id: UUID, lines: Sequence[bytes]) -> str:
        async for attempt in stamina.retry_context(
            on=RetryableError,
            attempts=self._settings.llm_max_attempts,
            timeout=None,
            wait_initial=self._settings.llm_backoff_seconds,
        ):
            with attempt:
                file_id = await self._vendor.upload(llm_batch_id, lines)
        return file_id

    async def _save(self, llm_batch_id: UUID, vendor_batch_id: str) -> None:
        if await self._database.insist(save_vendor_batch, llm_batch_id, self._submitter, vendor_batch_id):
            log.info("llm_batch.submitted", llm_batch_id=str(llm_batch_id), vendor_batch_id=vendor_batch_id)
        else:  # given up by another process meanwhile, which asks again
            await self._cancel(vendor_batch_id)

    async def _is_ours(self, row: BatchRow) -> bool:
        """Return whether it is for this process to look at the batch, now that it may have been taken over."""
        if row.llm_batch_id in self._under_way:
            return False
        if row.submitter == self._submitter:
            return True
        silent = row.idle_seconds > SILENT_POLLS * self._settings.llm_batch_poll_seconds
        if row.submitter != NOBODY and not silent and self._is_alive(row.submitter) is not False:
            return False
        return await self._database.run(take_over, row.llm_batch_id, self._submitter, row.submitter)

    async def _advanced(self, row: BatchRow) -> bool:
        """Take the batch a step on; return whether it is over."""
        try:
            if row.vendor_batch_id is None:
                closed = await self._looked_up(row)
            else:
                closed = await self._looked_at(row, row.vendor_batch_id)
        except RetryableError as error:
            log.warning("llm_batch.not_looked_at", llm_batch_id=str(row.llm_batch_id), code=error.code)
            self._failed_looks[row.llm_batch_id] += 1
            late = row.age_seconds > self._settings.llm_batch_deadline_seconds * LAST_LOOK
            hopeless = late and self._failed_looks[row.llm_batch_id] >= FAILED_LOOKS
            return hopeless and await self._give_up(row.llm_batch_id, error.code)
        self._failed_looks.pop(row.llm_batch_id, None)
        return closed

    async def _looked_up(self, row: BatchRow) -> bool:
        """Find a batch whose id was not saved; the vendor may list it late: only after the grace was it never there."""
        vendor_batch_id = await self._vendor.find(row.llm_batch_id, row.created_at)
        if vendor_batch_id is not None:
            await self._save(row.llm_batch_id, vendor_batch_id)
            return False
        if row.idle_seconds < self._settings.llm_batch_grace_seconds:
            return False
        log.warning("llm_batch.never_submitted", llm_batch_id=str(row.llm_batch_id))
        return await self._database.insist(release, row.llm_batch_id, self._submitter)

    async def _looked_at(self, row: BatchRow, vendor_batch_id: str) -> bool:
        deadline = self._settings.llm_batch_deadline_seconds
        try:
            look = await self._vendor.look(vendor_batch_id)
            results = [] if look.ended is None else await self._vendor.results(look.files)
        except BatchGone as gone:
            return await self._give_up(row.llm_batch_id, gone.code)
        await self._database.run(keep, row.llm_batch_id, self._submitter)
        if look.ended is not None:
            log.info("llm_batch.ended", llm_batch_id=str(row.llm_batch_id), state=look.ended, why=look.why)
            return await self._database.insist(finish, row.llm_batch_id, look.ended, results)
        if row.age_seconds > deadline * LAST_LOOK and vendor_batch_id in self._cancelled:
            return await self._give_up(row.llm_batch_id, "llm_batch_late")
        if row.age_seconds > deadline:
            await self._cancel(vendor_batch_id)
        return False

    async def _give_up(self, llm_batch_id: UUID, code: str) -> bool:
        """Close a batch that brings nothing: its requests go directly."""
        log.warning("llm_batch.failed", llm_batch_id=str(llm_batch_id), code=code)
        await self._database.insist(finish, llm_batch_id, "failed", [])
        return True

    async def _cancel(self, vendor_batch_id: str) -> None:
        self._cancelled.add(vendor_batch_id)
        try:
            await self._vendor.cancel(vendor_batch_id)
        except VisibilityError as error:
            log.warning("llm_batch.not_cancelled", vendor_batch_id=vendor_batch_id, code=error.code)
