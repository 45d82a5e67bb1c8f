"""What the old system has asked and evaluated: batches with everything that hangs on them, some at a time.

Rows are only added. Whatever is here is whole: a batch comes with its runs, their evaluations and charges in one
transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from visibility.legacy import history_rows as rows_of
from visibility.legacy.balances import Payer, take_charges
from visibility.legacy.report import Report
from visibility.legacy.source import LegacyDatabase, Row
from visibility.legacy.writing import Columns, add
from visibility.store.tables import (
    Batch,
    GeoQuestion,
    LedgerEntry,
    OrgCitation,
    OrgCompetitor,
    OrgEval,
    QuestionRunRow,
)

BATCHES_AT_ONCE = 30
PLACE = (
    QuestionRunRow.batch_id, QuestionRunRow.question_id, QuestionRunRow.model,
    QuestionRunRow.country_code, QuestionRunRow.region_name, QuestionRunRow.city,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Days:
    """Which days of the old system are history: from `since` on (all), before `before`."""

    before: date
    since: date = date.min

    def __contains__(self, day: date) -> bool:
        return self.since <= day < self.before


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose history it is, and the orgs that it may have been evaluated for."""

    owner: Columns
    partner_id: UUID
    orgs: frozenset[UUID]

    @property
    def scope(self) -> str:
        """org or network, as the sources are named."""
        return "org" if "org_id" in self.owner else "network"


@dataclass(frozen=True, slots=True)
class Past:
    """Some batches of one owner as the old system has them."""

    batches: list[Columns]
    stands_for: dict[UUID, UUID]
    runs: list[Row]
    evaluations: list[Row]
    competitors: list[Row]
    citations: list[Row]
    ledger: list[Row]


def read_past(source: LegacyDatabase, subject: Subject, days: Days, report: Report) -> Iterator[Past]:
    """Read the history of one owner, some days at a time."""
    (owner_id,) = subject.owner.values()
    rows = sorted(
        source.rows(f"{subject.scope}_batches", "owner_id", [str(owner_id)]),
        key=lambda row: (str(row["created_at"]), str(row["batch_id"])),
    )
    batches, stands_for = _one_a_day(rows, subject, days, report)
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        part = batches[start : start + BATCHES_AT_ONCE]
        kept = {batch["batch_id"] for batch in part}
        of_part = {given: standing for given, standing in stands_for.items() if standing in kept}
        yield _read(source, subject, part, of_part)


def _one_a_day(
    rows: Sequence[Row], subject: Subject, days: Days, report: Report
) -> tuple[list[Columns], dict[UUID, UUID]]:
    """Return one batch per day, and which batch stands for each of the source: there may be two of one day."""
    first: dict[date, Columns] = {}
    stands_for: dict[UUID, UUID] = {}
    table = Batch.__tablename__
    for batch in rows_of.converted(report, table, "batch_id", rows, lambda row: rows_of.batch(row, subject.owner)):
        if batch["run_date"] not in days:
            continue
        if batch["run_date"] in first and batch["batch_id"] not in stands_for:
            report.repeat(
                table, batch["batch_id"], f"a second batch of {batch['run_date']}; its answers go to the first"
            )
        kept = first.setdefault(batch["run_date"], batch)
        stands_for[batch["batch_id"]] = kept["batch_id"]
    return list(first.values()), stands_for


def _read(source: LegacyDatabase, subject: Subject, batches: list[Columns], stands_for: dict[UUID, UUID]) -> Past:
    runs = source.rows("question_runs", "batch_id", map(str, stands_for))
    ids = [str(row["question_run_id"]) for row in runs]
    evaluations = "evaluations" if subject.scope == "org" else "network_evaluations"
    return Past(
        batches, stands_for, runs,
        *(source.rows(name, "question_run_id", ids) for name in (evaluations, "competitors", "citations", "ledger")),
    )  # fmt: skip


