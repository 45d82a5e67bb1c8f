"""What the old system has asked and evaluated, read some days of one owner at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from visibility.legacy import history_rows as rows_of
from visibility.legacy.report import Report
from visibility.legacy.source import LegacyDatabase, Row
from visibility.legacy.writing import Columns
from visibility.store.tables import Batch

BATCHES_AT_ONCE = 30


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
    """Return one batch per day, completed if any of that day is, and which batch stands for each of the source."""
    first: dict[date, Columns] = {}
    stands_for: dict[UUID, UUID] = {}
    for batch in _finished(rows, subject, report):
        if batch["run_date"] not in days:
            continue
        if batch["run_date"] in first and batch["batch_id"] not in stands_for:
            sentence = f"a second batch of {batch['run_date']}; its answers go to the first"
            report.repeat(Batch.__tablename__, batch["batch_id"], sentence)
        kept = first.setdefault(batch["run_date"], batch)
        stands_for[batch["batch_id"]] = kept["batch_id"]
        if batch["status"] == "completed":
            kept.update({name: batch[name] for name in rows_of.FOLLOWED})
    return list(first.values()), stands_for


def _finished(rows: Sequence[Row], subject: Subject, report: Report) -> Iterator[Columns]:
    """Whoever still works on a batch will add to it, also where its answers are here already."""
    table = Batch.__tablename__
    for batch in rows_of.converted(report, table, "batch_id", rows, lambda row: rows_of.batch(row, subject.owner)):
        if batch.pop("worked_on"):
            report.wait(table, batch["batch_id"], f"it is not finished there; {batch['run_date']} comes when it is")
        else:
            yield batch


def _read(source: LegacyDatabase, subject: Subject, batches: list[Columns], stands_for: dict[UUID, UUID]) -> Past:
    runs = source.rows("question_runs", "batch_id", map(str, stands_for))
    ids = [str(row["question_run_id"]) for row in runs]
    evaluations = "evaluations" if subject.scope == "org" else "network_evaluations"
    return Past(
        batches, stands_for, runs,
        *(source.rows(name, "question_run_id", ids) for name in (evaluations, "competitors", "citations", "ledger")),
    )  # fmt: skip
