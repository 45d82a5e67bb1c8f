"""What the old system has charged for its evaluations: one ledger entry per answer, org and kind.

What it evaluated and did not charge has an entry of 0, until a charge for it turns up. An entry that is here stays,
whatever becomes of it there: ledgers are archived, orgs move to other partners.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from visibility.legacy import history_rows as rows_of
from visibility.legacy.balances import Payer, take_charges
from visibility.legacy.history_reading import Past, Subject
from visibility.legacy.report import Report
from visibility.legacy.source import Row
from visibility.legacy.writing import Columns, add
from visibility.store.tables import LedgerEntry

Claim = tuple[UUID, UUID, str]
"""A question run, an org and a kind: what the ledger has only one entry of."""


def write_charges(
    session: Session, subject: Subject, past: Past, evaluated: Mapping[rows_of.Pair, UUID], report: Report
) -> None:
    """Write charges and refunds that are new, with top-ups of the same amounts."""
    table = LedgerEntry.__tablename__
    stored = _stored(session, evaluated)
    known = {str(entry_id) for entry_id in stored.values()}
    rows = sorted(past.ledger, key=lambda row: (str(row["created_at"]), str(row["entry_id"])))
    found = rows_of.converted(
        report, table, "entry_id", [row for row in _with_kinds(rows) if str(row["entry_id"]) not in known],
        lambda row: rows_of.charge(row, evaluated, subject.partner_id),
    )  # fmt: skip
    entries = _one_a_claim(session, found, stored, report)
    charged = {(source_id, org_id) for source_id, org_id, kind in stored if kind == "charge"}
    charged |= {(entry["source_id"], entry["org_id"]) for entry in entries if entry["kind"] == "charge"}
    entries += [
        rows_of.free(pair, batch_id, subject.partner_id) for pair, batch_id in evaluated.items() if pair not in charged
    ]
    report.counts(table).unchanged += len(known)
    new = add(session, LedgerEntry, entries, report)
    sums: dict[Payer, Decimal] = defaultdict(Decimal)
    for entry in entries:
        if entry["entry_id"] in new:
            sums[Payer(entry["payer_type"], entry["payer_id"])] += entry["amount"]
    take_charges(session, sums)


def _stored(session: Session, evaluated: Mapping[rows_of.Pair, UUID]) -> dict[Claim, UUID]:
    stored = select(LedgerEntry.source_id, LedgerEntry.org_id, LedgerEntry.kind, LedgerEntry.entry_id).where(
        LedgerEntry.source_id.in_({run_id for run_id, _ in evaluated}), LedgerEntry.source_type == "question_run"
    )
    return {(row.source_id, row.org_id, row.kind): row.entry_id for row in session.execute(stored)}


def _with_kinds(rows: Sequence[Row]) -> list[Row]:
    """Where no kind is told, the first entry of an answer is its charge, and one of the other sign a refund."""
    below: dict[tuple[str, str], bool] = {}
    told = []
    for row in rows:
        answer, negative = (str(row["question_run_id"]), str(row["org_id"])), str(row["amount"]).startswith("-")
        kind = "charge" if below.setdefault(answer, negative) == negative else "refund"
        told.append(row | {"kind": row["kind"] if str(row["kind"]).lower() in rows_of.KINDS else kind})
    return told


def _one_a_claim(
    session: Session, found: Sequence[Columns], stored: Mapping[Claim, UUID], report: Report
) -> list[Columns]:
    """What the old system has charged twice is in its balance, and stands in our ledger once."""
    taken: dict[Claim, Any] = dict(stored)
    kept: dict[UUID, Columns] = {}
    replaced = []
    for entry in found:
        claim, entry_id = (entry["source_id"], entry["org_id"], entry["kind"]), entry["entry_id"]
        if taken.get(claim) == rows_of.free_id((claim[0], claim[1])):
            replaced.append(taken.pop(claim))
        if taken.setdefault(claim, entry_id) != entry_id or entry_id in kept:
            sentence = f"a second {entry['kind']} of {claim[0]} for one org; the balance has it"
            report.repeat(LedgerEntry.__tablename__, entry_id, sentence)
        else:
            kept[entry_id] = entry
    if replaced:
        session.execute(delete(LedgerEntry).where(LedgerEntry.entry_id.in_(replaced)))
    report.counts(LedgerEntry.__tablename__).removed += len(replaced)
    report.counts(LedgerEntry.__tablename__).unchanged -= len(replaced)
    return list(kept.values())
