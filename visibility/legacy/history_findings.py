"""What the old system found in its answers: evaluations with their competitors and citations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from visibility.legacy import history_rows as rows_of
from visibility.legacy.history_reading import Past, Subject
from visibility.legacy.report import Report
from visibility.legacy.writing import Columns, add
from visibility.store.tables import OrgCitation, OrgCompetitor, OrgEval


def write_evaluations(
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
