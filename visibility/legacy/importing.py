"""Taking the old system over, org by org: each in transactions of its own, so that an import can die and begin again.

What is right already is left alone: a second import of the same tables changes nothing. A dry run does the same in a
transaction per partner, and rolls it back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.errors import ConfigurationError, InvalidInput
from visibility.legacy.balances import Payer, bring_balance, read_balances, require_explained
from visibility.legacy.history import Days, Subject, read_past, write_past
from visibility.legacy.owned import write_lists
from visibility.legacy.report import Report
from visibility.legacy.source import Finding, LegacyDatabase
from visibility.legacy.tenants import LISTS, Tenants, read_tenants, write_org, write_partner
from visibility.legacy.writing import Columns
from visibility.store.database import Database
from visibility.store.tenants import ADVISORY_LOCK

Progress = Callable[[str], None]

ORGS_PER_LINE = 50


@dataclass(frozen=True, slots=True)
class Choices:
    """What is taken over; `partners` empty: all. `days` None: no history. `without`: names of lists left out."""

    days: Days | None
    partners: frozenset[UUID] = frozenset()
    without: frozenset[str] = frozenset()
    dry_run: bool = False
    strict: bool = False


@dataclass(slots=True)
class Units:
    """Gives out transactions: one per unit of work, or in a dry run one per partner that is rolled back."""

    database: Database
    dry_run: bool
    whole: Session | None = None

    @contextmanager
    def partner(self) -> Iterator[None]:
        """Everything of one partner."""
        if not self.dry_run:
            yield
            return
        with Session(self.database.engine) as session:
            self.whole = session
            _begin(session)
            try:
                yield
            finally:
                self.whole = None
                session.rollback()

    @contextmanager
    def unit(self) -> Iterator[Session]:
        """What is whole or not there at all."""
        if self.whole is not None:
            yield self.whole
            return
        with self.database.transaction() as session:
            _begin(session)
            yield session


def _begin(session: Session) -> None:
    """One writer of tenants at a time; and reading the old database may take its time meanwhile."""
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def import_legacy(database: Database, source: LegacyDatabase, choices: Choices, progress: Progress) -> Report:
    """Take over what `choices` name. Raises ConfigurationError when tables are missing, InvalidInput when strict."""
    hindered = [finding for finding in source.check() if finding.hinders]
    if hindered:
        raise ConfigurationError(
            f"The old database lacks {', '.join(map(_lacking, hindered))}. See --check and --mapping."
        )
    if strange := set(choices.without) - set(LISTS):
        raise InvalidInput(f"--without knows {', '.join(LISTS)}, not {', '.join(sorted(strange))}.")
    report = Report(strict=choices.strict, dry_run=choices.dry_run)
    tenants = read_tenants(source, report, choices.without)
    chosen = _chosen(tenants, choices.partners)
    balances = read_balances(source, report, _payers(tenants, tenants.partners))
    units = Units(database, choices.dry_run)
    for number, partner in enumerate(chosen, start=1):
        progress(f"partner {number} of {len(chosen)}: {partner['name']}")
        with units.partner():
            _import_partner(units, source, tenants, partner, balances, choices, report, progress)
    return report


def _lacking(finding: Finding) -> str:
    if finding.there:
        return f"{', '.join(finding.missing)} of {finding.where} ({finding.name})"
    return f"{finding.where} ({finding.name})"


def _chosen(tenants: Tenants, partners: Collection[UUID]) -> list[Columns]:
    unknown = set(partners) - {partner["partner_id"] for partner in tenants.partners}
    if unknown:
        raise InvalidInput(f"The old system has no partner {', '.join(map(str, sorted(unknown)))}.")
    return [partner for partner in tenants.partners if not partners or partner["partner_id"] in partners]


def _payers(tenants: Tenants, partners: Collection[Columns]) -> set[Payer]:
    payers = {Payer("PARTNER", partner["partner_id"]) for partner in partners}
    return payers | {Payer("ORG", org) for partner in partners for org in tenants.of_partner(partner["partner_id"])}


def _import_partner(
    units: Units,
    source: LegacyDatabase,
    tenants: Tenants,
    partner: Columns,
    balances: dict[Payer, Decimal],
    choices: Choices,
    report: Report,
    progress: Progress,
) -> None:
    """Networks before the orgs that are in them; their history after the orgs that it is evaluated for."""
    partner_id, members = partner["partner_id"], frozenset(tenants.of_partner(partner["partner_id"]))
    networks = tenants.networks.get(partner_id, [])
    with units.unit() as session:
        write_partner(session, partner, tenants, report)
        for network in networks:
            write_lists(session, _owner("network_id", network), tenants, report)
        _bring(session, Payer("PARTNER", partner_id), balances, report)
    orgs = tenants.orgs.get(partner_id, [])
    for number, org in enumerate(orgs, start=1):
        owner = _owner("org_id", org)
        with units.unit() as session:
            write_org(session, org, report)
            write_lists(session, owner, tenants, report)
            _bring(session, Payer("ORG", org["org_id"]), balances, report)
        _import_past(units, source, Subject(owner, partner_id, frozenset({org["org_id"]})), choices.days, report)
        if number % ORGS_PER_LINE == 0 or number == len(orgs):
            progress(f"  {number} of {len(orgs)} orgs")
    for network in networks:
        subject = Subject(_owner("network_id", network), partner_id, members)
        _import_past(units, source, subject, choices.days, report)
    with units.unit() as session:
        require_explained(session, _payers(tenants, [partner]))


def _owner(key: str, row: Columns) -> Columns:
    return {key: row[key]}


def _bring(session: Session, payer: Payer, balances: dict[Payer, Decimal], report: Report) -> None:
    if payer in balances:
        bring_balance(session, payer, balances[payer], report)


def _import_past(units: Units, source: LegacyDatabase, subject: Subject, days: Days | None, report: Report) -> None:
    if days is None:
        return
    for past in read_past(source, subject, days, report):
        with units.unit() as session:
            write_past(session, subject, past, report)


def history_days(history: bool, since: date | None, before: date | None, today: date) -> Days | None:
    """Return which days are history: those before `before` (today, which the new system may still ask)."""
    if not history:
        return None
    return Days(before=before or today, since=since or date.min)
