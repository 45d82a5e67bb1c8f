"""Charging what was evaluated: once, to the payer that was checked, never more than was quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.holds import NOBODY_READS
from visibility.billing.payers import Payer, Terms, load_terms, lock_balance, lock_balances, lock_holding_orgs
from visibility.billing.pricing import actual_cost, charge, price, rounded
from visibility.errors import InsufficientCredits, InvalidInput


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one settlement really entered: 0 entries when all was charged before; USD."""

    entries: int
    charged_usd: Decimal
    absorbed_usd: Decimal = Decimal(0)
    payer: Payer | None = None


@dataclass(frozen=True, slots=True)
class Uncharged:
    """An evaluated run without a charge; costs and the quote in force when it was evaluated, USD.

    `outsiders`: orgs evaluated on it that are no members of the network any more.
    """

    question_run_id: UUID
    answer_cost_usd: Decimal
    evaluation_cost_usd: Decimal
    extractor_version: str
    outsiders: int
    quoted_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry to be made; `amount` is what the payer loses, `details` its metadata."""

    question_run_id: UUID
    amount: Decimal
    absorbed: Decimal
    details: dict[str, str | None]


def settle(session: Session, batch_id: UUID, org_id: UUID | None = None) -> Settlement:
    """Charge every evaluated, uncharged run of the batch, then close its hold; four statements.

    A batch that is half done is charged for that half; its resume makes a new hold for the rest. A hold
    that has expired meanwhile still sets payer and quote, also for an org that has left the network since.
    Running it again charges nothing. While a live flow is still asking a network's questions, the hold stays
    for the rest.

    Raises InvalidInput when nothing was ever quoted, InsufficientCredits when the hold is gone and what
    is left does not cover the sum: then nothing is charged, and settling can be tried after a top-up.
    """
    terms = load_terms(session, batch_id, org_id)
    payer = terms.held_by or terms.payer
    balance = lock_balance(session, payer)
    uncharged, reserved = _load_uncharged(session, terms, payer)
    entries = [entry_for(run, terms) for run in uncharged]
    _check_covered(payer, balance - reserved, sum((entry.amount for entry in entries), Decimal(0)))
    return _enter(session, terms, payer, entries)


def settle_left(session: Session, batch_id: UUID) -> list[Settlement]:
    """Settle for the orgs with an active hold on the batch on which nobody works: left, failed, never started.

    At work is who has a live reading lease of (network, org). One that takes it meanwhile waits with its
    hold for this transaction and makes a new one. Two statements when no such hold is left.
    """
    lock_holding_orgs(session, batch_id)
    # a statement of its own: it must see what was taken and held while it waited for the locks
    left = session.execute(_LEFT, {"batch_id": batch_id}).all()
    if not left:
        return []
    lock_balances(session, [Payer(row.payer_type, row.payer_id) for row in left])
    return [settle(session, batch_id, row.org_id) for row in left]


def entry_for(run: Uncharged, terms: Terms) -> Entry:
    """Price one run: at most the lower of the latest quote and the one in force when it was evaluated."""
    if terms.quoted_price is None:
        raise InvalidInput(
            f"Batch {terms.batch_id} has evaluated answers for {terms.org_name!r} and never had a hold: "
            "nothing was quoted, so nothing is charged."
        )
    quoted = terms.quoted_price if run.quoted_price is None else min(run.quoted_price, terms.quoted_price)
    shared_by = 1 if terms.sharers is None else terms.sharers + run.outsiders
    cost = actual_cost(run.answer_cost_usd, run.evaluation_cost_usd, shared_by)
    priced = price(cost, terms.config)
    charged = charge(priced, quoted)
    details = {
        "question_run_id": str(run.question_run_id),
        "batch_id": str(terms.batch_id),
        "actual_cost": str(rounded(cost)),
        "quoted_price": str(quoted),
        "price": str(priced.amount),
        "absorbed": str(charged.absorbed),
        "margin_pct": None if priced.margin_pct is None else str(priced.margin_pct),
        "pricing_mode": priced.mode,
        "extractor_version": run.extractor_version,
    }
    return Entry(run.question_run_id, charged.amount, charged.absorbed, details)


def _load_uncharged(session: Session, terms: Terms, payer: Payer) -> tuple[list[Uncharged], Decimal]:
    """Return the runs to charge, and what other holds have reserved of the payer's balance, USD."""
    rows = session.execute(
        _UNCHARGED,
        {
            "batch_id": terms.batch_id,
            "org_id": terms.org_id,
            "payer_type": payer.payer_type,
            "payer_id": payer.payer_id,
            "shared": terms.sharers is not None,
        },
    ).all()
    return [Uncharged(*row[:-1]) for row in rows], rows[0].reserved if rows else Decimal(0)