def write_past(session: Session, subject: Subject, past: Past, report: Report) -> None:
    """Write what is not there yet; a day that has a batch of ours is left alone."""
    taken = _days_of_ours(session, subject, past)
    for batch in past.batches:
        if batch["run_date"] in taken:
            sentence = f"{batch['run_date']} has a batch of the new system; that of the old one is left out"
            report.repeat(Batch.__tablename__, batch["batch_id"], sentence)
    batches = [batch for batch in past.batches if batch["run_date"] not in taken]
    add(session, Batch, batches, report)
    standing = {batch["batch_id"] for batch in batches}
    stands_for = {given: kept for given, kept in past.stands_for.items() if kept in standing}
    runs = _write_runs(session, subject, past, stands_for, report)
    evaluated = _write_evaluations(session, subject, past, runs, report)
    _write_charges(session, subject, past, evaluated, report)


def _days_of_ours(session: Session, subject: Subject, past: Past) -> set[date]:
    days = [batch["run_date"] for batch in past.batches]
    ours = select(Batch.run_date, Batch.batch_id).filter_by(**subject.owner).where(Batch.run_date.in_(days))
    kept = {batch["batch_id"] for batch in past.batches}
    return {row.run_date for row in session.execute(ours) if row.batch_id not in kept}


def _write_runs(
    session: Session, subject: Subject, past: Past, stands_for: Mapping[UUID, UUID], report: Report
) -> dict[UUID, UUID]:
    """Return the answered runs with their batches."""
    table = QuestionRunRow.__tablename__
    questions = set(session.scalars(select(GeoQuestion.question_id).filter_by(**subject.owner)))
    given = [row for row in past.runs if UUID(str(row["batch_id"])) in stands_for]
    # an answer before a failure, and the newest first: of two runs of one place only one can be kept
    ordered = sorted(rows_of.newest_first(given, "question_run_id"), key=lambda row: not row["response_text"])
    found = rows_of.converted(
        report, table, "question_run_id", ordered, lambda row: rows_of.question_run(row, stands_for, questions)
    )
    kept = _one_a_place(session, found, stands_for.values(), report)
    add(session, QuestionRunRow, kept, report)
    return {run["question_run_id"]: run["batch_id"] for run in kept if run["status"] == "answered"}


def _one_a_place(
    session: Session, runs: Sequence[Columns], batch_ids: Collection[UUID], report: Report
) -> list[Columns]:
    table = QuestionRunRow.__tablename__
    stored = session.execute(select(*PLACE, QuestionRunRow.question_run_id).where(PLACE[0].in_(set(batch_ids))))
    taken = {rows_of.place(row._asdict()): row.question_run_id for row in stored}
    kept: dict[UUID, Columns] = {}
    for run in runs:
        holder = taken.setdefault(rows_of.place(run), run["question_run_id"])
        if holder != run["question_run_id"] or run["question_run_id"] in kept:
            sentence = f"the same question, model and place as {holder} on the same day; that one is kept"
            report.repeat(table, run["question_run_id"], sentence)
            continue
        kept[run["question_run_id"]] = run
    return list(kept.values())


def _write_evaluations(
    session: Session, subject: Subject, past: Past, runs: Mapping[UUID, UUID], report: Report
) -> dict[rows_of.Pair, UUID]:
    """Write evaluations, and with those that are new their competitors and citations; return pairs with batches."""
    found = rows_of.converted(
        report, OrgEval.__tablename__, "evaluation_id", rows_of.newest_first(past.evaluations, "evaluation_id"),
        lambda row: rows_of.evaluation(row, runs, subject.orgs, report),
    )  # fmt: skip
    competitors = rows_of.grouped(past.competitors, OrgCompetitor.__tablename__, report)
    citations = rows_of.grouped(past.citations, OrgCitation.__tablename__, report)
    kept: dict[rows_of.Pair, Columns] = {}
    cited: dict[UUID, list[Columns]] = {}
    for row in _one_a_pair(session, found, runs, report):
        pair = (row["question_run_id"], row["org_id"])
        cited[row["evaluation_id"]] = rows_of.citations(row["evaluation_id"], citations.get(pair, []), report)
        row["citation"] = any(citation["type"] == "primary" for citation in cited[row["evaluation_id"]])
        kept[pair] = row
    new = add(session, OrgEval, list(kept.values()), report)
    _add_all(session, OrgCitation, [row for rows in cited.values() for row in rows], new, report)
    rivals = [
        rival
        for pair, row in kept.items()
        for rival in rows_of.competitors(row["evaluation_id"], competitors.get(pair, []), report)
    ]
    _add_all(session, OrgCompetitor, rivals, new, report)
    return {pair: runs[pair[0]] for pair in kept}


