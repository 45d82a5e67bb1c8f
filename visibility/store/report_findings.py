"""Every evaluated answer of a report's window, as many as there are: read in portions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.store.report_lists import EVALUATIONS
from visibility.store.report_sums import ReportWindow

PORTION = 5000  # rows in memory at a time: a year of a network is a million


def stream_findings(session: Session, window: ReportWindow, org_ids: Sequence[UUID]) -> Iterator[Sequence[Row[Any]]]:
    """Give the newest evaluation of every (answer, org), by date, question, model, location and org, in portions."""
    given = {**asdict(window), "org_ids": list(org_ids)}
    streamed = {"stream_results": True, "max_row_buffer": PORTION}
    return session.execute(_FINDINGS, given, execution_options=streamed).partitions(PORTION)


_FINDINGS = text(
    EVALUATIONS
    + """
    SELECT CAST(evaluation.question_run_id AS text) AS question_run_id, evaluation.run_date,
        CAST(evaluation.org_id AS text) AS org_id, org.name AS org,
        CAST(evaluation.question_id AS text) AS question_id, question.question_text AS question,
        nullif(array_to_string(question.tags, ', '), '') AS tags,
        evaluation.model, run.answered_by, evaluation.location, run.country_code, run.region_name AS region, run.city,
        run.replicate, run.applied_country, run.grounded, evaluation.extractor_version, evaluation.mentioned,
        evaluation.reason, evaluation.mention_rank, evaluation.share_of_voice, evaluation.sentiment,
        evaluation.citation AS own_site_cited, evaluation.mention_text AS passages,
        brands.number AS competitors, brands.names AS competitor_names,
        sources.number AS citations, sources.own AS own_citations, sources.urls AS cited_urls,
        run.cost_usd AS answer_cost_usd, evaluation.cost_usd AS evaluation_cost_usd
    FROM evaluation
    JOIN question_runs run USING (question_run_id)
    JOIN orgs org ON org.org_id = evaluation.org_id
    JOIN geo_questions question ON question.question_id = evaluation.question_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, string_agg(name, ' | ' ORDER BY rank, org_competitor_id) AS names
        FROM org_competitors WHERE evaluation_id = evaluation.evaluation_id) brands
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE type = 'primary') AS own,
            string_agg(url, ' ' ORDER BY position, org_citation_id) AS urls
        FROM org_citations WHERE evaluation_id = evaluation.evaluation_id) sources
    ORDER BY evaluation.run_date, question.question_text COLLATE "C", evaluation.question_id,
        evaluation.model COLLATE "C", evaluation.location COLLATE "C", run.replicate, org.name COLLATE "C", org.org_id
    """
)
