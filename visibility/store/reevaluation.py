"""Evaluations of stored answers by version: what the current extractor has not read, and how its findings differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Window:
    """Whose answers are read again: the batches of one org or network, from day to day, both included."""

    scope: Literal["org", "network"]
    owner_id: UUID
    since: date
    until: date
    sandbox: bool
    version: str

    @property
    def network_id(self) -> UUID | None:
        """The network whose questions were asked; None for an org's own questions."""
        return self.owner_id if self.scope == "network" else None


@dataclass(frozen=True, slots=True)
class EvaluatedOrg:
    """An org with evaluations in the window: how many answers only other versions have read, how many this one."""

    org_id: UUID
    name: str
    outdated: int
    current: int


@dataclass(frozen=True, slots=True)
class OutdatedBatch:
    """The answers of one batch whose evaluations for an org are all of other versions."""

    batch_id: UUID
    run_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class LlmUse:
    """LLM calls with their tokens (in and out) and cost, USD."""

    calls: int
    tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Compared:
    """Old against new over the (answer, org) pairs that both have; old is the newest evaluation of another version.

    `sentiments` counts changes as `old->new` among the `mentioned_twice`. `shares` has one entry per question:
    pairs with two shares of voice, sum of the old ones, sum of the new ones. `examples` are at most ten changed
    mentions. `old_versions` counts all pairs, also those that the current version has not read. `hidden` pairs
    show the old evaluation to readers, because it was written after the current one.
    """

    pairs: int
    gained: int
    lost: int
    mentioned_twice: int
    hidden: int
    old_versions: dict[str, int]
    sentiments: dict[str, int]
    shares: list[tuple[int, float, float]]
    examples: list[dict[str, str]]


def database_now(session: Session) -> datetime:
    """Return the time by the clock that stamps rows."""
    moment: datetime = session.execute(text("SELECT now()")).scalar_one()
    return moment


def find_evaluated_orgs(session: Session, window: Window) -> list[EvaluatedOrg]:
    """Return every org that is evaluated in the window, by name; members that have left are among them."""
    return [EvaluatedOrg(*row) for row in session.execute(_ORGS, asdict(window))]


def find_outdated(session: Session, window: Window, org_id: UUID) -> list[OutdatedBatch]:
    """Return the answers evaluated for the org, but not at this version; an answer nobody has read is not among them.

    Who reads an answer for the first time pays for it, and that is not a re-evaluation.
    """
    rows = session.execute(_OUTDATED, {**asdict(window), "org_id": org_id})
    return [OutdatedBatch(row.batch_id, tuple(row.run_ids)) for row in rows]


def compare(session: Session, window: Window) -> Compared:
    """Compare the window's evaluations of this version with those before it, in one statement."""
    return Compared(**session.execute(_COMPARED, asdict(window)).one()._mapping)


def llm_use(session: Session, window: Window, begun: datetime) -> LlmUse:
    """Sum up the calls for the window's batches that were recorded from `begun` on."""
    return LlmUse(*session.execute(_LLM_USE, {**asdict(window), "begun": begun}).one())


