"""Evaluations and what belongs to them: written in sets, harmless to write twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import Select, Table, delete, exists, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.orm import Session

from visibility.domain import Brand, Evaluation, LlmCall, StoredAnswer, name_key
from visibility.store.tables import (
    AnswerBrand,
    Base,
    BrandReading,
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


def load_answers(
    session: Session, run_ids: Sequence[UUID], org_id: UUID, extractor_version: str, brands_version: str | None = None
) -> list[StoredAnswer]:
    """Return those of the runs that are answered and not yet evaluated for the org at this version.

    With their brands: where orgs share the answers (`brands_version`) those read at that version, also when there
    are none; else those that an older reading has left.
    """
    statement = (
        select(
            QuestionRunRow.question_run_id,
            GeoQuestion.question_text,
            QuestionRunRow.response_text,
            QuestionRunRow.provider_sources,
            QuestionRunRow.model,
            brands_of(QuestionRunRow.question_run_id).label("brands"),
            (BrandReading.read_at.is_not(None) & (BrandReading.version == brands_version)).label("is_read"),
        )
        .join(GeoQuestion, GeoQuestion.question_id == QuestionRunRow.question_id)
        .outerjoin(BrandReading, BrandReading.question_run_id == QuestionRunRow.question_run_id)
        .where(QuestionRunRow.question_run_id.in_(run_ids))
        .order_by(QuestionRunRow.question_run_id)
    )
    rows = session.execute(_open(statement, org_id, extractor_version))
    return [_stored_answer(row, row.brands if brands_version is None else row.is_read) for row in rows]


def _stored_answer(row: Any, brands_count: object) -> StoredAnswer:
    return StoredAnswer(
        question_run_id=row.question_run_id,
        question_text=row.question_text,
        response_text=row.response_text,
        provider_sources=row.provider_sources,
        model=row.model,
        brands=as_brands(row.brands) if brands_count else None,
    )


def save_evaluations(
    session: Session,
    evaluations: Sequence[Evaluation],
    calls: Sequence[LlmCall],
    *,
    shared_brands: bool = False,
    outdated_brands: Collection[UUID] = (),
) -> Saved:
    """Store evaluations with their brands, competitors and citations, and the calls; at most five statements.

    Brands that are shared are stored by who has read them; those of the runs in `outdated_brands`, which an older
    reading has left, are replaced (one statement more). An evaluation that exists (another process was faster) is
    left alone, and so is everything under it. Rows are written in the order of their keys: two processes that write
    the same ones wait for each other, never both.
    """
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.question_run_id)
    ids = _insert_evaluations(session, ordered)
    new = [evaluation for evaluation in ordered if evaluation.question_run_id in ids]
    competitors = [row for evaluation in new for row in _competitors(evaluation, ids[evaluation.question_run_id])]
    citations = [row for evaluation in new for row in _citations(evaluation, ids[evaluation.question_run_id])]
    _insert(session, OrgCompetitor, competitors)
    _insert(session, OrgCitation, citations)
    if not shared_brands:
        _delete_brands(session, ids.keys() & outdated_brands)
        _insert_brands(session, {evaluation.question_run_id: evaluation.brands for evaluation in new})
    save_calls(session, calls)
    return Saved(frozenset(ids), len(competitors), len(citations))


def replace_brands(session: Session, brands: Mapping[UUID, Sequence[Brand]]) -> None:
    """Make these the brands of these answers."""
    _delete_brands(session, brands.keys())
    _insert_brands(session, brands)


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


def _insert_brands(session: Session, brands: Mapping[UUID, Sequence[Brand]]) -> None:
    _insert(
        session,
        AnswerBrand,
        [
            {"question_run_id": question_run_id, **asdict(brand)}
            for question_run_id, found in brands.items()
            for brand in sorted(found, key=lambda brand: brand.name_key)
        ],
    )


def brands_of(question_run_id: Any) -> Any:
    """Return an expression for the stored brands of a run, for `as_brands`; NULL when there are none."""
    brand = func.jsonb_build_array(
        AnswerBrand.name, AnswerBrand.name_key, AnswerBrand.first_offset, AnswerBrand.occurrences
    )
    in_order = func.jsonb_agg(aggregate_order_by(brand, AnswerBrand.first_offset))
    return select(in_order).where(AnswerBrand.question_run_id == question_run_id).scalar_subquery()


def as_brands(stored: list[list[Any]] | None) -> tuple[Brand, ...]:
    """Return what `brands_of` has selected."""
    return tuple(Brand(*brand) for brand in stored or ())


def _delete_brands(session: Session, run_ids: Collection[UUID]) -> None:
    if run_ids:
        session.execute(delete(AnswerBrand).where(AnswerBrand.question_run_id.in_(run_ids)))
