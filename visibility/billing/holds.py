"""Credits reserved before anything is asked, and given back when they are not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from visibility.billing.payers import Payer, Terms, lock_balances, lock_holding_orgs, lock_terms
from visibility.billing.pricing import quote
from visibility.errors import InsufficientCredits
from visibility.store.batches import PERMANENT_ERRORS


@dataclass(frozen=True, slots=True)
class Claim:
    """What is held for and charged by itself: one org's evaluations of a batch; None is the batch's own org."""

    batch_id: UUID
    org_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What is held now, USD, for how many claims; `refused` are the orgs whose spend limit does not cover theirs."""

    amount_usd: Decimal
    claims: int
    refused: dict[UUID, InsufficientCredits]


@dataclass(frozen=True, slots=True)
class ReleasedHold:
    """A hold that was given back; `amount` in USD."""

    hold_id: UUID
    batch_id: UUID
    org_id: UUID
    amount: Decimal


def hold_all(
    session: Session,
    claims: Sequence[Claim],
    *,
    expires_in: timedelta,
    expected_evaluation_cost_usd: Decimal,
    expected_answer_cost_usd: Decimal,
    max_attempts: int | None = None,
    answered_only: bool = False,
) -> Holding:
    """Reserve for each claim the quoted price of every run that may still be charged to it.

    Those are the runs that are not charged to the org yet, except failed ones that are never asked again:
    refused for good, or (with `max_attempts`) asked that often. `answered_only` leaves out what has no answer,
    unless a live flow is still asking, whose reservation must not shrink. A claim without such a run needs no
    hold and gives back the one it has. A hold that is still active is re-sized, never doubled, and keeps the
    lower of the two quotes. Three statements for any number of claims.

    An org whose spend limit does not cover all of its claims is refused, with what it holds left as it is,
    and the others go on. Raises InsufficientCredits when a balance does not cover the rest: then nothing is
    placed; ConfigurationError for a pricing config out of range; InvalidInput for an org that is no member.
    """
    terms = lock_terms(session, [(claim.batch_id, claim.org_id) for claim in claims])
    terms = list({(one.batch_id, one.org_id): one for one in terms}.values())
    quotes = [
        quote(
            one.config,
            expected_answer_cost_usd=expected_answer_cost_usd,
            expected_evaluation_cost_usd=expected_evaluation_cost_usd,
            shared_by=one.sharers or 1,
        )
        for one in terms
    ]
    lock_balances(session, [one.payer for one in terms])
    # a statement of its own: one that waited for the locks would still see the holds of before its wait
    placed = session.execute(
        _PLACE,
        {
            **_columns(terms),
            "quotes": quotes,
            "expires_in": expires_in,
            "permanent": list(PERMANENT_ERRORS),
            "max_attempts": max_attempts,
            "answered_only": answered_only,
        },
    )
    return _holding(placed.all(), {one.org_id: one for one in terms})


def hold(
    session: Session,
    batch_id: UUID,
    *,
    expires_in: timedelta,
    expected_evaluation_cost_usd: Decimal,
    expected_answer_cost_usd: Decimal,
    org_id: UUID | None = None,
    max_attempts: int | None = None,
    answered_only: bool = False,
) -> Decimal:
    """Reserve for one claim, as `hold_all`; return the amount, USD, 0 without a hold when no run is left.

    Raises InsufficientCredits also when the org's spend limit does not cover it.
    """
    holding = hold_all(
        session,
        [Claim(batch_id, org_id)],
        expires_in=expires_in,
        expected_evaluation_cost_usd=expected_evaluation_cost_usd,
        expected_answer_cost_usd=expected_answer_cost_usd,
        max_attempts=max_attempts,
        answered_only=answered_only,
    )
    for refusal in holding.refused.values():
        raise refusal
    return holding.amount_usd


def release(session: Session, batch_id: UUID, org_id: UUID | None = None) -> list[ReleasedHold]:
    """Give back the batch's active holds (or one org's) without charging anything; settle first what is done."""
    lock_holding_orgs(session, batch_id)
    rows = session.execute(_RELEASE, {"batch_id": batch_id, "org_id": org_id})
    return [ReleasedHold(*row) for row in rows]


