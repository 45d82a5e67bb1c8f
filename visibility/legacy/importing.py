"""Taking the old system over, org by org: each in transactions of its own, so that an import can die and begin again.

What is right already is left alone: a second import of the same tables changes nothing. A dry run does the same in a
transaction per partner, and rolls it back. A partner that fails is one sentence, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from visibility.errors import ConfigurationError, InvalidInput, ItemError
from visibility.legacy.balances import Payer, bring_balance, read_balances, require_explained
from visibility.legacy.change_over import changed_over, mark_changed_over
from visibility.legacy.history import write_past
from visibility.legacy.history_reading import Days, Subject, read_past
from visibility.legacy.orphans import tell_orphans
from visibility.legacy.owned import write_lists
from visibility.legacy.report import OURS, Report
from visibility.legacy.source import Finding, LegacyDatabase
from visibility.legacy.tenants import LISTS, Tenants, read_tenants, write_partner
from visibility.legacy.values import shortened
from visibility.legacy.writing import Columns
from visibility.store.database import Database
from visibility.store.server import our_errors
from visibility.store.tenants import ADVISORY_LOCK

Progress = Callable[[str], None]

ORGS_PER_LINE = 50
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Choices:
    """What is taken over; `partners` empty: all. `days` None: no history. `without`: names of lists left out.

    `final`: these partners have changed over when it is done, and are never imported again.
    """

    days: Days | None
    partners: frozenset[UUID] = frozenset()
    without: frozenset[str] = frozenset()
    dry_run: bool = False
    strict: bool = False
    final: bool = False


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
        with our_errors(), Session(self.database.engine) as session:
            self.whole = session
            _begin(session)
            try:
                yield
            finally:
                self.whole = None
                session.rollback()

    @contextmanager
    def unit(self, what: str) -> Iterator[Session]:
        """What is whole or not there at all. Raises ItemError for what the database refuses."""
        try:
            with self._session() as session:
                yield session
        except DBAPIError as error:
            reason = shortened(" ".join(str(error.orig).split()), LONGEST_REASON)
            told = "what is here contradicts it" if isinstance(error, IntegrityError) else "the database refuses it"
            raise ItemError(f"{what}: {told}: {reason}") from error

    @contextmanager
    def _session(self) -> Iterator[Session]:
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


@dataclass(frozen=True, slots=True)
class Work:
    """What the steps of an import share."""

    units: Units
    source: LegacyDatabase
    tenants: Tenants
    balances: dict[Payer, Decimal]
    choices: Choices
    report: Report
    progress: Progress


def import_legacy(database: Database, source: LegacyDatabase, choices: Choices, progress: Progress) -> Report:
    """Take over what `choices` name; partners that failed are told in the report.

    Raises ConfigurationError when tables are missing, InvalidInput when strict, or for what has changed over.
    """
    _require_possible(source, choices)
    report = Report(strict=choices.strict, dry_run=choices.dry_run)
    source.unreadable = lambda name, key: report.skip(OURS.get(name, name), key, "its text is not UTF-8")
    tenants = read_tenants(source, report, choices.without)
    chosen = _not_changed_over(database, _chosen(tenants, choices.partners), choices, report)
    balances = read_balances(source, report, _payers(tenants, tenants.partners))
    if choices.days is not None and not choices.partners:
        tell_orphans(source, tenants, report)
    work = Work(Units(database, choices.dry_run), source, tenants, balances, choices, report, progress)
    for number, partner in enumerate(chosen, start=1):
        progress(f"partner {number} of {len(chosen)}: {partner['name']}")
        try:
            with work.units.partner():
                _import_partner(work, partner)
        except ItemError as error:
            report.failures.append(f"partner {partner['name']} ({partner['partner_id']}): {error.message}.")
    return report


def _require_possible(source: LegacyDatabase, choices: Choices) -> None:
    hindered = [finding for finding in source.check() if finding.hinders]
    if hindered:
        raise ConfigurationError(
            f"The old database lacks {', '.join(map(_lacking, hindered))}. See --check and --mapping."
        )
    if strange := set(choices.without) - set(LISTS):
        raise InvalidInput(f"--without knows {', '.join(LISTS)}, not {', '.join(sorted(strange))}.")
    if choices.final and (choices.days is None or not choices.partners):
        raise InvalidInput("--final is said of partners that are named (--partner), and comes with their history.")


def _not_changed_over(database: Database, chosen: list[Columns], choices: Choices, report: Report) -> list[Columns]:
    with database.transaction() as session:
        marks = changed_over(session)
    left = []
    for partner in chosen:
        mark = marks.get(partner["partner_id"])
        if mark is None:
            left.append(partner)
            continue
        sentence = f"it has changed over on {mark:%Y-%m-%d}, and what it did since stays: it is not imported again"
        if choices.partners:
            raise InvalidInput(f"Partner {partner['partner_id']}: {sentence}. Who goes back begins with give-back.")
        report.note("partners", partner["partner_id"], sentence)
    return left


def _lacking(finding: Finding) -> str:
    if finding.there:
        return f"{', '.join(finding.missing)} of {finding.where} ({finding.name})"
    return f"{finding.where} ({finding.name}{f': {finding.reason}' if finding.reason else ''})"


def _chosen(tenants: Tenants, partners: Collection[UUID]) -> list[Columns]:
    unknown = set(partners) - {partner["partner_id"] for partner in tenants.partners}
    if unknown:
        raise InvalidInput(f"The old system has no partner {', '.join(map(str, sorted(unknown)))}.")
    return [partner for partner in tenants.partners if not partners or partner["partner_id"] in partners]


def _payers(tenants: Tenants, partners: Collection[Columns]) -> set[Payer]:
    payers = {Payer("PARTNER", partner["partner_id"]) for partner in partners}
    return payers | {Payer("ORG", org) for partner in partners for org in tenants.of_partner(partner["partner_id"])}


def _import_partner(work: Work, partner: Columns) -> None:
    """Networks before the orgs that are in them; their history after the orgs that it is evaluated for."""
    partner_id, tenants, report = partner["partner_id"], work.tenants, work.report
    waiting, networks = report.sum_of("waiting"), tenants.networks.get(partner_id, [])
    with work.units.unit("the partner itself") as session:
        write_partner(session, partner, tenants, report)
        for network in networks:
            write_lists(session, _owner("network_id", network), tenants, report)
        _bring(work, session, Payer("PARTNER", partner_id))
    orgs = tenants.orgs.get(partner_id, [])
    for number, org in enumerate(orgs, start=1):
        _import_org(work, partner_id, org)
        if number % ORGS_PER_LINE == 0 or number == len(orgs):
            work.progress(f"  {number} of {len(orgs)} orgs")
    members = frozenset(tenants.of_partner(partner_id))
    for network in networks:
        subject = Subject(_owner("network_id", network), partner_id, members)
        _import_past(work, subject, f"network {network['name']}")
    payers = _payers(tenants, [partner])
    with work.units.unit("its balances") as session:
        require_explained(session, payers)
        if work.choices.final:
            _require_whole(report, report.sum_of("waiting") - waiting, payers)
            mark_changed_over(session, partner_id)


def _import_org(work: Work, partner_id: UUID, org: Columns) -> None:
    owner, what = _owner("org_id", org), f"org {org['name']}"
    with work.units.unit(what) as session:
        write_lists(session, owner, work.tenants, work.report)
        _bring(work, session, Payer("ORG", org["org_id"]))
    _import_past(work, Subject(owner, partner_id, frozenset({org["org_id"]})), what)


def _require_whole(report: Report, waiting: int, payers: Collection[Payer]) -> None:
    """Whoever changes over leaves nothing behind. Raises ItemError with what is missing."""
    if waiting:
        raise ItemError(f"not changed over: {waiting} batches are not finished in the old system")
    keys = {str(payer) for payer in payers}
    for remark in report.balances_left_out:
        if remark.key in keys:
            raise ItemError(f"not changed over: the balance of {remark.key} is not the old one: {remark.sentence}")


def _owner(key: str, row: Columns) -> Columns:
    return {key: row[key]}


def _bring(work: Work, session: Session, payer: Payer) -> None:
    if payer in work.balances:
        bring_balance(session, payer, work.balances[payer], work.report)


def _import_past(work: Work, subject: Subject, what: str) -> None:
    if work.choices.days is None:
        return
    for past in read_past(work.source, subject, work.choices.days, work.report):
        with work.units.unit(what) as session:
            write_past(session, subject, past, work.report)


def history_days(history: bool, since: date | None, before: date | None, today: date, final: bool) -> Days | None:
    """Return which days are history: those before `before`.

    That is today, which the new system may still ask; what is final comes with today.
    """
    if not history:
        return None
    return Days(before=before or (today + timedelta(days=1) if final else today), since=since or date.min)
