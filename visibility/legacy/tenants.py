"""Partners, networks and orgs of the old system as rows of ours; ids are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from visibility.legacy.repair import repaired
from visibility.legacy.report import OURS, Report
from visibility.legacy.source import LegacyDatabase, Row
from visibility.legacy.values import Refused, an_id, flag, maybe_id, moment, money, words
from visibility.legacy.writing import Columns, put, told_apart
from visibility.store.tables import Network, OrgRow, Partner, PricingConfig
from visibility.store.tenant_file import Entry, NetworkEntry, OrgEntry, PartnerEntry, PricingEntry, sentence

SomeEntry = TypeVar("SomeEntry", bound=Entry)
Named = TypeVar("Named", Network, OrgRow)

LISTS = ("websites", "models", "locations", "questions", "schedules")


@dataclass(slots=True)
class Tenants:
    """The old system's tenants, small enough for memory: rows by partner, what they own by owner."""

    partners: list[Columns]
    networks: dict[UUID, list[Columns]]
    orgs: dict[UUID, list[Columns]]
    pricing: dict[UUID, list[Columns]]
    lists: dict[str, dict[UUID, list[Row]]]
    given_lists: frozenset[str] = field(default_factory=frozenset)
    known: frozenset[str] = field(default_factory=frozenset)
    """Ids of all orgs and networks that the old system has, taken over or not."""

    def of_partner(self, partner_id: UUID) -> set[UUID]:
        """Return the ids of the partner's orgs."""
        return {org["org_id"] for org in self.orgs.get(partner_id, [])}


def read_tenants(source: LegacyDatabase, report: Report, without: Collection[str] = ()) -> Tenants:
    """Read every tenant; what cannot be one of ours is reported and left out."""
    partners = list(_partners(source, report))
    names = {partner["partner_id"] for partner in partners}
    given_networks, given_orgs = source.rows("networks"), source.rows("orgs")
    networks = list(_networks(given_networks, report, names))
    orgs = list(_orgs(given_orgs, report, names, {row["network_id"]: row["partner_id"] for row in networks}))
    given = frozenset(name for name in LISTS if source.has(name) and name not in without)
    owners = {row["org_id"] for row in orgs} | {row["network_id"] for row in networks}
    return Tenants(
        partners=partners,
        networks=_grouped(networks),
        orgs=_grouped(orgs),
        pricing=_grouped(list(_pricing(source, report, names))),
        lists={name: _owned(source, report, name, owners) for name in given},
        given_lists=given,
        known=frozenset(
            {str(row["network_id"]).lower() for row in given_networks}
            | {str(row["org_id"]).lower() for row in given_orgs}
        ),
    )


def write_partner(session: Session, partner: Columns, tenants: Tenants, report: Report) -> None:
    """Write a partner with its prices, networks and orgs, not what these own."""
    partner_id = partner["partner_id"]
    put(session, Partner, [partner], report, only_new=("created_at",))
    _write_prices(session, partner_id, tenants.pricing.get(partner_id, []), report)
    networks, orgs = tenants.networks.get(partner_id, []), tenants.orgs.get(partner_id, [])
    _make_way(session, Network, partner, networks, tenants.known, report)
    put(session, Network, networks, report, only_new=("created_at",))
    _make_way(session, OrgRow, partner, orgs, tenants.known, report)
    put(session, OrgRow, list(_joined(session, orgs)), report, only_new=("created_at",))


def _write_prices(session: Session, partner_id: UUID, prices: list[Columns], report: Report) -> None:
    """A price that took the place of another has an id of its own."""
    replaced = delete(PricingConfig).where(
        PricingConfig.partner_id == partner_id,
        PricingConfig.action.in_([price["action"] for price in prices]),
        PricingConfig.pricing_config_id.not_in([price["pricing_config_id"] for price in prices]),
    )
    gone = session.scalars(replaced.returning(PricingConfig.pricing_config_id)).all()
    report.counts(PricingConfig.__tablename__).removed += len(gone)
    put(session, PricingConfig, prices, report)