def _check_covered(payer: Payer, available: Decimal, needed: Decimal) -> None:
    if needed > available:
        raise InsufficientCredits(
            payer.payer_type,
            payer.payer_id,
            available,
            needed,
            message=f"{payer} has {available} USD available and owes {needed} USD for evaluated answers whose hold "
            "is gone; nothing was charged. Top up the balance and settle again.",
        )


def _enter(session: Session, terms: Terms, payer: Payer, entries: Sequence[Entry]) -> Settlement:
    """Insert the entries, debit what was really inserted and close the hold, in one statement."""
    row = session.execute(
        _ENTER,
        {
            "batch_id": terms.batch_id,
            "org_id": terms.org_id,
            "partner_id": terms.partner_id,
            "payer_type": payer.payer_type,
            "payer_id": payer.payer_id,
            "entries": json.dumps([_as_record(entry) for entry in entries]),
        },
    ).one()
    return Settlement(row.entries, row.charged, row.absorbed, payer)


def _as_record(entry: Entry) -> dict[str, Any]:
    return {"source_id": str(entry.question_run_id), "amount": str(entry.amount), "metadata": entry.details}


_LEFT = text(
    f"""
    SELECT hold.org_id, hold.payer_type, hold.payer_id
    FROM credit_holds hold JOIN evaluation_batches batch USING (batch_id)
    WHERE hold.batch_id = :batch_id AND hold.status = 'active' AND {NOBODY_READS}
    ORDER BY hold.org_id
    """
)
# The first evaluation of a run is the one that is paid for: re-evaluations charge nobody.
_UNCHARGED = text(
    """
    SELECT DISTINCT ON (run.question_run_id) run.question_run_id, run.cost_usd, evaluation.cost_usd,
        evaluation.extractor_version,
        CASE WHEN :shared THEN (
            SELECT count(DISTINCT other.org_id) FROM org_evals other
            WHERE other.question_run_id = run.question_run_id AND NOT EXISTS (
                SELECT FROM orgs member WHERE member.org_id = other.org_id AND member.deleted_at IS NULL
                  AND member.network_id = batch.network_id)) ELSE 0 END AS outsiders,
        (SELECT hold.quoted_price FROM credit_holds hold
         WHERE hold.batch_id = run.batch_id AND hold.org_id = evaluation.org_id
           AND hold.created_at <= evaluation.created_at
         ORDER BY hold.created_at DESC LIMIT 1) AS quoted_price,
        (SELECT coalesce(sum(amount), 0) FROM credit_holds
         WHERE payer_type = :payer_type AND payer_id = :payer_id AND status = 'active'
           AND NOT (batch_id = :batch_id AND org_id = :org_id)) AS reserved
    FROM question_runs run
    JOIN evaluation_batches batch USING (batch_id)
    JOIN org_evals evaluation ON evaluation.question_run_id = run.question_run_id AND evaluation.org_id = :org_id
    WHERE run.batch_id = :batch_id AND run.status = 'answered'
      AND NOT EXISTS (
          SELECT FROM partner_usage_ledger entry
          WHERE entry.source_type = 'question_run' AND entry.source_id = run.question_run_id
            AND entry.org_id = :org_id AND entry.kind = 'charge')
    ORDER BY run.question_run_id, evaluation.created_at, evaluation.evaluation_id
    """
)
_ENTER = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:entries AS jsonb))
            AS given (source_id uuid, amount numeric, metadata jsonb)),
    entered AS (
        INSERT INTO partner_usage_ledger
            (org_id, partner_id, payer_type, payer_id, amount, kind, source_type, source_id, batch_id, metadata)
        SELECT :org_id, :partner_id, :payer_type, :payer_id, -amount, 'charge', 'question_run', source_id,
            :batch_id, metadata
        FROM given ORDER BY source_id
        ON CONFLICT (source_type, source_id, org_id, kind) DO NOTHING
        RETURNING amount, metadata),
    total AS (
        SELECT count(*) AS entries, coalesce(-sum(amount), 0) AS charged,
            coalesce(sum(CAST(metadata ->> 'absorbed' AS numeric)), 0) AS absorbed
        FROM entered),
    debited AS (
        UPDATE credit_balances SET current_balance = current_balance - total.charged, updated_at = now()
        FROM total WHERE payer_type = :payer_type AND payer_id = :payer_id AND total.charged > 0),
    asking AS (
        SELECT EXISTS (SELECT FROM evaluation_batches
                       WHERE batch_id = :batch_id AND scope = 'network' AND status IN ('pending', 'running')
                         AND lease_expires_at >= now()) AS still),
    closed AS (
        UPDATE credit_holds hold SET
            status = CASE WHEN asking.still THEN 'active' ELSE 'settled' END,
            closed_at = CASE WHEN asking.still THEN NULL ELSE now() END,
            amount = CASE WHEN asking.still THEN greatest(hold.amount - total.charged, 0) ELSE hold.amount END
        FROM asking, total
        WHERE batch_id = :batch_id AND org_id = :org_id AND hold.status = 'active')
    SELECT entries, charged, absorbed FROM total
    """
)
