"""What a batch found, as pandas frames: its runs, the competitors and the citations in its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Result, TextClause, text
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    import pandas as pd

# nullable types: a run without evaluation is neither mentioned nor not mentioned
RUN_TYPES = {
    "evaluated": "bool", "grounded": "boolean", "mentioned": "boolean", "cited": "boolean", "rank": "Int64",
    "sov": "Float64", "competitors": "Int64", "citations": "Int64", "own_citations": "Int64", "replicate": "int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Results:
    """A batch's findings for one org: one row per expected run, per (answer, competitor), per (answer, URL)."""

    runs: pd.DataFrame
    competitors: pd.DataFrame
    citations: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Competitor:
    """A brand named beside the org: in how many of `n` evaluated answers, at which mean rank (from 1)."""

    name: str
    answers: int
    n: int
    average_rank: float

    @property
    def rate(self) -> float:
        """The part of the evaluated answers that name it, 0–1."""
        return self.answers / self.n


@dataclass(frozen=True, slots=True)
class CitedDomain:
    """A domain that answers cite: `citations` of `n` (a URL counts once per answer), in `answers` answers."""

    domain: str
    answers: int
    citations: int
    n: int
    is_own: bool

    @property
    def share(self) -> float:
        """Its part of all citations, 0–1."""
        return self.citations / self.n


def load_results(
    session: Session, batch_id: UUID, *, org_id: UUID | None = None, extractor_version: str | None = None
) -> Results:
    """Load runs, competitors and citations in three statements; the arguments are those of `load_frame`."""
    return Results(
        load_frame(session, batch_id, org_id=org_id, extractor_version=extractor_version),
        _load(session, _COMPETITORS, batch_id, org_id, extractor_version, {"rank": "int64"}),
        _load(session, _CITATIONS, batch_id, org_id, extractor_version, {"position": "int64", "is_own": "bool"}),
    )


def load_frame(
    session: Session, batch_id: UUID, *, org_id: UUID | None = None, extractor_version: str | None = None
) -> pd.DataFrame:
    """Load one row per expected run of the batch with its state, its evaluation and its costs (Decimal, USD).

    `org_id` is the evaluated org, for a batch of scope org its own. Without `extractor_version` the
    latest evaluation of each run counts. `mentioned`, `rank`, `sov`, `cited` and the counts are missing
    values for a run without evaluation; `grounded` also where the vendor does not say.
    """
    return _load(session, _RUNS, batch_id, org_id, extractor_version, RUN_TYPES)


def top_competitors(results: Results, limit: int = 10) -> list[Competitor]:
    """Return the brands named in most answers; of several spellings the most frequent is shown."""
    n = int(results.runs["evaluated"].sum())
    top = [
        Competitor(_most_frequent(spellings), len(set(run_ids)), n, sum(ranks) / len(ranks))
        for spellings, run_ids, ranks in _grouped(results.competitors, "name_key", "name", "question_run_id", "rank")
    ]
    return sorted(top, key=lambda brand: (-brand.answers, brand.average_rank, brand.name))[:limit]


def top_cited_domains(results: Results, limit: int = 10) -> list[CitedDomain]:
    """Return the domains with most citations."""
    cited = results.citations
    top = [
        CitedDomain(domains[0], len(set(run_ids)), len(domains), len(cited), any(own))
        for domains, run_ids, own in _grouped(cited, "domain", "domain", "question_run_id", "is_own")
    ]
    return sorted(top, key=lambda place: (-place.citations, -place.answers, place.domain))[:limit]


def _grouped(frame: pd.DataFrame, by: str, *columns: str) -> Iterator[list[tuple[Any, ...]]]:
    """Give the columns of each group, as tuples; pandas would take a millisecond a group, and brands are hundreds."""
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for key, *values in zip(*(frame[column].tolist() for column in (by, *columns)), strict=True):
        groups.setdefault(key, []).append(tuple(values))
    return (list(zip(*rows, strict=True)) for rows in groups.values())