def _make_way(
    session: Session,
    table: type[Named],
    partner: Columns,
    rows: Sequence[Columns],
    known: Collection[str],
    report: Report,
) -> None:
    """Of what is here and not among the rows: what has left the old system is deleted, and a name is given away."""
    key, name = ("org_id" if table is OrgRow else "network_id"), table.__tablename__
    kept, names = {row[key] for row in rows}, {row["name"] for row in rows}
    counts, now = report.counts(name), session.scalar(select(func.now()))
    for stored in session.scalars(select(table).filter_by(partner_id=partner["partner_id"])):
        stored_id = getattr(stored, key)
        if stored_id in kept:
            continue
        if stored.deleted_at is None and str(stored_id) not in known:
            stored.deleted_at = now
            counts.removed += 1
            report.note(name, stored_id, "the old system does not have it any more; it is deleted here")
        if stored.name in names:
            stored.name = _told_apart(report, name, stored_id, stored.name)
            counts.updated += 1
    session.flush()


def _joined(session: Session, orgs: Sequence[Columns]) -> Iterator[Columns]:
    """Who is new in a network joined it now: the old system has evaluated what was asked before."""
    stored = select(OrgRow.org_id, OrgRow.network_id, OrgRow.network_joined_at).where(
        OrgRow.org_id.in_([org["org_id"] for org in orgs])
    )
    here = {row.org_id: row for row in session.execute(stored)}
    now: datetime | None = session.scalar(select(func.now()))
    for org in orgs:
        known = here.get(org["org_id"])
        same = known is not None and known.network_id == org["network_id"]
        joined = now if org["network_id"] else None
        yield org | {"network_joined_at": known.network_joined_at if known is not None and same else joined}


def checked(entry: type[SomeEntry], **values: Any) -> SomeEntry:
    """Return what a file of tenants may say, too; raises Refused with the sentence that it would get."""
    try:
        return entry.model_validate(values)
    except ValidationError as error:
        raise Refused(sentence(error.errors(include_url=False)[0]).rstrip(".")) from error


def _partners(source: LegacyDatabase, report: Report) -> Iterator[Columns]:
    taken: set[str] = set()
    rows = sorted(source.rows("partners"), key=lambda row: str(row["partner_id"]))
    for row in _converted(report, "partners", "partner_id", rows, _partner):
        if row["name"] in taken:
            row["name"] = _told_apart(report, "partners", row["partner_id"], row["name"])
        taken.add(row["name"])
        yield row


def _partner(row: Row, report: Report) -> Columns:
    partner_id = an_id(row, "partner_id")
    return {"partner_id": partner_id, "name": _name(PartnerEntry, row, "partners", report)} | _made(row)


def _pricing(source: LegacyDatabase, report: Report, partners: Collection[UUID]) -> Iterator[Columns]:
    def convert(row: Row, report: Report) -> Columns:
        price = checked(
            PricingEntry, **{name: row[name] for name in ("fixed_price", "margin_pct") if row[name] is not None}
        )
        if price.margin_pct is not None and not 0 <= price.margin_pct < 1:
            raise Refused(f"its margin {price.margin_pct} is no ratio from 0 up to, but not including, 1")
        owner = {"pricing_config_id": an_id(row, "pricing_config_id"), "partner_id": _partner_of(row, partners)}
        return (
            owner | {"action": words(row, "action") or "question_run"} | price.model_dump(exclude={"share_answer_cost"})
        )

    rows = _converted(report, "pricing_configs", "pricing_config_id", source.rows("pricing"), convert)
    taken: set[tuple[UUID, str]] = set()
    for row in rows:
        if (row["partner_id"], row["action"]) in taken:
            report.skip(
                "pricing_configs", row["pricing_config_id"], f"the partner has another price for {row['action']}"
            )
            continue
        taken.add((row["partner_id"], row["action"]))
        yield row


def _networks(rows: Sequence[Row], report: Report, partners: Collection[UUID]) -> Iterator[Columns]:
    def convert(row: Row, report: Report) -> Columns:
        return {
            "network_id": an_id(row, "network_id"),
            "partner_id": _partner_of(row, partners),
            "name": _name(NetworkEntry, row, "networks", report),
            "deleted_at": moment(row, "deleted_at"),
        } | _made(row)

    yield from _named_once(report, "networks", "network_id", list(
        _converted(report, "networks", "network_id", rows, convert)))  # fmt: skip