def _one_a_pair(
    session: Session, found: Sequence[Columns], runs: Mapping[UUID, UUID], report: Report
) -> Iterator[Columns]:
    stored = session.execute(
        select(OrgEval.question_run_id, OrgEval.org_id, OrgEval.evaluation_id).where(
            OrgEval.question_run_id.in_(runs), OrgEval.extractor_version == rows_of.VERSION
        )
    )
    taken = {(row.question_run_id, row.org_id): row.evaluation_id for row in stored}
    seen: set[UUID] = set()
    for row in found:
        holder = taken.setdefault((row["question_run_id"], row["org_id"]), row["evaluation_id"])
        if holder != row["evaluation_id"] or holder in seen:
            report.repeat(
                OrgEval.__tablename__, row["evaluation_id"], f"the answer was evaluated twice; {holder} is kept"
            )
            continue
        seen.add(holder)
        yield row


def _add_all(
    session: Session, table: type[OrgCompetitor | OrgCitation], rows: Sequence[Columns], new: set[UUID], report: Report
) -> None:
    """Rows without an id of their own come with their evaluation."""
    added = [row for row in rows if row["evaluation_id"] in new]
    if added:
        session.execute(insert(table), added)
    report.counts(table.__tablename__).created += len(added)
    report.counts(table.__tablename__).unchanged += len(rows) - len(added)


def _write_charges(
    session: Session, subject: Subject, past: Past, evaluated: Mapping[rows_of.Pair, UUID], report: Report
) -> None:
    table = LedgerEntry.__tablename__
    found = rows_of.converted(
        report, table, "entry_id", sorted(past.ledger, key=lambda row: (str(row["created_at"]), str(row["entry_id"]))),
        lambda row: rows_of.charge(row, evaluated, subject.partner_id),
    )  # fmt: skip
    entries = _one_a_claim(session, found, evaluated, report)
    charged = {(entry["source_id"], entry["org_id"]) for entry in entries if entry["kind"] == "charge"}
    entries += [
        rows_of.free(pair, batch_id, subject.partner_id) for pair, batch_id in evaluated.items() if pair not in charged
    ]
    new = add(session, LedgerEntry, entries, report)
    sums: dict[Payer, Decimal] = defaultdict(Decimal)
    for entry in entries:
        if entry["entry_id"] in new:
            sums[Payer(entry["payer_type"], entry["payer_id"])] += entry["amount"]
    take_charges(session, sums)


def _one_a_claim(
    session: Session, found: Sequence[Columns], evaluated: Mapping[rows_of.Pair, UUID], report: Report
) -> list[Columns]:
    """What the old system has charged twice is in its balance, and stands in our ledger once."""
    stored = session.execute(
        select(LedgerEntry.source_id, LedgerEntry.org_id, LedgerEntry.kind, LedgerEntry.entry_id).where(
            LedgerEntry.batch_id.in_(set(evaluated.values())), LedgerEntry.source_type == "question_run"
        )
    )
    taken = {(row.source_id, row.org_id, row.kind): row.entry_id for row in stored}
    kept: dict[UUID, Columns] = {}
    for entry in found:
        claim, entry_id = (entry["source_id"], entry["org_id"], entry["kind"]), entry["entry_id"]
        if taken.setdefault(claim, entry_id) != entry_id or entry_id in kept:
            sentence = f"a second {entry['kind']} of {claim[0]} for one org; the balance has it"
            report.repeat(LedgerEntry.__tablename__, entry_id, sentence)
        else:
            kept[entry_id] = entry
    return list(kept.values())
