"""What a report's figures are made of, summed up by Postgres: a year of a network is millions of evaluations.

The sums are those of `visibility.sums`; a test holds that both ways of taking them agree.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.domain import Scope
from visibility.store.reevaluation import IN_WINDOW
from visibility.store.results import frame_of
from visibility.sums import RANK_DISCOUNT, SUMS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ReportWindow:
    """Whose questions a report is about: the batches of an org or a network, from day to day, both included."""

    scope: Scope
    owner_id: UUID
    since: date
    until: date
    sandbox: bool


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question that was asked in the window, with its tags in alphabetical order."""

    question_id: str
    text: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reader:
    """An org that a network's answers are read for; `left`: it was, and is no member any more."""

    org_id: UUID
    name: str
    left: bool


def load_sums(session: Session, window: ReportWindow, org_id: UUID) -> pd.DataFrame:
    """Return one row per date, model, location and question, with the sums over its runs as the org's newest readings.

    Columns: `run_date`, `model`, `location`, `question_id`, `versions` (extractor versions), `SUMS` and `COSTS`
    (Decimal, USD). An answer that nobody has read for the org is answered and not evaluated.
    """
    given = {**asdict(window), "org_id": org_id, "discount": RANK_DISCOUNT}
    frame = frame_of(session.execute(_SUMS, given), dict.fromkeys(SUMS, "float64"))
    return frame.assign(versions=frame["versions"].map(tuple))


def load_questions(session: Session, window: ReportWindow) -> list[AskedQuestion]:
    """Return the questions that were asked in the window, in the order in which their owner wrote them."""
    rows = session.execute(_QUESTIONS, asdict(window))
    return [AskedQuestion(row.question_id, row.question_text, tuple(sorted(set(row.tags)))) for row in rows]


def load_readers(session: Session, window: ReportWindow) -> list[Reader]:
    """Return the members of the window's network and the orgs that its answers were read for, by name."""
    return [Reader(*row) for row in session.execute(_READERS, asdict(window))]


def load_failures(session: Session, window: ReportWindow) -> dict[str, int]:
    """Count the runs without an answer by error code, or by their state where they have not failed."""
    return {row.code: row.number for row in session.execute(_FAILURES, asdict(window))}


def load_other_origin(session: Session, window: ReportWindow) -> int:
    """Count the runs of the same window on the other side: simulated ones for a report on real ones."""
    return int(session.execute(_RUNS, {**asdict(window), "sandbox": not window.sandbox}).scalar_one())