def _orgs(
    rows: Sequence[Row], report: Report, partners: Collection[UUID], networks: dict[UUID, UUID]
) -> Iterator[Columns]:
    def convert(row: Row, report: Report) -> Columns:
        org_id, partner_id = an_id(row, "org_id"), _partner_of(row, partners)
        limit = money(row, "spend_limit")
        entry = checked(OrgEntry, name=_name(OrgEntry, row, "orgs", report), spend_limit=limit)
        network_id = maybe_id(row, "network_id")
        if network_id is not None and networks.get(network_id) != partner_id:
            report.note("orgs", org_id, f"its network {network_id} is none of its partner's; it is taken without one")
            network_id = None
        return {
            "org_id": org_id,
            "partner_id": partner_id,
            "network_id": network_id,
            "name": entry.name,
            "is_free_tier": flag(row, "is_free_tier") or False,
            "spend_limit": limit,
            "deleted_at": moment(row, "deleted_at"),
        } | _made(row)

    yield from _named_once(report, "orgs", "org_id", list(
        _converted(report, "orgs", "org_id", rows, convert)))  # fmt: skip


def _named_once(report: Report, table: str, key: str, rows: list[Columns]) -> Iterator[Columns]:
    """A name stands once per partner: the oldest has it. One that is deleted gets another: nobody asks about it."""
    taken: set[tuple[UUID, str]] = set()
    for row in sorted(
        rows, key=lambda row: (row["deleted_at"] is not None, str(row.get("created_at", "~")), str(row[key]))
    ):
        if (row["partner_id"], row["name"]) in taken and row["deleted_at"] is None:
            report.skip(
                table, row[key], f"its partner has another one with the name {row['name']!r}; rename or delete one"
            )
            continue
        if (row["partner_id"], row["name"]) in taken:
            row["name"] = _told_apart(report, table, row[key], row["name"])
        taken.add((row["partner_id"], row["name"]))
        yield row


def _told_apart(report: Report, table: str, key: UUID, name: str) -> str:
    other = told_apart(name, key)
    report.note(table, key, f"the name {name!r} is taken; it is called {other!r} here")
    return other


def _name(entry: type[PartnerEntry | NetworkEntry | OrgEntry], row: Row, table: str, report: Report) -> str:
    return meant(checked(entry, name=words(row, "name") or "").name, table, row, report)


def meant(text: str, table: str, row: Row, report: Report) -> str:
    """Return the text, repaired where it was read in a wrong coding, which is noted."""
    right = repaired(text)
    if right != text:
        report.note(table, next(iter(row.values())), f"{text!r} is UTF-8 read in another coding; it is {right!r} here")
    return right


def _partner_of(row: Row, partners: Collection[UUID]) -> UUID:
    partner_id = an_id(row, "partner_id")
    if partner_id not in partners:
        raise Refused(f"its partner {partner_id} is not there")
    return partner_id


def _made(row: Row) -> Columns:
    made = moment(row, "created_at")
    return {} if made is None else {"created_at": made}


def _converted(
    report: Report, table: str, key: str, rows: Sequence[Row], convert: Callable[[Row, Report], Columns]
) -> Iterator[Columns]:
    """Convert rows one by one; a refused one and the second of two with one id are reported."""
    seen: set[UUID] = set()
    for row in rows:
        try:
            made = convert(row, report)
        except Refused as error:
            report.skip(table, row.get(key), error.message)
            continue
        if made[key] in seen:
            report.repeat(table, made[key], "the old system has it twice; the first is taken")
            continue
        seen.add(made[key])
        yield made


def _grouped(rows: list[Columns]) -> dict[UUID, list[Columns]]:
    groups: dict[UUID, list[Columns]] = defaultdict(list)
    for row in rows:
        groups[row["partner_id"]].append(row)
    return dict(groups)


def _owned(source: LegacyDatabase, report: Report, name: str, owners: Collection[UUID]) -> dict[UUID, list[Row]]:
    """Return the rows of one kind by the org or network that they belong to."""
    groups: dict[UUID, list[Row]] = defaultdict(list)
    for row in source.rows(name):
        try:
            groups[_owner_of(row)].append(row)
        except Refused as error:
            report.skip(OURS[name], "/".join(str(value) for value in list(row.values())[:3]), error.message)
    for owner_id in groups.keys() - owners:
        rows = groups.pop(owner_id)
        report.skip(OURS[name], f"of {owner_id}", "that org or network is not taken over", rows=len(rows))
    return dict(groups)


def _owner_of(row: Row) -> UUID:
    given = [found for column in ("org_id", "network_id") if (found := maybe_id(row, column))]
    if len(given) != 1:
        raise Refused("it belongs to an org and a network" if given else "it belongs to no org and no network")
    return given[0]
