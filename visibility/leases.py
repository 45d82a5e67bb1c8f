"""Waiting for a lease, and keeping it while a flow works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy.orm import Session

from visibility.identity import is_alive
from visibility.store import leases as store
from visibility.store.database import Database
from visibility.store.leases import HeldLease, Lease


async def wait_for_lease(
    database: Database,
    take: Callable[[Session, str | None], Lease],
    wait_seconds: float,
    on_wait: Callable[[str], None],
) -> Lease:
    """Ask `take(session, dead holder)` for the lease until it is ours; a holder seen to be dead is taken over at once.

    `on_wait(holder)` is called once per holder when another flow is at work.
    """
    dead: str | None = None
    told: str | None = None
    while True:
        lease = await database.run(take, dead)
        if lease.taken:
            return lease
        holder = lease.holder or ""
        dead = holder if holder and is_alive(holder) is False else None
        if dead is None:
            if holder != told:
                on_wait(holder)
                told = holder
            await asyncio.sleep(wait_seconds)


@asynccontextmanager
async def returned_on_failure(database: Database, held: HeldLease) -> AsyncIterator[None]:
    """Give the lease back when the body fails: a second try would wait for the first one's lease."""
    try:
        yield
    except BaseException:
        await _give_back(database, held)
        raise


@asynccontextmanager
async def kept_lease(database: Database, held: HeldLease, seconds: float) -> AsyncIterator[None]:
    """Renew the lease while the body runs, then give it back; LeaseLost stops the body when another took it."""
    body = asyncio.current_task()
    assert body is not None
    lost = asyncio.Event()

    async def renew() -> None:
        while not lost.is_set():
            await asyncio.sleep(seconds / 3)
            with suppress(Exception):  # whatever it is, the next renewal may come through before the lease lapses
                if not await database.run(store.renew_lease, held, seconds):
                    lost.set()
                    body.cancel()

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost.is_set() and body.uncancel() == 0:
            raise store.lease_lost(held) from None
        raise
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        await _give_back(database, held)


async def _give_back(database: Database, held: HeldLease) -> None:
    with suppress(Exception):  # then it lapses by itself
        await asyncio.shield(database.run(store.release_lease, held))