# An aggregate per batch keeps the planner from joining whole tables: however long the history of others is, it reads
# the runs of the window's batches. Sums of fractions are numeric: floats would add up differently from run to run.
_SUMS = text(
    f"""
    SELECT batch.run_date, question.*
    FROM evaluation_batches batch
    CROSS JOIN LATERAL (
        SELECT run.model, concat_ws(', ', run.city, run.region_name, run.country_code) AS location,
            CAST(run.question_id AS text) AS question_id,
            array_remove(array_agg(DISTINCT found.extractor_version), NULL) AS versions,
            count(*) AS expected,
            count(*) FILTER (WHERE run.status = 'answered') AS answered,
            count(found.evaluation_id) AS evaluated,
            count(*) FILTER (WHERE found.mentioned) AS mentioned,
            count(*) FILTER (WHERE found.citation) AS cited,
            count(*) FILTER (WHERE found.mentioned AND found.citation) AS mentioned_and_cited,
            count(*) FILTER (WHERE found.evaluation_id IS NOT NULL AND run.grounded IS NOT NULL) AS grounding_known,
            count(*) FILTER (WHERE found.evaluation_id IS NOT NULL AND run.grounded) AS grounded,
            count(*) FILTER (WHERE found.citation AND run.grounded) AS grounded_and_cited,
            CAST(coalesce(sum(CAST(found.share_of_voice AS numeric)), 0) AS float) AS text_voice,
            count(found.share_of_voice) AS text_voice_known,
            CAST(coalesce(sum(brands.competitors), 0) AS bigint) AS competitors,
            coalesce(sum(named.rank), 0) AS ranks,
            count(named.rank) AS ranked,
            CAST(coalesce(sum(power(CAST(:discount AS numeric), named.rank - 1)), 0) AS float) AS rank_visibility,
            count(*) FILTER (WHERE named.sentiment = 'positive')
                - count(*) FILTER (WHERE named.sentiment = 'negative') AS sentiment,
            count(named.sentiment) AS judged,
            CAST(coalesce(sum(sources.citations), 0) AS bigint) AS citations,
            CAST(coalesce(sum(sources.own_citations), 0) AS bigint) AS own_citations,
            sum(run.cost_usd) AS answer_cost_usd,
            coalesce(sum(found.cost_usd), 0) AS evaluation_cost_usd
        FROM question_runs run
        LEFT JOIN LATERAL (
            SELECT * FROM org_evals
            WHERE org_evals.question_run_id = run.question_run_id AND org_evals.org_id = :org_id
            ORDER BY created_at DESC, evaluation_id DESC LIMIT 1) found ON true
        LEFT JOIN LATERAL (
            SELECT found.mention_rank AS rank, found.sentiment WHERE found.mentioned) named ON true
        LEFT JOIN LATERAL (
            SELECT count(*) AS competitors FROM org_competitors
            WHERE evaluation_id = found.evaluation_id) brands ON found.evaluation_id IS NOT NULL
        LEFT JOIN LATERAL (
            SELECT count(*) AS citations, count(*) FILTER (WHERE type = 'primary') AS own_citations FROM org_citations
            WHERE evaluation_id = found.evaluation_id) sources ON found.evaluation_id IS NOT NULL
        WHERE run.batch_id = batch.batch_id
        GROUP BY 1, 2, 3) question
    WHERE {IN_WINDOW}
    ORDER BY run_date, model COLLATE "C", location COLLATE "C", question_id
    """
)
_QUESTIONS = text(
    f"""
    SELECT CAST(question_id AS text) AS question_id, question_text, tags FROM geo_questions
    WHERE question_id IN (
        SELECT asked.question_id
        FROM evaluation_batches batch
        CROSS JOIN LATERAL (
            SELECT DISTINCT question_id FROM question_runs WHERE batch_id = batch.batch_id) asked
        WHERE {IN_WINDOW})
    ORDER BY created_at, question_text COLLATE "C", question_id
    """
)
_FAILURES = text(
    f"""
    SELECT failed.code, CAST(sum(failed.number) AS bigint) AS number
    FROM evaluation_batches batch
    CROSS JOIN LATERAL (
        SELECT coalesce(error_code, status) AS code, count(*) AS number FROM question_runs
        WHERE batch_id = batch.batch_id AND status <> 'answered' GROUP BY 1) failed
    WHERE {IN_WINDOW}
    GROUP BY failed.code ORDER BY number DESC, failed.code COLLATE "C"
    """
)
_RUNS = text(
    f"""
    SELECT coalesce(sum(counted.number), 0)
    FROM evaluation_batches batch
    CROSS JOIN LATERAL (SELECT count(*) AS number FROM question_runs WHERE batch_id = batch.batch_id) counted
    WHERE {IN_WINDOW}
    """
)
_READERS = text(
    f"""
    SELECT org.org_id, org.name, org.network_id IS DISTINCT FROM :owner_id OR org.deleted_at IS NOT NULL AS left
    FROM orgs org
    WHERE (org.network_id = :owner_id AND org.deleted_at IS NULL) OR org.org_id IN (
        SELECT reader.org_id
        FROM evaluation_batches batch
        CROSS JOIN LATERAL (
            SELECT DISTINCT found.org_id FROM question_runs run JOIN org_evals found USING (question_run_id)
            WHERE run.batch_id = batch.batch_id) reader
        WHERE {IN_WINDOW})
    ORDER BY org.name COLLATE "C", org.org_id
    """
)
