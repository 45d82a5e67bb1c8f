"""Reading a network, and what its orgs still lack of its answers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.domain import Member, MissingBatch, Network, Org
from visibility.errors import InvalidInput
from visibility.store.orgs import as_locations, as_questions, asker_columns, load_org
from visibility.store.tables import Network as NetworkRow

DEFAULT_MODELS = ("chatgpt", "perplexity", "gemini")


def load_network(session: Session, network_id: UUID) -> Network:
    """Return the network with its orgs by name, in one statement.

    Without models ChatGPT, Perplexity and Gemini are asked, without locations from the US. Raises InvalidInput for
    an id that is unknown or deleted; no questions or no orgs is no error.
    """
    row = session.execute(_NETWORK, {"network_id": network_id}).one_or_none()
    if row is None:
        raise InvalidInput(f"There is no network {network_id}.")
    if row.deleted_at is not None:
        raise InvalidInput(f"There is no network {network_id}: it was deleted on {row.deleted_at:%Y-%m-%d}.")
    return _network(row)


def load_networks(session: Session, network_ids: Collection[UUID]) -> list[Network]:
    """Return those of the networks that exist, in no order, in one statement for any number of them."""
    rows = session.execute(_NETWORKS, {"network_ids": list(network_ids)})
    return [_network(row) for row in rows if row.deleted_at is None]


def _network(row: Row[Any]) -> Network:
    return Network(
        network_id=row.network_id,
        partner_id=row.partner_id,
        name=row.name,
        models=tuple(row.models) or DEFAULT_MODELS,
        locations=as_locations(row.locations),
        questions=as_questions(row.questions),
        members=tuple(Member(UUID(org_id), name) for org_id, name in row.members),
    )


_LOAD = f"""
    SELECT network_id, partner_id, name, deleted_at,
        (SELECT coalesce(json_agg(json_build_array(org_id, name) ORDER BY name), '[]')
         FROM orgs WHERE network_id = asker.network_id AND deleted_at IS NULL) AS members,
        {asker_columns("network_id")}
    FROM networks AS asker
"""
_NETWORK = text(f"{_LOAD} WHERE network_id = :network_id")
_NETWORKS = text(f"{_LOAD} WHERE network_id = ANY(:network_ids)")


def load_member(session: Session, org_id: UUID, network_id: UUID | None = None) -> tuple[Org, UUID]:
    """Return the org and the network whose questions are read for it: the given one must be its own.

    Raises InvalidInput for an org that is unknown or in no (or another) network, and for a deleted network.
    """
    org = load_org(session, org_id)
    if org.network_id is None:
        raise InvalidInput(f"{org.name} ({org_id}) is in no network: there is nothing to read for it.")
    if network_id not in (None, org.network_id):
        raise InvalidInput(f"{org.name} ({org_id}) is not in network {network_id} but in {org.network_id}.")
    network = session.get_one(NetworkRow, org.network_id)
    if network.deleted_at is not None:
        raise InvalidInput(f"The network {network.name} of {org.name} was deleted on {network.deleted_at:%Y-%m-%d}.")
    return org, org.network_id


def find_missing(
    session: Session,
    org_id: UUID,
    network_id: UUID,
    since: date,
    extractor_version: str,
    *,
    sandbox: bool,
    also: date | None = None,
) -> list[MissingBatch]:
    """Find what the org lacks of the network's batches since a UTC date, oldest first, in one query.

    `also`: the batch of this earlier date too, whose members are evaluated on it whenever they joined.

    A batch is found when answers are to be evaluated at this extractor version, or evaluations to be charged; also
    answers to questions that were deleted since: they were bought for the network.
    """
    found = session.execute(
        _FIND_MISSING,
        {
            "org_id": org_id,
            "network_id": network_id,
            "since": since,
            "also": also,
            "version": extractor_version,
            "sandbox": sandbox,
        },
    )
    return [MissingBatch(row.batch_id, row.run_date, tuple(row.run_ids), row.uncharged) for row in found]


def count_missing(
    session: Session, network_id: UUID, extractor_version: str, *, sandbox: bool, since: date, also: date | None = None
) -> dict[UUID, int]:
    """Count per org of the network, also 0, the answers to evaluate and the evaluations to charge.

    Answers from before `since` or from before the org joined do not count, but for the batch of the date `also`.
    """
    bounds = {"since": since, "also": also}
    found = session.execute(
        _COUNT_MISSING, {"network_id": network_id, **bounds, "version": extractor_version, "sandbox": sandbox}
    )
    return {row.org_id: row.missing for row in found}


# What one org lacks of one batch. An aggregate and LIMIT 1 keep the planner from joining whole tables: however long
# the history is, it reads the runs of this batch and looks two unique indexes up for each of them.
_LACKED = """
    LATERAL (
        SELECT
            coalesce(array_agg(run.question_run_id ORDER BY run.question_run_id)
                     FILTER (WHERE evaluation.found IS NULL), '{{}}') AS run_ids,
            count(*) FILTER (WHERE evaluation.found AND entry.found IS NULL) AS uncharged
        FROM question_runs run
        LEFT JOIN LATERAL (
            SELECT true AS found FROM org_evals
            WHERE question_run_id = run.question_run_id AND org_id = {org} AND extractor_version = :version
            LIMIT 1) evaluation ON true
        LEFT JOIN LATERAL (
            SELECT true AS found FROM partner_usage_ledger
            WHERE source_type = 'question_run' AND source_id = run.question_run_id AND org_id = {org}
              AND kind = 'charge'
            LIMIT 1) entry ON evaluation.found
        WHERE run.batch_id = batch.batch_id AND run.status = 'answered') lacked
"""
_OF_NETWORK = """
    batch.scope = 'network' AND coalesce(batch.org_id, batch.network_id) = :network_id AND batch.sandbox = :sandbox
"""
_FIND_MISSING = text(
    f"""
    SELECT batch.batch_id, batch.run_date, lacked.run_ids, lacked.uncharged
    FROM evaluation_batches batch
    CROSS JOIN {_LACKED.format(org=":org_id")}
    WHERE {_OF_NETWORK} AND (batch.run_date >= :since OR batch.run_date = CAST(:also AS date))
      AND (cardinality(lacked.run_ids) > 0 OR lacked.uncharged > 0)
    ORDER BY batch.run_date, batch.batch_id
    """
)
_COUNT_MISSING = text(
    f"""
    SELECT member.org_id,
        CAST(coalesce(sum(cardinality(lacked.run_ids) + lacked.uncharged), 0) AS bigint) AS missing
    FROM orgs member
    LEFT JOIN evaluation_batches batch ON {_OF_NETWORK}
        AND (batch.run_date >= greatest(:since, CAST(member.network_joined_at AT TIME ZONE 'UTC' AS date))
             OR batch.run_date = CAST(:also AS date))
    LEFT JOIN {_LACKED.format(org="member.org_id")} ON true
    WHERE member.network_id = :network_id AND member.deleted_at IS NULL
    GROUP BY member.org_id
    """
)