def release_expired(session: Session) -> list[ReleasedHold]:
    """Give back the expired holds of batches on which no live flow works, nor one that reads them for the org.

    What was evaluated under such a hold can still be settled afterwards, at its quote.
    """
    return [ReleasedHold(*row) for row in session.execute(_RELEASE_EXPIRED)]


def _columns(terms: Sequence[Terms]) -> dict[str, list[Any]]:
    return {
        "batches": [one.batch_id for one in terms],
        "orgs": [one.org_id for one in terms],
        "payer_types": [one.payer.payer_type for one in terms],
        "payers": [one.payer.payer_id for one in terms],
        "limits": [one.spend_limit for one in terms],
    }


def _holding(placed: Sequence[Row[Any]], terms: Mapping[UUID, Terms]) -> Holding:
    """Read the outcome, a row per (org, payer); raise for a balance that does not cover what is accepted."""
    for row in placed:
        if row.payer_needed > row.available - row.kept:
            raise InsufficientCredits(row.payer_type, row.payer_id, row.available - row.kept, row.payer_needed)
    accepted = [row for row in placed if not row.refused]
    return Holding(
        amount_usd=sum((row.needed for row in accepted), Decimal(0)),
        claims=sum(row.held for row in accepted),
        refused={row.org_id: _refusal(terms[row.org_id], row) for row in placed if row.refused},
    )


def _refusal(terms: Terms, row: Row[Any]) -> InsufficientCredits:
    payer = Payer(row.payer_type, row.payer_id)
    if terms.spend_limit is None or row.available < row.needed:
        return InsufficientCredits(payer.payer_type, payer.payer_id, row.available, row.needed)
    room = terms.spend_limit - row.committed
    return InsufficientCredits(
        payer.payer_type,
        payer.payer_id,
        room,
        row.org_needed,
        message=f"Org {terms.org_name!r} has a spend_limit of {terms.spend_limit} USD, of which {room} USD are left "
        f"for {payer}, and needs {row.org_needed} USD; nothing was asked. Raise the limit and start again.",
    )


