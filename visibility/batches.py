"""Opening a batch, keeping its lease while a flow works on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from visibility.domain import Org, expected_runs
from visibility.errors import InvalidInput
from visibility.identity import is_alive
from visibility.store import batches as store
from visibility.store.batches import Lease, Opening, Progress
from visibility.store.database import Database


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose lease is ours, with what its steps need; small enough to travel between tasks.

    `models` are the org's and those of an earlier manifest of the day: what was bought of a model that has been
    removed since is still fetched, read and charged.
    """

    batch_id: UUID
    lease_owner: str
    org_id: UUID
    org_name: str
    websites: tuple[str, ...]
    models: tuple[str, ...]
    progress: Progress


async def open_org_batch(
    database: Database,
    org: Org,
    opening: Opening,
    *,
    extractor_version: str,
    max_attempts: int,
    replicates: int = 1,
    wait_seconds: float = 1.0,
    on_wait: Callable[[str], None] = lambda holder: None,
) -> OpenBatch:
    """Find or insert the org's batch of the day, wait for its lease, write its manifest.

    `on_wait(holder)` is called once per holder when another flow is at work on the batch.
    """
    lease = await _wait_for_lease(database, opening, wait_seconds, on_wait)

    def fill(session: Session) -> Progress:
        store.write_manifest(session, lease.batch_id, list(expected_runs(org, replicates)))
        return store.progress(session, lease.batch_id, extractor_version, max_attempts)

    try:
        progress = await database.run(fill)
    except BaseException:
        with suppress(Exception):  # then it lapses by itself; a second try would wait for the first one's lease
            await asyncio.shield(database.run(store.release_lease, lease.batch_id, opening.lease_owner))
        raise
    models = tuple(dict.fromkeys((*org.models, *progress.models)))
    return OpenBatch(lease.batch_id, opening.lease_owner, org.org_id, org.name, org.websites, models, progress)


async def _wait_for_lease(
    database: Database, opening: Opening, wait_seconds: float, on_wait: Callable[[str], None]
) -> Lease:
    """Ask for the lease until it is ours; a holder that is seen to be dead is taken over at once."""
    dead: str | None = None
    told: str | None = None
    while True:
        lease = await database.run(_take_checked_lease, opening, dead)
        if lease.taken:
            return lease
        holder = lease.holder or ""
        dead = holder if holder and is_alive(holder) is False else None
        if dead is None:
            if holder != told:
                on_wait(holder)
                told = holder
            await asyncio.sleep(wait_seconds)


def _take_checked_lease(session: Session, opening: Opening, dead: str | None) -> Lease:
    """Take the lease; refuse (and roll back) when simulated answers would meet real answers or real money."""
    lease = store.take_lease(session, opening, dead_holder=dead)
    if opening.sandbox and store.holds_real_batches(session):
        raise InvalidInput(
            "This database holds evaluations of real vendors, and the sandbox would charge its real balances; "
            "set DATABASE_URL or VISIBILITY_DATA_FOLDER to another place for the sandbox."
        )
    if lease.sandbox and not opening.sandbox:
        raise InvalidInput(
            f"The batch of {opening.key.run_date} was asked of the sandbox and cannot go on with real vendors; "
            "choose another --run-date or another database."
        )
    return lease


@asynccontextmanager
async def kept_lease(database: Database, batch_id: UUID, owner: str, seconds: float) -> AsyncIterator[None]:
    """Renew the lease while the body runs, then give it back; LeaseLost stops the body when another took it."""
    body = asyncio.current_task()
    assert body is not None
    lost = asyncio.Event()

    async def renew() -> None:
        while not lost.is_set():
            await asyncio.sleep(seconds / 3)
            with suppress(Exception):  # whatever it is, the next renewal may come through before the lease lapses
                if not await database.run(store.renew_lease, batch_id, owner, seconds):
                    lost.set()
                    body.cancel()

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost.is_set() and body.uncancel() == 0:
            raise store.lease_lost(batch_id) from None
        raise
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        with suppress(Exception):  # then it lapses by itself
            await asyncio.shield(database.run(store.release_lease, batch_id, owner))
