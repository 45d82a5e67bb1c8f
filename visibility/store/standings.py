"""What the answers of a network say about its members, for all members in a constant number of statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.store.results import RUN_TYPES, frame_of

if TYPE_CHECKING:
    import pandas as pd

PAIR_TYPES = {name: kind for name, kind in RUN_TYPES.items() if name != "replicate"}


@dataclass(frozen=True, slots=True)
class Standee:
    """An org with a place on the leaderboard: a member, or one that has left since it was evaluated."""

    org_id: UUID
    name: str
    left: bool


@dataclass(frozen=True, slots=True)
class CitedDomain:
    """A domain with its `citations` (a URL counts once per answer) in `answers` answers; `owners` are org ids."""

    domain: str
    answers: int
    citations: int
    owners: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class NamedBrand:
    """A brand that is none of the evaluated orgs, under its most frequent spelling, named in `answers` answers."""

    name: str
    answers: int


@dataclass(frozen=True, slots=True)
class MemberBatch:
    """What one network batch came to for one org, at one extractor version.

    `readable` are its evaluations and the answers that a reading has found: others came in while it went on.
    """

    run_date: date
    expected: int
    answered: int
    readable: int
    evaluated: int
    mentioned: int
    competitors: int
    citations: int


def load_standees(session: Session, batch_id: UUID, extractor_version: str) -> list[Standee]:
    """Return the members of the batch's network and the orgs that were evaluated on it, by name."""
    rows = session.execute(_STANDEES, {"batch_id": batch_id, "version": extractor_version})
    return [Standee(*row) for row in rows]


def load_pairs(session: Session, batch_id: UUID, org_ids: Sequence[UUID], extractor_version: str) -> pd.DataFrame:
    """Load one row per org and expected run of the batch, with the columns of `load_frame` that figures need.

    `mentioned`, `rank`, `sov`, `cited` and the counts are missing values for a pair without evaluation.
    """
    given = {"batch_id": batch_id, "org_ids": list(org_ids), "version": extractor_version}
    return frame_of(session.execute(_PAIRS, given), PAIR_TYPES)


def top_domains(session: Session, batch_id: UUID, extractor_version: str, limit: int) -> list[CitedDomain]:
    """Return the domains with most citations in the batch's evaluated answers, over all orgs together.

    However many orgs an answer was read for, its URLs count once.
    """
    rows = session.execute(_DOMAINS, {"batch_id": batch_id, "version": extractor_version, "limit": limit})
    return [CitedDomain(row.domain, row.answers, row.citations, tuple(row.owners)) for row in rows]


def top_brands(
    session: Session, batch_id: UUID, extractor_version: str, member_keys: Iterable[str], limit: int
) -> list[NamedBrand]:
    """Return the brands named in most answers that are no member.

    A brand is no member where it is a competitor to every org that the answer was read for; `member_keys` are name
    keys of members, for those that were not evaluated.
    """
    given = {"batch_id": batch_id, "version": extractor_version, "member_keys": list(member_keys), "limit": limit}
    return [NamedBrand(*row) for row in session.execute(_BRANDS, given)]


def count_evaluated(session: Session, batch_id: UUID, extractor_version: str) -> int:
    """Return how many answers of the batch were evaluated for at least one org."""
    return int(session.execute(_EVALUATED, {"batch_id": batch_id, "version": extractor_version}).scalar_one())


def load_window(
    session: Session,
    network_id: UUID,
    org_id: UUID,
    since: date,
    extractor_version: str,
    *,
    sandbox: bool,
    also: date | None = None,
    found: Sequence[UUID] = (),
) -> list[MemberBatch]:
    """Count the network's batches from `since` on for one org, by date; simulated and real ones never together."""
    given = {"network_id": network_id, "org_id": org_id, "since": since, "also": also, "version": extractor_version}
    return [MemberBatch(*row) for row in session.execute(_WINDOW, {**given, "sandbox": sandbox, "found": list(found)})]