# The index of active holds makes a second one impossible; on a rerun the amount of the own hold is
# left out of what is taken, and replaced. What a refused org holds stays taken (`kept`).
_PLACE = text(
    """
    WITH claim AS (
        SELECT * FROM unnest(
            CAST(:batches AS uuid[]), CAST(:orgs AS uuid[]), CAST(:payer_types AS text[]), CAST(:payers AS uuid[]),
            CAST(:quotes AS numeric[]), CAST(:limits AS numeric[]))
            AS claim (batch_id, org_id, payer_type, payer_id, quote, spend_limit)),
    open AS (
        SELECT claim.batch_id, claim.org_id, count(*) AS runs
        FROM claim JOIN evaluation_batches batch USING (batch_id) JOIN question_runs run USING (batch_id)
        WHERE (run.status = 'answered' OR NOT CAST(:answered_only AS boolean)
               OR batch.status IN ('pending', 'running') AND batch.lease_expires_at >= now())
          AND NOT (run.status = 'failed' AND (coalesce(run.error_code, '') = ANY(:permanent)
                                              OR run.attempts >= CAST(:max_attempts AS integer) IS TRUE))
          AND NOT EXISTS (
              SELECT FROM partner_usage_ledger entry
              WHERE entry.source_type = 'question_run' AND entry.source_id = run.question_run_id
                AND entry.org_id = claim.org_id AND entry.kind = 'charge')
        GROUP BY claim.batch_id, claim.org_id),
    figures AS MATERIALIZED (
        SELECT claim.*, own.hold_id, own.payer_type AS own_type, own.payer_id AS own_payer,
            coalesce(own.amount, 0) AS own_amount, coalesce(open.runs, 0) AS runs,
            least(claim.quote, own.quoted_price) AS price,
            coalesce(open.runs, 0) * least(claim.quote, own.quoted_price) AS needed
        FROM claim
        LEFT JOIN open USING (batch_id, org_id)
        LEFT JOIN credit_holds own
            ON own.batch_id = claim.batch_id AND own.org_id = claim.org_id AND own.status = 'active'),
    org AS (
        SELECT org_id, sum(runs) AS runs, sum(needed) AS needed, spend_limit,
            CASE WHEN spend_limit IS NOT NULL THEN
                coalesce((SELECT -sum(amount) FROM partner_usage_ledger entry
                          WHERE entry.org_id = figures.org_id), 0)
              + coalesce((SELECT sum(amount) FROM credit_holds hold
                          WHERE hold.org_id = figures.org_id AND hold.status = 'active'), 0)
              - sum(own_amount) END AS committed
        FROM figures GROUP BY org_id, spend_limit),
    decided AS (
        SELECT figures.*, org.needed AS org_needed, org.committed,
            (org.runs > 0 AND org.committed + org.needed > org.spend_limit) IS TRUE AS refused
        FROM figures JOIN org USING (org_id)),
    payer AS (
        SELECT payer_type, payer_id, coalesce(sum(needed) FILTER (WHERE NOT refused), 0) AS payer_needed,
            coalesce((SELECT current_balance FROM credit_balances balance
                      WHERE (balance.payer_type, balance.payer_id) = (decided.payer_type, decided.payer_id)), 0)
          - coalesce((SELECT sum(amount) FROM credit_holds hold
                      WHERE (hold.payer_type, hold.payer_id) = (decided.payer_type, decided.payer_id)
                        AND hold.status = 'active'
                        AND hold.hold_id NOT IN (SELECT hold_id FROM figures WHERE hold_id IS NOT NULL)), 0)
            AS available,
            coalesce((SELECT sum(own_amount) FROM decided own
                      WHERE own.refused AND (own.own_type, own.own_payer) = (decided.payer_type, decided.payer_id)), 0)
            AS kept
        FROM decided GROUP BY payer_type, payer_id),
    agreed AS (
        SELECT * FROM decided
        WHERE NOT refused AND NOT EXISTS (SELECT FROM payer WHERE payer_needed > available - kept)),
    placed AS (
        INSERT INTO credit_holds (batch_id, org_id, payer_type, payer_id, amount, quoted_price, expires_at)
        SELECT batch_id, org_id, payer_type, payer_id, needed, price, now() + :expires_in FROM agreed WHERE runs > 0
        ON CONFLICT (batch_id, org_id) WHERE status = 'active' DO UPDATE
            SET payer_type = excluded.payer_type, payer_id = excluded.payer_id, amount = excluded.amount,
                quoted_price = excluded.quoted_price, expires_at = excluded.expires_at),
    needless AS (
        UPDATE credit_holds SET status = 'released', closed_at = now()
        WHERE hold_id IN (SELECT hold_id FROM agreed WHERE runs = 0))
    SELECT org_id, payer_type, payer_id, refused, committed, org_needed, sum(needed) AS needed,
        count(*) FILTER (WHERE runs > 0) AS held, payer_needed, available, kept
    FROM decided JOIN payer USING (payer_type, payer_id)
    GROUP BY org_id, payer_type, payer_id, refused, committed, org_needed, payer_needed, available, kept
    ORDER BY org_id, payer_id
    """
)
_RELEASE = text(
    """
    UPDATE credit_holds SET status = 'released', closed_at = now()
    WHERE hold_id IN (
        SELECT hold_id FROM credit_holds
        WHERE batch_id = :batch_id AND org_id = coalesce(CAST(:org_id AS uuid), org_id) AND status = 'active'
        ORDER BY hold_id FOR UPDATE)
    RETURNING hold_id, batch_id, org_id, amount
    """
)
NOBODY_READS = """
    NOT EXISTS (
        SELECT FROM reading_leases lease
        WHERE lease.org_id = hold.org_id AND lease.network_id IS NOT DISTINCT FROM batch.network_id
          AND lease.lease_owner IS NOT NULL AND lease.lease_expires_at >= now())
"""
_RELEASE_EXPIRED = text(
    f"""
    UPDATE credit_holds SET status = 'released', closed_at = now()
    WHERE hold_id IN (
        SELECT hold.hold_id FROM credit_holds hold
        JOIN evaluation_batches batch ON batch.batch_id = hold.batch_id
        WHERE hold.status = 'active' AND hold.expires_at < now()
          AND (batch.lease_owner IS NULL OR batch.lease_expires_at < now()) AND {NOBODY_READS}
        ORDER BY hold.hold_id FOR UPDATE OF hold SKIP LOCKED)
    RETURNING hold_id, batch_id, org_id, amount
    """
)
