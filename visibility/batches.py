"""Opening a batch: found or inserted, its lease ours, its manifest written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from visibility.domain import Network, Org, Scope, expected_runs
from visibility.errors import InvalidInput
from visibility.leases import returned_on_failure, wait_for_lease
from visibility.store import batches as store
from visibility.store.batches import Opening, Progress
from visibility.store.database import Database
from visibility.store.leases import HeldLease, Lease


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose lease is ours, with what its steps need; small enough to travel between tasks.

    `models` are the owner's and those of an earlier manifest of the day: what was bought of a model that has been
    removed since is still fetched, read and charged. A network has no websites.
    """

    batch_id: UUID
    lease: HeldLease
    owner_id: UUID
    name: str
    websites: tuple[str, ...]
    models: tuple[str, ...]
    progress: Progress
    scope: Scope = "org"

    @property
    def org_id(self) -> UUID:
        """The owner of a batch of scope org."""
        return self.owner_id


async def open_batch(
    database: Database,
    asker: Org | Network,
    opening: Opening,
    *,
    extractor_version: str,
    max_attempts: int,
    replicates: int = 1,
    wait_seconds: float = 1.0,
    on_wait: Callable[[str], None] = lambda holder: None,
) -> OpenBatch:
    """Find or insert the batch of the day of an org or network, wait for its lease, write its manifest.

    `on_wait(holder)` is called once per holder when another flow is at work on the batch.
    """

    def take(session: Session, dead: str | None) -> Lease:
        return _take_checked_lease(session, opening, dead)

    def fill(session: Session) -> Progress:
        store.write_manifest(session, held.lease_id, list(expected_runs(asker, replicates)))
        return store.progress(session, held.lease_id, extractor_version, max_attempts)

    held = (await wait_for_lease(database, take, wait_seconds, on_wait)).held
    async with returned_on_failure(database, held):
        progress = await database.run(fill)
    websites = asker.websites if isinstance(asker, Org) else ()
    models = tuple(dict.fromkeys((*asker.models, *progress.models)))
    key = opening.key
    return OpenBatch(held.lease_id, held, key.owner_id, asker.name, websites, models, progress, key.scope)


def refuse_real_balances(session: Session) -> None:
    """Raise InvalidInput where simulated answers would be charged to real money."""
    if store.holds_real_batches(session):
        raise InvalidInput(
            "This database holds evaluations of real vendors, and the sandbox would charge its real balances; "
            "set DATABASE_URL or VISIBILITY_DATA_FOLDER to another place for the sandbox."
        )


def _take_checked_lease(session: Session, opening: Opening, dead: str | None) -> Lease:
    """Take the lease; refuse (and roll back) when simulated answers would meet real answers or real money."""
    lease, is_simulated = store.take_lease(session, opening, dead_holder=dead)
    if opening.sandbox:
        refuse_real_balances(session)
    elif is_simulated:
        raise InvalidInput(
            f"The batch of {opening.key.run_date} was asked of the sandbox and cannot go on with real vendors; "
            "choose another --run-date or another database."
        )
    return lease
