"""Evaluations and what belongs to them: written in sets, harmless to write twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import Select, Table, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from visibility.domain import Evaluation, LlmCall, StoredAnswer, name_key
from visibility.store.tables import (
    AnswerBrand,
    Base,
    GeoQuestion,
    LlmCallRow,
    OrgCitation,
    OrgCompetitor,
    OrgEval,
    QuestionRunRow,
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """Which evaluations were new, and how many rows came with them."""

    question_run_ids: frozenset[UUID]
    competitors: int
    citations: int


def unevaluated(session: Session, batch_id: UUID, org_id: UUID, model: str, extractor_version: str) -> list[UUID]:
    """Return the batch's answered runs of a model that have no evaluation of the org at this version."""
    statement = (
        select(QuestionRunRow.question_run_id)
        .where(QuestionRunRow.batch_id == batch_id, QuestionRunRow.model == model)
        .order_by(QuestionRunRow.question_run_id)
    )
    return list(session.scalars(_open(statement, org_id, extractor_version)))


def load_answers(session: Session, run_ids: Sequence[UUID], org_id: UUID, extractor_version: str) -> list[StoredAnswer]:
    """Return those of the runs that are answered and not yet evaluated for the org at this version."""
    statement = (
        select(
            QuestionRunRow.question_run_id,
            GeoQuestion.question_text,
            QuestionRunRow.response_text,
            QuestionRunRow.provider_sources,
            QuestionRunRow.model,
        )
        .join(GeoQuestion, GeoQuestion.question_id == QuestionRunRow.question_id)
        .where(QuestionRunRow.question_run_id.in_(run_ids))
        .order_by(QuestionRunRow.question_run_id)
    )
    rows = session.execute(_open(statement, org_id, extractor_version))
    return [StoredAnswer(*row) for row in rows]


def save_evaluations(session: Session, evaluations: Sequence[Evaluation], calls: Sequence[LlmCall]) -> Saved:
    """Store evaluations with their brands, competitors and citations, and the calls; at most five statements.

    An evaluation that exists (another process was faster) is left alone, and so is everything under it. Rows are
    written in the order of their keys: two processes that write the same ones wait for each other, never both.
    """
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.question_run_id)
    ids = _insert_evaluations(session, ordered)
    new = [evaluation for evaluation in ordered if evaluation.question_run_id in ids]
    competitors = [row for evaluation in new for row in _competitors(evaluation, ids[evaluation.question_run_id])]
    citations = [row for evaluation in new for row in _citations(evaluation, ids[evaluation.question_run_id])]
    _insert(session, OrgCompetitor, competitors)
    _insert(session, OrgCitation, citations)
    _insert(session, AnswerBrand, [row for evaluation in new for row in _brands(evaluation)])
    save_calls(session, calls)
    return Saved(frozenset(ids), len(competitors), len(citations))


def save_calls(session: Session, calls: Sequence[LlmCall]) -> None:
    """Store LLM calls; one that is stored already is left alone."""
    _insert(session, LlmCallRow, [asdict(call) for call in calls])


def _open(statement: Select[Any], org_id: UUID, extractor_version: str) -> Select[Any]:
    evaluated = exists().where(
        OrgEval.question_run_id == QuestionRunRow.question_run_id,
        OrgEval.org_id == org_id,
        OrgEval.extractor_version == extractor_version,
    )
    return statement.where(QuestionRunRow.status == "answered", ~evaluated)


def _insert_evaluations(session: Session, evaluations: Sequence[Evaluation]) -> dict[UUID, UUID]:
    """Return the evaluation id of every run whose evaluation is new."""
    if not evaluations:
        return {}
    statement = (
        insert(_table(OrgEval)).on_conflict_do_nothing().returning(OrgEval.question_run_id, OrgEval.evaluation_id)
    )
    rows = session.connection().execute(statement, [_evaluation_row(evaluation) for evaluation in evaluations])
    return {row.question_run_id: row.evaluation_id for row in rows}


def _insert(session: Session, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert what is not there; as one statement of many values, compiled once per process.

    Without RETURNING, SQLAlchemy would send ON CONFLICT row by row.
    """
    if rows:
        table = _table(model)
        session.connection().execute(
            insert(table).on_conflict_do_nothing().returning(table.primary_key.columns[0]), rows
        )


def _table(model: type[Base]) -> Table:
    return cast(Table, model.__table__)


def _evaluation_row(evaluation: Evaluation) -> Row:
    return {
        "evaluation_id": uuid4(),
        "question_run_id": evaluation.question_run_id,
        "org_id": evaluation.org_id,
        "extractor_version": evaluation.extractor_version,
        "mentioned": evaluation.mentioned,
        "reason": evaluation.reason,
        "citation": evaluation.citation,
        "sentiment": evaluation.sentiment,
        "mention_text": evaluation.mention_text,
        "spans": [[span.start, span.end] for span in evaluation.spans],
        "mention_rank": evaluation.mention_rank,
        "share_of_voice": evaluation.share_of_voice,
        "ungrounded": evaluation.ungrounded,
        "input_tokens": evaluation.input_tokens,
        "output_tokens": evaluation.output_tokens,
        "cost_usd": evaluation.cost_usd,
    }


def _competitors(evaluation: Evaluation, evaluation_id: UUID) -> list[Row]:
    return [
        {"evaluation_id": evaluation_id, "name": name, "name_key": name_key(name), "rank": rank}
        for rank, name in enumerate(evaluation.competitors, 1)
    ]


def _citations(evaluation: Evaluation, evaluation_id: UUID) -> list[Row]:
    return [{"evaluation_id": evaluation_id, **asdict(citation)} for citation in evaluation.citations]


def _brands(evaluation: Evaluation) -> list[Row]:
    brands = sorted(evaluation.brands, key=lambda brand: brand.name_key)
    return [{"question_run_id": evaluation.question_run_id, **asdict(brand)} for brand in brands]