_EVALUATIONS = """
    WITH evaluation AS (
        SELECT found.* FROM question_runs run
        JOIN org_evals found USING (question_run_id)
        WHERE run.batch_id = :batch_id AND found.extractor_version = :version)
"""
_STANDEES = text(
    _EVALUATIONS
    + """,
    batch AS (SELECT network_id FROM evaluation_batches WHERE batch_id = :batch_id),
    standee AS (
        SELECT org_id FROM evaluation
        UNION SELECT org_id FROM orgs JOIN batch USING (network_id) WHERE deleted_at IS NULL)
    SELECT org.org_id, org.name, org.network_id IS DISTINCT FROM batch.network_id OR org.deleted_at IS NOT NULL AS left
    FROM standee JOIN orgs org USING (org_id) CROSS JOIN batch
    ORDER BY org.name, org.org_id
    """
)
_PAIRS = text(
    """
    SELECT org.org_id, run.question_id, run.status, run.grounded, evaluation.evaluation_id IS NOT NULL AS evaluated,
        evaluation.mentioned, evaluation.mention_rank AS rank, evaluation.share_of_voice AS sov,
        evaluation.sentiment, evaluation.citation AS cited, brands.competitors, sources.citations,
        sources.own_citations, run.cost_usd AS answer_cost_usd,
        coalesce(evaluation.cost_usd, 0) AS evaluation_cost_usd
    FROM question_runs run
    CROSS JOIN unnest(CAST(:org_ids AS uuid[])) AS org (org_id)
    LEFT JOIN org_evals evaluation ON evaluation.question_run_id = run.question_run_id
        AND evaluation.org_id = org.org_id AND evaluation.extractor_version = :version
    LEFT JOIN LATERAL (
        SELECT count(*) AS competitors FROM org_competitors
        WHERE evaluation_id = evaluation.evaluation_id) brands ON evaluation.evaluation_id IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT count(*) AS citations, count(*) FILTER (WHERE type = 'primary') AS own_citations FROM org_citations
        WHERE evaluation_id = evaluation.evaluation_id) sources ON evaluation.evaluation_id IS NOT NULL
    WHERE run.batch_id = :batch_id
    ORDER BY org.org_id, run.question_id, run.question_run_id
    """
)
_DOMAINS = text(
    _EVALUATIONS
    + """
    SELECT cited.domain, count(DISTINCT evaluation.question_run_id) AS answers,
        count(DISTINCT (evaluation.question_run_id, cited.url)) AS citations,
        coalesce(array_agg(DISTINCT evaluation.org_id) FILTER (WHERE cited.type = 'primary'), '{}') AS owners
    FROM evaluation JOIN org_citations cited USING (evaluation_id)
    GROUP BY cited.domain
    ORDER BY citations DESC, answers DESC, cited.domain LIMIT :limit
    """
)
_BRANDS = text(
    _EVALUATIONS
    + """,
    reading AS (SELECT question_run_id, count(*) AS orgs FROM evaluation GROUP BY question_run_id),
    named AS (
        SELECT evaluation.question_run_id, rival.name_key, min(rival.name) AS name
        FROM evaluation JOIN org_competitors rival USING (evaluation_id) JOIN reading USING (question_run_id)
        WHERE rival.name_key <> ALL(CAST(:member_keys AS text[]))
        GROUP BY evaluation.question_run_id, rival.name_key, reading.orgs HAVING count(*) = reading.orgs)
    SELECT mode() WITHIN GROUP (ORDER BY name COLLATE "C") AS name, count(*) AS answers
    FROM named GROUP BY name_key
    ORDER BY answers DESC, name LIMIT :limit
    """
)
_EVALUATED = text(_EVALUATIONS + "SELECT count(DISTINCT question_run_id) FROM evaluation")
_WINDOW = text(
    """
    SELECT batch.run_date, count(run.question_run_id) AS expected,
        count(*) FILTER (WHERE run.status = 'answered') AS answered,
        count(*) FILTER (WHERE evaluation.evaluation_id IS NOT NULL
                           OR run.question_run_id = ANY(CAST(:found AS uuid[]))) AS readable,
        count(evaluation.evaluation_id) AS evaluated,
        count(*) FILTER (WHERE evaluation.mentioned) AS mentioned,
        CAST(coalesce(sum(brands.competitors), 0) AS bigint) AS competitors,
        CAST(coalesce(sum(sources.citations), 0) AS bigint) AS citations
    FROM evaluation_batches batch
    LEFT JOIN question_runs run USING (batch_id)
    LEFT JOIN org_evals evaluation ON evaluation.question_run_id = run.question_run_id
        AND evaluation.org_id = :org_id AND evaluation.extractor_version = :version
    LEFT JOIN LATERAL (
        SELECT count(*) AS competitors FROM org_competitors
        WHERE evaluation_id = evaluation.evaluation_id) brands ON evaluation.evaluation_id IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT count(*) AS citations FROM org_citations
        WHERE evaluation_id = evaluation.evaluation_id) sources ON evaluation.evaluation_id IS NOT NULL
    WHERE batch.scope = 'network' AND coalesce(batch.org_id, batch.network_id) = :network_id
      AND (batch.run_date >= :since OR batch.run_date = CAST(:also AS date)) AND batch.sandbox = :sandbox
    GROUP BY batch.run_date ORDER BY batch.run_date
    """
)
