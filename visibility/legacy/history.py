"""What the old system has asked and evaluated, written here: batches with everything that hangs on them.

Whatever is here is whole: a batch comes with its runs, their evaluations and charges in one transaction. Rows are
added; what a later import may alter is only what the old system had not finished: the status of a batch, a question run
without an answer, an answer that was not charged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from visibility.legacy import history_rows as rows_of
from visibility.legacy.history_charges import write_charges
from visibility.legacy.history_findings import write_evaluations
from visibility.legacy.history_reading import Past, Subject
from visibility.legacy.report import Report
from visibility.legacy.values import words
from visibility.legacy.writing import Columns, add, put
from visibility.store.tables import Batch, GeoQuestion, QuestionRunRow

PLACE = (
    QuestionRunRow.batch_id, QuestionRunRow.question_id, QuestionRunRow.model,
    QuestionRunRow.country_code, QuestionRunRow.region_name, QuestionRunRow.city,
)  # fmt: skip


def write_past(session: Session, subject: Subject, past: Past, report: Report) -> None:
    """Write what is not there yet; a day that has a batch of ours is left alone."""
    standing = _write_batches(session, subject, past, report)
    stands_for = {given: standing[kept] for given, kept in past.stands_for.items() if kept in standing}
    runs = _write_runs(session, subject, past, stands_for, report)
    evaluated = write_evaluations(session, subject, past, runs, report)
    write_charges(session, subject, past, evaluated, report)


def _write_batches(session: Session, subject: Subject, past: Past, report: Report) -> dict[UUID, UUID]:
    """Return for each batch of the source the one that it is here: of a day that was taken over, the one of then."""
    here, standing = _stored_batches(session, subject, past), {}
    followed: list[Columns] = []
    for batch in past.batches:
        stored = here.get(batch["run_date"])
        if stored is not None and stored.trigger != rows_of.VERSION:
            sentence = f"{batch['run_date']} has a batch of the new system; that of the old one is left out"
            report.repeat(Batch.__tablename__, batch["batch_id"], sentence)
            continue
        standing[batch["batch_id"]] = batch["batch_id"] if stored is None else stored.batch_id
        if stored is None or stored.flow_run_id is None:
            followed.append(batch | {"batch_id": standing[batch["batch_id"]]})
    made_once = {name for batch in followed for name in batch} - set(rows_of.FOLLOWED)
    put(session, Batch, followed, report, only_new=made_once)
    return standing


def _stored_batches(session: Session, subject: Subject, past: Past) -> dict[date, Any]:
    days = [batch["run_date"] for batch in past.batches]
    columns = (Batch.run_date, Batch.batch_id, Batch.trigger, Batch.flow_run_id)
    stored = select(*columns).filter_by(**subject.owner).where(Batch.run_date.in_(days))
    return {row.run_date: row for row in session.execute(stored)}


def _write_runs(
    session: Session, subject: Subject, past: Past, stands_for: Mapping[UUID, UUID], report: Report
) -> dict[UUID, UUID]:
    """Return the answered runs that are here, with their batches."""
    questions = set(session.scalars(select(GeoQuestion.question_id).filter_by(**subject.owner)))
    given = [row for row in past.runs if UUID(str(row["batch_id"])) in stands_for]
    # an answer before a failure, and the newest first: of two runs of one place only one can be kept
    ordered = sorted(
        rows_of.newest_first(given, "question_run_id"), key=lambda row: words(row, "response_text") is None
    )
    found = rows_of.converted(
        report, QuestionRunRow.__tablename__, "question_run_id", ordered,
        lambda row: rows_of.question_run(row, stands_for, questions, report),
    )  # fmt: skip
    kept = _one_a_place(session, found, stands_for.values(), report)
    add(session, QuestionRunRow, kept, report)
    stored = select(QuestionRunRow.question_run_id, QuestionRunRow.batch_id).where(
        QuestionRunRow.question_run_id.in_([run["question_run_id"] for run in kept]),
        QuestionRunRow.status == "answered",
    )
    return {row.question_run_id: row.batch_id for row in session.execute(stored)}


def _one_a_place(
    session: Session, runs: Sequence[Columns], batch_ids: Collection[UUID], report: Report
) -> list[Columns]:
    table = QuestionRunRow.__tablename__
    taken = _taken_places(session, runs, batch_ids, report)
    kept: dict[UUID, Columns] = {}
    for run in runs:
        holder = taken.setdefault(rows_of.place(run), run["question_run_id"])
        if holder != run["question_run_id"] or run["question_run_id"] in kept:
            sentence = f"the same question, model and place as {holder} on the same day; that one is kept"
            report.repeat(table, run["question_run_id"], sentence)
            continue
        kept[run["question_run_id"]] = run
    return list(kept.values())


def _taken_places(
    session: Session, runs: Sequence[Columns], batch_ids: Collection[UUID], report: Report
) -> dict[tuple[Any, ...], UUID]:
    """Return which run has which place; one that the old system had not answered makes way for an answer."""
    columns = (*PLACE, QuestionRunRow.question_run_id, QuestionRunRow.status, QuestionRunRow.provider)
    answered = {rows_of.place(run) for run in runs if run["status"] == "answered"}
    taken, gone = {}, []
    for row in session.execute(select(*columns).where(PLACE[0].in_(set(batch_ids)))):
        place = rows_of.place(row._asdict())
        if place in answered and (row.status, row.provider) == ("failed", rows_of.VERSION):
            gone.append(row.question_run_id)
        else:
            taken[place] = row.question_run_id
    if gone:
        session.execute(delete(QuestionRunRow).where(QuestionRunRow.question_run_id.in_(gone)))
    report.counts(QuestionRunRow.__tablename__).removed += len(gone)
    return taken
