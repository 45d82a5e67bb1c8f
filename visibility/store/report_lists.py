"""What a report lists beside its figures: brands and domains of the answers, passages, what the answers cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.store.reevaluation import IN_WINDOW
from visibility.store.report_sums import ReportWindow


@dataclass(frozen=True, slots=True)
class BrandCount:
    """A brand named beside the orgs, under its most frequent spelling: in how many answers of each model."""

    name: str
    answers: int
    by_model: dict[str, int]


@dataclass(frozen=True, slots=True)
class DomainCount:
    """A domain with its citations (a URL counts once per answer); `own`: an org of the report has its site there."""

    domain: str
    answers: int
    citations: int
    own: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """What an answer says about an org, verbatim."""

    org_id: UUID
    run_date: date
    model: str
    location: str
    question: str
    text: str
    sentiment: str | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the window's answers and every LLM call for its batches cost, USD."""

    answers_usd: Decimal
    reading_usd: Decimal


def count_read(session: Session, window: ReportWindow, org_ids: Sequence[UUID]) -> dict[str, int]:
    """Count per model the answers that were evaluated for at least one of the orgs."""
    return {row.model: row.answers for row in session.execute(_READ, _given(window, org_ids))}


def top_brands(
    session: Session, window: ReportWindow, org_ids: Sequence[UUID], own_keys: Iterable[str], limit: int
) -> list[BrandCount]:
    """Return the brands named in most answers that are none of the orgs; `own_keys` are name keys of the orgs.

    A brand is none of them where it is a competitor to every org that the answer was read for.
    """
    given = {**_given(window, org_ids), "own_keys": list(own_keys), "limit": limit}
    return [BrandCount(row.name, row.answers, row.by_model) for row in session.execute(_BRANDS, given)]


def top_domains(session: Session, window: ReportWindow, org_ids: Sequence[UUID], limit: int) -> list[DomainCount]:
    """Return the domains with most citations, over all orgs together: an answer's URLs count once."""
    return [DomainCount(*row) for row in session.execute(_DOMAINS, {**_given(window, org_ids), "limit": limit})]


def count_citations(session: Session, window: ReportWindow, org_ids: Sequence[UUID]) -> int:
    """Count the citations of all domains, a URL once per answer."""
    return int(session.execute(_CITATIONS, _given(window, org_ids)).scalar_one())


def latest_passages(session: Session, window: ReportWindow, org_ids: Sequence[UUID], limit: int) -> list[Passage]:
    """Return the newest passages, at most one per org, model and question, in turn over the models."""
    return [Passage(*row) for row in session.execute(_PASSAGES, {**_given(window, org_ids), "limit": limit})]


def load_spent(session: Session, window: ReportWindow) -> Spent:
    """Sum up what the vendors and the LLM were paid for the window's batches."""
    return Spent(*session.execute(_SPENT, asdict(window)).one())


def _given(window: ReportWindow, org_ids: Sequence[UUID]) -> dict[str, object]:
    return {**asdict(window), "org_ids": list(org_ids)}


# DISTINCT ON per batch: see store.report_sums
EVALUATIONS = f"""
    WITH evaluation AS (
        SELECT batch.run_date, reading.*
        FROM evaluation_batches batch
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON (found.question_run_id, found.org_id)
                found.*, run.model, run.question_id,
                concat_ws(', ', run.city, run.region_name, run.country_code) AS location
            FROM question_runs run
            JOIN org_evals found ON found.question_run_id = run.question_run_id
                AND found.org_id = ANY(CAST(:org_ids AS uuid[]))
            WHERE run.batch_id = batch.batch_id
            ORDER BY found.question_run_id, found.org_id, found.created_at DESC, found.evaluation_id DESC) reading
        WHERE {IN_WINDOW})
"""
_READ = text(
    EVALUATIONS
    + """
    SELECT model, count(DISTINCT question_run_id) AS answers FROM evaluation
    GROUP BY model ORDER BY model COLLATE "C"
    """
)
_BRANDS = text(
    EVALUATIONS
    + """,
    reading AS (SELECT question_run_id, count(*) AS orgs FROM evaluation GROUP BY question_run_id),
    named AS (
        SELECT evaluation.question_run_id, evaluation.model, rival.name_key, min(rival.name COLLATE "C") AS name
        FROM evaluation JOIN org_competitors rival USING (evaluation_id) JOIN reading USING (question_run_id)
        WHERE rival.name_key <> ALL(CAST(:own_keys AS text[]))
        GROUP BY evaluation.question_run_id, evaluation.model, rival.name_key, reading.orgs
        HAVING count(*) = reading.orgs),
    of_model AS (SELECT name_key, model, count(*) AS answers FROM named GROUP BY name_key, model),
    brand AS (
        SELECT name_key, mode() WITHIN GROUP (ORDER BY name COLLATE "C") AS name, count(*) AS answers
        FROM named GROUP BY name_key)
    SELECT brand.name, brand.answers, json_object_agg(of_model.model, of_model.answers) AS by_model
    FROM brand JOIN of_model USING (name_key)
    GROUP BY name_key, brand.name, brand.answers
    ORDER BY answers DESC, name COLLATE "C" LIMIT :limit
    """
)
_DOMAINS = text(
    EVALUATIONS
    + """
    SELECT cited.domain, count(DISTINCT evaluation.question_run_id) AS answers,
        count(DISTINCT (evaluation.question_run_id, cited.url)) AS citations,
        bool_or(cited.type = 'primary') AS own
    FROM evaluation JOIN org_citations cited USING (evaluation_id)
    GROUP BY cited.domain
    ORDER BY citations DESC, answers DESC, cited.domain COLLATE "C" LIMIT :limit
    """
)
_CITATIONS = text(
    EVALUATIONS
    + """
    SELECT count(DISTINCT (evaluation.question_run_id, cited.url))
    FROM evaluation JOIN org_citations cited USING (evaluation_id)
    """
)
_PASSAGES = text(
    EVALUATIONS
    + """,
    passage AS (
        SELECT DISTINCT ON (org_id, model, question_id) evaluation.* FROM evaluation
        WHERE mentioned AND mention_text IS NOT NULL
        ORDER BY org_id, model, question_id, run_date DESC, location COLLATE "C", question_run_id),
    turn AS (
        SELECT passage.*, row_number() OVER (
            PARTITION BY model ORDER BY run_date DESC, question_id, org_id) AS place
        FROM passage)
    SELECT turn.org_id, turn.run_date, turn.model, turn.location, question.question_text, turn.mention_text,
        turn.sentiment
    FROM turn JOIN geo_questions question USING (question_id)
    ORDER BY turn.place, turn.model COLLATE "C" LIMIT :limit
    """
)
_SPENT = text(
    f"""
    SELECT coalesce(sum(spent.answers_usd), 0), coalesce(sum(spent.reading_usd), 0)
    FROM evaluation_batches batch
    CROSS JOIN LATERAL (
        SELECT (SELECT sum(cost_usd) FROM question_runs WHERE batch_id = batch.batch_id) AS answers_usd,
            (SELECT sum(cost_usd) FROM llm_calls WHERE batch_id = batch.batch_id) AS reading_usd) spent
    WHERE {IN_WINDOW}
    """
)