IN_WINDOW = """
    batch.scope = :scope AND coalesce(batch.org_id, batch.network_id) = :owner_id
    AND batch.run_date BETWEEN :since AND :until AND batch.sandbox = :sandbox
"""
_EVALUATIONS = f"""
    WITH evaluation AS (
        SELECT run.batch_id, run.question_id, found.question_run_id, found.org_id, org.name AS org_name,
            found.evaluation_id, found.created_at, found.extractor_version = :version AS is_current,
            found.extractor_version, found.mentioned, found.reason, found.sentiment, found.share_of_voice
        FROM evaluation_batches batch
        JOIN question_runs run ON run.batch_id = batch.batch_id AND run.status = 'answered'
        JOIN org_evals found ON found.question_run_id = run.question_run_id
        JOIN orgs org ON org.org_id = found.org_id AND org.deleted_at IS NULL
        WHERE {IN_WINDOW} AND (batch.org_id IS NULL OR found.org_id = batch.org_id))
"""
_ORGS = text(
    _EVALUATIONS
    + """
    SELECT org_id, org_name, count(*) FILTER (WHERE NOT has_current), count(*) FILTER (WHERE has_current)
    FROM (SELECT org_id, org_name, question_run_id, bool_or(is_current) AS has_current
          FROM evaluation GROUP BY org_id, org_name, question_run_id) AS answer
    GROUP BY org_id, org_name ORDER BY org_name, org_id
    """
)
_OUTDATED = text(
    _EVALUATIONS
    + """
    SELECT batch_id, array_agg(question_run_id ORDER BY question_run_id) AS run_ids
    FROM (SELECT batch_id, question_run_id FROM evaluation WHERE org_id = :org_id
          GROUP BY batch_id, question_run_id HAVING NOT bool_or(is_current)) AS answer
    GROUP BY batch_id ORDER BY batch_id
    """
)
# shares are summed as numeric: floats would add up differently from one run to the next
_COMPARED = text(
    _EVALUATIONS
    + """,
    old AS (
        SELECT DISTINCT ON (question_run_id, org_id) * FROM evaluation WHERE NOT is_current
        ORDER BY question_run_id, org_id, created_at DESC, evaluation_id DESC),
    pair AS (
        SELECT old.question_run_id, old.org_name, old.question_id, old.extractor_version,
            new.evaluation_id IS NOT NULL AS is_read, old.mentioned AS was_mentioned, new.mentioned,
            old.reason AS old_reason, new.reason AS new_reason,
            coalesce(old.sentiment, 'unjudged') AS old_sentiment, coalesce(new.sentiment, 'unjudged') AS sentiment,
            CAST(old.share_of_voice AS numeric) AS old_share, CAST(new.share_of_voice AS numeric) AS share,
            (old.created_at, old.evaluation_id) > (new.created_at, new.evaluation_id) AS is_hidden
        FROM old LEFT JOIN evaluation new ON new.question_run_id = old.question_run_id
            AND new.org_id = old.org_id AND new.is_current),
    flip AS (
        SELECT *, row_number() OVER (PARTITION BY mentioned ORDER BY org_name, question_run_id) AS place
        FROM pair WHERE mentioned <> was_mentioned)
    SELECT count(*) FILTER (WHERE is_read) AS pairs,
        count(*) FILTER (WHERE mentioned AND NOT was_mentioned) AS gained,
        count(*) FILTER (WHERE was_mentioned AND NOT mentioned) AS lost,
        count(*) FILTER (WHERE was_mentioned AND mentioned) AS mentioned_twice,
        count(*) FILTER (WHERE is_hidden) AS hidden,
        (SELECT coalesce(json_object_agg(extractor_version, number ORDER BY extractor_version), '{}')
         FROM (SELECT extractor_version, count(*) AS number FROM pair GROUP BY 1) AS counted) AS old_versions,
        (SELECT coalesce(json_object_agg(change, number ORDER BY change), '{}')
         FROM (SELECT old_sentiment || '->' || sentiment AS change, count(*) AS number FROM pair
               WHERE was_mentioned AND mentioned AND old_sentiment <> sentiment GROUP BY 1) AS counted) AS sentiments,
        (SELECT coalesce(json_agg(json_build_array(number, old_sum, new_sum) ORDER BY question_id), '[]')
         FROM (SELECT question_id, count(*) AS number, sum(old_share) AS old_sum, sum(share) AS new_sum FROM pair
               WHERE old_share IS NOT NULL AND share IS NOT NULL GROUP BY question_id) AS summed) AS shares,
        (SELECT coalesce(json_agg(json_build_object('question_run_id', question_run_id, 'org_name', org_name,
                'change', CASE WHEN mentioned THEN 'gained' ELSE 'lost' END,
                'old_reason', old_reason, 'new_reason', new_reason) ORDER BY place, mentioned), '[]')
         FROM (SELECT * FROM flip ORDER BY place, mentioned LIMIT 10) AS listed) AS examples
    FROM pair
    """
)
_LLM_USE = text(
    f"""
    SELECT count(*), coalesce(sum(call.input_tokens + call.output_tokens), 0), coalesce(sum(call.cost_usd), 0)
    FROM evaluation_batches batch JOIN llm_calls call ON call.batch_id = batch.batch_id
    WHERE {IN_WINDOW} AND call.created_at >= :begun
    """
)
