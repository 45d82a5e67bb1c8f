"""Writing partners, networks and orgs as a file describes them; writing the same twice changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4, uuid5

from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from visibility.billing.top_ups import ensure_opening_balance
from visibility.domain import PayerType
from visibility.errors import InvalidFile
from visibility.store.tables import (
    Base,
    GeoModel,
    GeoQuestion,
    LocationRow,
    Network,
    OrgRow,
    OrgWebsite,
    Partner,
    PricingConfig,
    Schedule,
)
from visibility.store.tenant_file import (
    NetworkEntry,
    OrgEntry,
    OwnerEntry,
    PartnerEntry,
    PricingEntry,
    QuestionEntry,
    TenantFile,
)
from visibility.store.yaml_lines import Place, Source

IDENTITIES = UUID("6f2a3c52-3f0e-5c57-9a55-0d6f3a3f6d01")  # a new tenant has the same id in every database
ADVISORY_LOCK = 7_304_151_920

Row = TypeVar("Row", bound=Base)
OwnerRow = TypeVar("OwnerRow", OrgRow, Network)


@dataclass(slots=True)
class Changes:
    """How many rows were made, and how many altered or removed."""

    created: int = 0
    updated: int = 0


@dataclass(slots=True)
class Writer:
    """One file on its way into the database."""

    session: Session
    source: Source
    changes: Changes = field(default_factory=Changes)

    def write(self, content: TenantFile) -> tuple[list[UUID], list[UUID]]:
        """Write everything; return (org ids, network ids). Raises InvalidFile for what the database contradicts."""
        # two loaders of one file would both find a question missing and both add it
        self.session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        partner = self._partner(content.partner)
        networks = [
            self._network(("networks", number), entry, partner) for number, entry in enumerate(content.networks)
        ]
        orgs = [self._org(("orgs", number), entry, partner) for number, entry in enumerate(content.orgs)]
        return [org.org_id for org in orgs], [network.network_id for network in networks]

    def _partner(self, entry: PartnerEntry) -> UUID:
        row = self._named(Partner, ("partner",), entry.id, {"name": entry.name})
        if row is None:
            partner_id = self._new_id(Partner, entry.id, entry.name)
            row = self._add(Partner(partner_id=partner_id, name=entry.name))
        self._set(row, {"name": entry.name})
        self._balance("PARTNER", row.partner_id, entry)
        if entry.pricing is not None:
            self._pricing(row.partner_id, entry.pricing)
        return row.partner_id

    def _network(self, place: Place, entry: NetworkEntry, partner_id: UUID) -> Network:
        row = self._owned_by(Network, place, entry, partner_id)
        if row is None:
            network_id = self._new_id(Network, entry.id, f"{partner_id}/{entry.name}")
            row = self._add(Network(network_id=network_id, partner_id=partner_id, name=entry.name))
        self._set(row, {"name": entry.name, "deleted_at": None})
        self._lists({"network_id": row.network_id}, entry)
        return row

    def _org(self, place: Place, entry: OrgEntry, partner_id: UUID) -> OrgRow:
        row = self._owned_by(OrgRow, place, entry, partner_id)
        if row is None:
            org_id = self._new_id(OrgRow, entry.id, f"{partner_id}/{entry.name}")
            row = self._add(OrgRow(org_id=org_id, partner_id=partner_id, **self._org_columns(place, entry, partner_id)))
        self._set(row, self._org_columns(place, entry, partner_id, row))
        self._lists({"org_id": row.org_id}, entry)
        if entry.websites is not None:
            self._replace(OrgWebsite, {"org_id": row.org_id}, [{"url": url} for url in entry.websites])
        self._balance("ORG", row.org_id, entry)
        return row

    def _org_columns(
        self, place: Place, entry: OrgEntry, partner_id: UUID, row: OrgRow | None = None
    ) -> dict[str, Any]:
        """Who stays in a network keeps the day of joining: what was asked before it is not evaluated."""
        network_id = self._network_id(place, entry.network, partner_id)
        joined_at = self.session.scalar(select(func.now())) if network_id else None
        if row is not None and row.network_id == network_id:
            joined_at = row.network_joined_at
        return {
            "name": entry.name,
            "is_free_tier": entry.free_tier,
            "spend_limit": entry.spend_limit,
            "network_id": network_id,
            "network_joined_at": joined_at,
            "deleted_at": None,
        }

    def _network_id(self, place: Place, name: str | None, partner_id: UUID) -> UUID | None:
        if name is None:
            return None
        named = select(Network.network_id).filter_by(partner_id=partner_id, name=name, deleted_at=None)
        network_id = self.session.scalar(named)
        if network_id is None:
            raise self._contradiction((*place, "network"), f"the partner has no network {name!r}.")
        return network_id

    def _lists(self, owner: dict[str, UUID], entry: OwnerEntry) -> None:
        """A list that the file does not give stays as it is."""
        if entry.questions is not None:
            self._questions(owner, entry.questions)
        if entry.models is not None:
            self._replace(GeoModel, owner, [{"name": name} for name in entry.models])
        if entry.locations is not None:
            places = [
                {"country_code": place.country, "region_name": place.region, "city": place.city}
                for place in entry.locations
            ]
            self._replace(LocationRow, owner, places)
        if entry.schedule is not None:
            self._replace(Schedule, owner, [{"dow": day} for day in entry.schedule])

    def _questions(self, owner: dict[str, UUID], entries: list[QuestionEntry]) -> None:
        """Answers refer to a question for ever: one that has left the file is marked deleted, and may return."""
        stored = {row.question_text: row for row in self.session.scalars(select(GeoQuestion).filter_by(**owner))}
        for entry in entries:
            row = stored.pop(entry.text, None)
            if row is None:
                row = self._add(GeoQuestion(**owner, question_text=entry.text, type=entry.type, tags=entry.tags))
            self._set(row, {"type": entry.type, "tags": entry.tags, "deleted_at": None})
        now = self.session.scalar(select(func.now()))
        for row in stored.values():
            if row.deleted_at is None:
                self._set(row, {"deleted_at": now})

    def _replace(self, table: type[Any], owner: dict[str, UUID], wanted: list[dict[str, Any]]) -> None:
        """Make the owner's rows of a table exactly the wanted ones, keeping those that are right."""
        missing = {tuple(columns.items()) for columns in wanted}
        for row in self.session.scalars(select(table).filter_by(**owner)):
            stored = tuple((name, getattr(row, name)) for name in (wanted[0] if wanted else {}))
            if stored in missing:
                missing.discard(stored)
            else:
                self.session.delete(row)
                self.changes.updated += 1
        self.session.flush()
        for columns in wanted:
            if tuple(columns.items()) in missing:
                self._add(table(**owner, **columns))

    def _balance(self, payer_type: PayerType, payer_id: UUID, entry: PartnerEntry | OrgEntry) -> None:
        """Money enters once: a payer that has a balance keeps it, whatever the file says."""
        self.session.flush()
        if entry.balance is not None and ensure_opening_balance(self.session, payer_type, payer_id, entry.balance):
            self.changes.created += 1

    def _pricing(self, partner_id: UUID, entry: PricingEntry) -> None:
        of_runs = {"partner_id": partner_id, "action": "question_run"}
        row = self.session.scalar(select(PricingConfig).filter_by(**of_runs))
        if row is None:
            self._add(PricingConfig(**of_runs, **entry.model_dump()))
        else:
            self._set(row, entry.model_dump())

    def _owned_by(self, table: type[Any], place: Place, entry: NetworkEntry | OrgEntry, partner_id: UUID) -> Any | None:
        row = self._named(table, place, entry.id, {"partner_id": partner_id, "name": entry.name})
        if row is not None and row.partner_id != partner_id:
            raise self._contradiction((*place, "id"), f"{entry.id} belongs to another partner.")
        return row

    def _named(self, table: type[Row], place: Place, given: UUID | None, name: Mapping[str, Any]) -> Row | None:
        """Find a row by its given id, else by name; a name that belongs to another id is a contradiction."""
        key = inspect(table).primary_key[0].name
        by_name = self.session.scalar(select(table).filter_by(**name))
        if given is None:
            return by_name
        if by_name is not None and getattr(by_name, key) != given:
            stored = getattr(by_name, key)
            raise self._contradiction((*place, "id"), f"{name['name']!r} is stored with the id {stored}, not {given}.")
        return self.session.get(table, given)

    def _new_id(self, table: type[Base], given: UUID | None, name: str) -> UUID:
        """The given id, else one made of the name, unless a tenant that was renamed since still has that."""
        made = given or uuid5(IDENTITIES, f"{table.__tablename__}/{name}")
        return uuid4() if self.session.get(table, made) is not None else made

    def _add(self, row: Row) -> Row:
        self.session.add(row)
        self.session.flush()
        self.changes.created += 1
        return row

    def _set(self, row: Any, columns: Mapping[str, Any]) -> None:
        altered = {name: value for name, value in columns.items() if getattr(row, name) != value}
        for name, value in altered.items():
            setattr(row, name, value)
        self.changes.updated += bool(altered)

    def _contradiction(self, place: Place, message: str) -> InvalidFile:
        return InvalidFile(self.source.complaint(place, message))
