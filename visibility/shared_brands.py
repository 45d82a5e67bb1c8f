"""The brands of answers that several orgs share, bought once per answer whoever asks first.

Inside a process those who want the same answer await the same call; between processes the claim in `brand_readings`
decides, which is taken over from a reader that died.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from visibility.brands import find_brands
from visibility.calls import BRANDS, Reader
from visibility.domain import Brand, LlmCall, StoredAnswer
from visibility.errors import FatalError, VisibilityError
from visibility.grounding import Share
from visibility.identity import is_alive as lives
from visibility.llm.client import LlmClient
from visibility.reading import AnswerBrands, OpenAnswer
from visibility.store.brand_readings import Claimant, claim, release, renew, save_readings
from visibility.store.database import Database
from visibility.versions import brands_version

log = structlog.get_logger(__name__)


@dataclass
class BrandsRead:
    """Brands by question run, or why there are none; `calls` are those made for the one who asked first."""

    brands: dict[UUID, tuple[Brand, ...]] = field(default_factory=dict)
    failed: dict[UUID, str] = field(default_factory=dict)
    fatal: FatalError | None = None
    calls: list[LlmCall] = field(default_factory=list)


class SharedBrands:
    """One per process and event loop; `reader` is this process's name, which others check for life.

    A failed reading is tried again by other processes, at most `max_attempts` times in all; what failed for the
    vendor's state and not for its text, by whoever asks next.
    """

    def __init__(
        self,
        database: Database,
        client: LlmClient,
        *,
        reader: str,
        max_attempts: int,
        claim_seconds: float = 60,
        poll_seconds: float = 0.5,
        is_alive: Callable[[str], bool | None] = lives,
    ) -> None:
        self.version = brands_version(client.settings)
        self._database, self._client, self._is_alive = database, client, is_alive
        self._claimant = Claimant(reader, self.version, claim_seconds, max_attempts, datetime.now(UTC))
        self._poll_seconds = poll_seconds
        self._pending: dict[UUID, asyncio.Task[BrandsRead]] = {}
        self._given_up: dict[UUID, str] = {}

    async def of(self, answers: Sequence[StoredAnswer], batch_id: UUID, *, answers_per_call: int) -> BrandsRead:
        """Return the brands of answers of a batch: as loaded, as another reads them, or else bought now.

        Cancelling the caller stops no call: others may be waiting for it. Raises what the database raises.
        """
        result = self._known(answers)
        known = result.brands.keys() | result.failed.keys()
        open_ = [answer for answer in answers if answer.question_run_id not in known]
        first = [answer for answer in open_ if answer.question_run_id not in self._pending]
        ours = self._begin(first, batch_id, answers_per_call) if first else None
        tasks = {self._pending[answer.question_run_id] for answer in open_}
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            _add(result, task.result(), [answer.question_run_id for answer in open_])
        result.calls = ours.result().calls if ours else []
        return result

    def given_up(self, answers: Sequence[StoredAnswer]) -> dict[UUID, str]:
        """Return the answers whose brands could not be read in this process and have not been loaded, by code."""
        ids = [answer.question_run_id for answer in answers if answer.brands is None]
        return {run_id: self._given_up[run_id] for run_id in ids if run_id in self._given_up}

    async def close(self) -> None:
        """Stop what is under way and let others read it."""
        tasks, run_ids = set(self._pending.values()), list(self._pending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if run_ids:
            with suppress(VisibilityError):  # then the claims lapse by themselves
                await self._database.run(release, run_ids, self._claimant)

    def _known(self, answers: Sequence[StoredAnswer]) -> BrandsRead:
        """Return what needs no call: brands that were loaded, texts without a word, what failed here before."""
        known = BrandsRead(failed=self.given_up(answers))
        for answer in answers:
            if answer.brands is not None or not answer.response_text.strip():
                known.brands[answer.question_run_id] = answer.brands or ()
        return known

    def _begin(
        self, answers: Sequence[StoredAnswer], batch_id: UUID, answers_per_call: int
    ) -> asyncio.Task[BrandsRead]:
        task = asyncio.create_task(self._read(answers, batch_id, answers_per_call))
        self._pending.update((answer.question_run_id, task) for answer in answers)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[BrandsRead]) -> None:
        self._pending = {run_id: other for run_id, other in self._pending.items() if other is not task}
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("brands.reading_stopped", error=type(error).__name__)  # also when nobody awaits it any more

    async def _read(self, answers: Sequence[StoredAnswer], batch_id: UUID, answers_per_call: int) -> BrandsRead:
        """Buy what can be claimed, and wait for what others have claimed, until every answer has an end."""
        result = BrandsRead()
        left = {answer.question_run_id: answer for answer in answers}
        dead: list[str] = []
        while left:
            claims = await self._database.insist(claim, list(left), self._claimant, dead_readers=dead)
            result.brands.update(claims.read)
            result.failed.update(claims.failed)
            await self._buy([left[run_id] for run_id in claims.taken], batch_id, answers_per_call, result)
            left = {run_id: left[run_id] for run_id in left.keys() - result.brands.keys() - result.failed.keys()}
            dead = [reader for reader in {*claims.waiting.values()} if self._is_alive(reader) is False]
            if left and not dead and not claims.taken:
                await asyncio.sleep(self._poll_seconds)
        return result

    async def _buy(
        self, answers: Sequence[StoredAnswer], batch_id: UUID, answers_per_call: int, result: BrandsRead
    ) -> None:
        """Read claimed answers, store what came of them and add it to the result.

        Left out of the result are those whose claim was lost meanwhile: the brands of who took it over count.
        """
        if not answers:
            return
        reader = Reader(self._client, BRANDS, batch_id)
        found: dict[UUID, tuple[Brand, ...]] = {}

        def keep(answer: OpenAnswer, entry: AnswerBrands, _share: Share) -> None:
            found[answer.answer.question_run_id] = find_brands(answer.text, entry.brands)

        async with self._kept([answer.question_run_id for answer in answers]):
            await reader.read([OpenAnswer(answer, (), ()) for answer in answers], answers_per_call, keep)
            stored = await self._database.insist(_store, self._claimant, reader, found)
        self._given_up |= {run_id: failure.code for run_id, failure in reader.failed.items() if failure.of_answer}
        result.brands.update((run_id, found[run_id]) for run_id in stored)
        result.failed.update((run_id, failure.code) for run_id, failure in reader.failed.items())
        result.fatal = reader.fatal or result.fatal
        result.calls.extend(reader.calls)

    @asynccontextmanager
    async def _kept(self, run_ids: Sequence[UUID]) -> AsyncIterator[None]:
        """Renew the claims while the body runs."""

        async def renewals() -> None:
            while True:
                await asyncio.sleep(self._claimant.seconds / 3)
                with suppress(VisibilityError):  # the next one may come through before the claims lapse
                    await self._database.run(renew, run_ids, self._claimant)

        renewing = asyncio.create_task(renewals())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing


def _store(
    session: Session, claimant: Claimant, reader: Reader[AnswerBrands], found: dict[UUID, tuple[Brand, ...]]
) -> frozenset[UUID]:
    """Store brands, failures of the answers' own and the calls; what failed otherwise anybody may try at once."""
    failed = {run_id: failure.code for run_id, failure in reader.failed.items() if failure.of_answer}
    if released := reader.failed.keys() - failed.keys():
        release(session, sorted(released), claimant)
    return save_readings(session, claimant, found, failed, reader.calls)


def _add(result: BrandsRead, other: BrandsRead, run_ids: Sequence[UUID]) -> None:
    """Add what the other result says about these runs."""
    result.brands.update((run_id, other.brands[run_id]) for run_id in run_ids if run_id in other.brands)
    result.failed.update((run_id, other.failed[run_id]) for run_id in run_ids if run_id in other.failed)
    result.fatal = result.fatal or other.fatal