def _most_frequent(spellings: Iterable[str]) -> str:
    """Return the most frequent one, of equals the first by the alphabet."""
    return min(Counter(spellings).items(), key=lambda spelling: (-spelling[1], spelling[0]))[0]


def frame_of(found: Result[Any], types: Mapping[str, str]) -> pd.DataFrame:
    """Return a statement's rows as a frame of objects, the columns of `types` as these; also without a row."""
    import pandas as pd

    columns = list(found.keys())
    return pd.DataFrame([tuple(row) for row in found], columns=columns, dtype="object").astype(dict(types))


def _load(
    session: Session,
    statement: TextClause,
    batch_id: UUID,
    org_id: UUID | None,
    extractor_version: str | None,
    types: Mapping[str, str],
) -> pd.DataFrame:
    found = session.execute(statement, {"batch_id": batch_id, "org_id": org_id, "extractor_version": extractor_version})
    return frame_of(found, types)


_EVALUATED_RUNS = """
    FROM evaluation_batches batch
    JOIN question_runs run ON run.batch_id = batch.batch_id
    {join} LATERAL (
        SELECT candidate.* FROM org_evals candidate
        WHERE candidate.question_run_id = run.question_run_id
          AND candidate.org_id = coalesce(CAST(:org_id AS uuid), batch.org_id)
          AND candidate.extractor_version = coalesce(CAST(:extractor_version AS text), candidate.extractor_version)
        ORDER BY candidate.created_at DESC, candidate.evaluation_id LIMIT 1) evaluation ON true
"""
_RUNS = text(
    """
    SELECT run.question_run_id, run.question_id, question.question_text, question.tags, batch.run_date,
        run.model, concat_ws(', ', run.city, run.region_name, run.country_code) AS location, run.replicate,
        run.status, run.error_code, run.grounded, run.applied_country,
        evaluation.evaluation_id IS NOT NULL AS evaluated, evaluation.extractor_version, evaluation.mentioned,
        evaluation.reason, evaluation.mention_rank AS rank, evaluation.share_of_voice AS sov, evaluation.sentiment,
        evaluation.citation AS cited, brands.competitors, sources.citations, sources.own_citations,
        run.cost_usd AS answer_cost_usd, coalesce(evaluation.cost_usd, 0) AS evaluation_cost_usd,
        coalesce(-entry.amount, 0) AS charged_usd
    """
    + _EVALUATED_RUNS.format(join="LEFT JOIN")
    + """
    JOIN geo_questions question ON question.question_id = run.question_id
    LEFT JOIN LATERAL (
        SELECT count(*) AS competitors FROM org_competitors
        WHERE evaluation_id = evaluation.evaluation_id) brands ON evaluation.evaluation_id IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT count(*) AS citations, count(*) FILTER (WHERE type = 'primary') AS own_citations FROM org_citations
        WHERE evaluation_id = evaluation.evaluation_id) sources ON evaluation.evaluation_id IS NOT NULL
    LEFT JOIN partner_usage_ledger entry ON entry.source_type = 'question_run' AND entry.kind = 'charge'
        AND entry.source_id = run.question_run_id AND entry.org_id = coalesce(CAST(:org_id AS uuid), batch.org_id)
    WHERE batch.batch_id = :batch_id
    ORDER BY question.question_text, run.question_id, run.model, location, run.replicate
    """
)
_COMPETITORS = text(
    "SELECT run.question_run_id, run.model, competitor.name, competitor.name_key, competitor.rank"
    + _EVALUATED_RUNS.format(join="JOIN")
    + """
    JOIN org_competitors competitor ON competitor.evaluation_id = evaluation.evaluation_id
    WHERE batch.batch_id = :batch_id
    ORDER BY competitor.org_competitor_id
    """
)
_CITATIONS = text(
    """
    SELECT run.question_run_id, run.model, citation.url, citation.domain, citation.type = 'primary' AS is_own,
        citation.position, citation.source
    """
    + _EVALUATED_RUNS.format(join="JOIN")
    + """
    JOIN org_citations citation ON citation.evaluation_id = evaluation.evaluation_id
    WHERE batch.batch_id = :batch_id
    ORDER BY citation.org_citation_id
    """
)
