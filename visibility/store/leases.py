"""Leases: who works on a batch, or reads a network's answers for an org; every function is one statement.

A running flow renews its lease; whoever finds a live one does not work there; a lapsed one may be taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from visibility.errors import LeaseLost
from visibility.store.tables import Batch, ReadingLease

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
LeaseKind = Literal["batch", "reading"]

# the end of an INSERT of a table that has leases, under the alias `leased`: a lease is free, lapsed, ours already,
# or of a holder that is known to be dead
TAKE_OVER = """
    DO UPDATE SET lease_owner = excluded.lease_owner, lease_expires_at = excluded.lease_expires_at,
        flow_run_id = excluded.flow_run_id
    WHERE leased.lease_owner IS NULL OR leased.lease_expires_at < now()
       OR leased.lease_owner IN (excluded.lease_owner, :dead_holder)
"""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """What is held, and by whom; small enough to travel between tasks. Of a batch, `lease_id` is the batch_id."""

    of: LeaseKind
    lease_id: UUID
    owner: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Result of asking for a lease: ours when `taken`, else `holder` has it (None: given back a moment ago)."""

    of: LeaseKind
    lease_id: UUID
    taken: bool
    holder: str | None

    @property
    def held(self) -> HeldLease:
        """What is held by its holder; only of a lease that somebody has."""
        assert self.holder is not None
        return HeldLease(self.of, self.lease_id, self.holder)


def take_reading_lease(
    session: Session,
    org_id: UUID,
    network_id: UUID | None,
    *,
    owner: str,
    seconds: float,
    flow_run_id: UUID | None = None,
    dead_holder: str | None = None,
) -> Lease:
    """Take the lease of reading a network's answers for an org, or (no network) its own, when it can be had."""
    whose = {"org_id": org_id, "network_id": network_id}
    taking = {"owner": owner, "seconds": seconds, "flow_run_id": flow_run_id, "dead_holder": dead_holder}
    lease_id = session.execute(_TAKE_READING, {**whose, **taking}).scalar_one_or_none()
    if lease_id is not None:
        return Lease("reading", lease_id, True, owner)
    found = session.execute(_FIND_READING, whose).one()
    return Lease("reading", found.lease_id, False, found.lease_owner)


_NO_NETWORK = "'00000000-0000-0000-0000-000000000000'"
_TAKE_READING = text(
    f"""
    INSERT INTO reading_leases AS leased (org_id, network_id, flow_run_id, lease_owner, lease_expires_at)
    VALUES (:org_id, :network_id, :flow_run_id, :owner, now() + make_interval(secs => :seconds))
    ON CONFLICT (org_id, coalesce(network_id, {_NO_NETWORK})) {TAKE_OVER}
    RETURNING lease_id
    """
)
_FIND_READING = text(
    f"""
    SELECT lease_id, lease_owner FROM reading_leases
    WHERE org_id = :org_id
      AND coalesce(network_id, {_NO_NETWORK}) = coalesce(CAST(:network_id AS uuid), {_NO_NETWORK})
    """
)


def renew_lease(session: Session, held: HeldLease, seconds: float) -> bool:
    """Prolong our lease; False when another has taken it over."""
    return update_held(session, held, lease_expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds))


def release_lease(session: Session, held: HeldLease) -> bool:
    """Give the lease back without changing the state of what it is of; False when it is not ours."""
    return update_held(session, held, lease_owner=None, lease_expires_at=None)


def with_lease(
    session: Session,
    held: HeldLease,
    work: Callable[Concatenate[Session, Arguments], Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """Do `work(session, …)`; nobody can take the lease over before this transaction ends.

    Raises LeaseLost when somebody has: a process that was asleep must not reserve or charge beside its successor.
    """
    ours = select(_key(held)).where(*_ours(held)).with_for_update(key_share=True)
    if session.execute(ours).one_or_none() is None:
        raise lease_lost(held)
    return work(session, *args, **kwargs)


def update_held(session: Session, held: HeldLease, **values: Any) -> bool:
    """Set columns of the batch or the reading lease; False, and nothing set, when the lease is not ours."""
    changed = session.execute(update(_TABLES[held.of]).where(*_ours(held)).values(**values).returning(_key(held)))
    return changed.one_or_none() is not None


def lease_lost(held: HeldLease) -> LeaseLost:
    """Return the error that stops a flow whose work another one does."""
    if held.of == "batch":
        return LeaseLost(f"Another flow has taken over batch {held.lease_id}; this one stopped.")
    return LeaseLost(f"Another flow has taken over reading for this org (lease {held.lease_id}); this one stopped.")


_TABLES: dict[LeaseKind, type[Batch] | type[ReadingLease]] = {"batch": Batch, "reading": ReadingLease}


def _key(held: HeldLease) -> InstrumentedAttribute[UUID]:
    return Batch.batch_id if held.of == "batch" else ReadingLease.lease_id


def _ours(held: HeldLease) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _key(held) == held.lease_id, _TABLES[held.of].lease_owner == held.owner
