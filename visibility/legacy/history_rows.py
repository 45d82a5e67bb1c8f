"""Batches, question runs, evaluations and charges of the old system as rows of ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from visibility.brands import MAX_NAME_CHARACTERS
from visibility.citations import canonical_url
from visibility.domain import name_key
from visibility.domains import page_parts, registrable_domain
from visibility.errors import InvalidInput
from visibility.legacy.balances import ORIGIN
from visibility.legacy.owned import location
from visibility.legacy.report import Report
from visibility.legacy.source import Row
from visibility.legacy.values import (
    Refused,
    an_id,
    cost,
    count,
    day,
    flag,
    maybe_id,
    moment,
    money,
    number,
    shortened,
    words,
)
from visibility.legacy.writing import Columns

VERSION = "legacy"  # of the extractor; the trigger of the batches, too
IDENTITIES = UUID("c2f0a7de-98b1-5a0e-8a42-0f6b5c1f1d77")  # of rows that the old system does not have
SENTIMENTS = ("positive", "neutral", "negative")
CITATION_TYPES = ("primary", "secondary")
KINDS = ("charge", "refund")
FINISHED = ("completed", "failed")
PATIENCE = timedelta(days=2)  # then nobody works on a batch any more that is not finished
FOLLOWED = ("status", "error", "completed_at")  # of a batch that was taken over, what changes with the old system

Pair = tuple[UUID, UUID]
"""A question run and the org that it was evaluated for."""


def converted(
    report: Report, table: str, key: str, rows: Iterable[Row], convert: Callable[[Row], Columns]
) -> list[Columns]:
    """Convert rows one by one; what is refused is reported."""
    made = []
    for row in rows:
        try:
            made.append(convert(row))
        except (Refused, InvalidInput) as error:
            report.skip(table, row.get(key), error.message.rstrip("."))
    return made


def newest_first(rows: Iterable[Row], key: str) -> list[Row]:
    """Return rows in an order that does not change from one import to the next."""
    return sorted(rows, key=lambda row: (str(row["created_at"]), str(row[key])), reverse=True)


def batch(row: Row, owner: Columns) -> Columns:
    """Return a batch; one that is left unfinished is failed here, so that nobody goes on with it.

    `worked_on`, no column of ours: it is younger than PATIENCE and not finished, so the old system may still add to it.
    """
    run_date, status = day(row), str(row["status"]).strip().lower()
    made = moment(row, "created_at") or datetime.combine(run_date, time(), UTC)
    done = status == "completed"
    return owner | {
        "batch_id": an_id(row, "batch_id"),
        "scope": "org" if "org_id" in owner else "network",
        "run_date": run_date,
        "status": "completed" if done else "failed",
        "error": None if done else f"The old system left it {status}.",
        "trigger": VERSION,
        "started_at": made,
        "completed_at": moment(row, "completed_at") or made,
        "created_at": made,
        "worked_on": status not in FINISHED and made > datetime.now(UTC) - PATIENCE,
    }


def question_run(row: Row, batches: Mapping[UUID, UUID], questions: Collection[UUID], report: Report) -> Columns:
    """Return a question run, answered if there is a text; `batches`: the batch that stands for each of the source."""
    question_id, made = an_id(row, "question_id"), moment(row, "created_at")
    if question_id not in questions:
        raise Refused(f"its question {question_id} is none of those that were taken over")
    model, answered = words(row, "model"), words(row, "response_text") is not None
    if model is None:
        raise Refused("it has no model")
    return {
        "question_run_id": an_id(row, "question_run_id"),
        "batch_id": batches[an_id(row, "batch_id")],
        "question_id": question_id,
        "model": model.lower(),
        **location(row, Report()),
        "status": "answered" if answered else "failed",
        "provider": VERSION,
        "attempts": 1,
        "error_code": None if answered else VERSION,
        "error_message": None if answered else "The old system has no answer.",
        "response_text": str(row["response_text"]) if answered else None,
        "input_tokens": count(row, "input_tokens"),
        "output_tokens": count(row, "output_tokens"),
        "cost_usd": cost(row, "question_runs", report),
        "asked_at": made,
        "answered_at": made if answered else None,
    }


def place(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a batch has only one run of."""
    question = (run["batch_id"], run["question_id"], run["model"])
    return (*question, run["country_code"], run["region_name"] or "", run["city"] or "")


def evaluation(row: Row, answered: Collection[UUID], orgs: Collection[UUID], report: Report) -> Columns:
    """Return an evaluation; passages keep their text, but not their offsets, which the old system does not have."""
    run_id, org_id = an_id(row, "question_run_id"), an_id(row, "org_id")
    if run_id not in answered:
        raise Refused(f"its question run {run_id} is not there, or has no answer")
    if org_id not in orgs:
        raise Refused(f"its org {org_id} is none that this batch is evaluated for")
    text, verified = words(row, "mention_text"), flag(row, "mentioned")
    mentioned = text is not None if verified is None else verified
    made = moment(row, "created_at")
    return {
        "evaluation_id": an_id(row, "evaluation_id"),
        "question_run_id": run_id,
        "org_id": org_id,
        "extractor_version": VERSION,
        "mentioned": mentioned,
        "reason": "verified" if mentioned else "not_verified",
        "citation": False,
        "sentiment": _sentiment(row, report) if mentioned else None,
        "mention_text": text if mentioned else None,
        "mention_rank": (count(row, "mention_rank") or None) if mentioned else None,
        "share_of_voice": _ratio(row, report),
        "input_tokens": count(row, "input_tokens") or 0,
        "output_tokens": count(row, "output_tokens") or 0,
        "cost_usd": cost(row, "org_evals", report),
    } | ({} if made is None else {"created_at": made})


def _sentiment(row: Row, report: Report) -> str | None:
    told = (words(row, "sentiment") or "").lower()
    if told and told not in SENTIMENTS:
        report.note("org_evals", row["evaluation_id"], f"the sentiment {told!r} is none of ours and is left out")
    return told if told in SENTIMENTS else None


def _ratio(row: Row, report: Report) -> float | None:
    """A share of voice is a ratio; what is not from 0 to 1 may be percent or a mistake, and nobody can tell."""
    value = row["share_of_voice"]
    if value is None or 0 <= number(value) <= 1:
        return None if value is None else float(value)
    report.note(
        "org_evals", row["evaluation_id"], f"the share of voice {value} is no ratio from 0 to 1 and is left out"
    )
    return None


def pair(row: Row) -> Pair:
    """Return the question run and the org of a competitor, a citation or a charge."""
    return an_id(row, "question_run_id"), an_id(row, "org_id")


def competitors(evaluation_id: UUID, rows: Sequence[Row], report: Report) -> list[Columns]:
    """Return competitors of one evaluation, ranked in the order in which the old system has them."""
    names: dict[str, str] = {}
    for row in rows:
        name = words(row, "name") or ""
        if not name_key(name) or len(name) > MAX_NAME_CHARACTERS:
            report.skip("org_competitors", f"of {evaluation_id}", f"{shortened(name)!r} is no name")
        elif name_key(name) in names:
            report.repeat("org_competitors", f"of {evaluation_id}", f"{name!r} stands twice")
        else:
            names[name_key(name)] = name
    return [
        {"evaluation_id": evaluation_id, "name": name, "name_key": key, "rank": rank}
        for rank, (key, name) in enumerate(names.items(), start=1)
    ]


def citations(evaluation_id: UUID, rows: Sequence[Row], report: Report) -> list[Columns]:
    """Return citations of one evaluation in the canonical form; what the old system does not call primary is not."""
    found: dict[str, str] = {}
    for row in rows:
        url = canonical_url(str(row["url"] or ""))
        if url is None:
            report.skip("org_citations", f"of {evaluation_id}", f"{shortened(row['url'])!r} is no address of a page")
        elif url in found:
            report.repeat("org_citations", f"of {evaluation_id}", f"{shortened(url)} stands twice")
        else:
            kind = (words(row, "type") or "").lower()
            found[url] = kind if kind in CITATION_TYPES else "secondary"
    return [
        {
            "evaluation_id": evaluation_id,
            "url": url,
            "domain": registrable_domain(page_parts(url).host),
            "type": kind,
            "position": position,
            "source": "text",
        }
        for position, (url, kind) in enumerate(found.items(), start=1)
    ]


def grouped(rows: Iterable[Row], table: str, report: Report) -> dict[Pair, list[Row]]:
    """Return rows by question run and org, in the old system's order."""
    groups: dict[Pair, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["created_at"])):
        try:
            groups[pair(row)].append(row)
        except Refused as error:
            report.skip(table, row["question_run_id"], error.message)
    return groups


def charge(row: Row, evaluated: Mapping[Pair, UUID], partner_id: UUID) -> Columns:
    """Return a ledger entry: below 0 for a charge, above for a refund, whatever signs the old system has.

    The row's kind is one of KINDS. `evaluated`: the batch of each evaluation that was taken over.
    """
    kind, amount, of = str(row["kind"]).lower(), money(row, "amount"), pair(row)
    if amount is None:
        raise Refused("it has no amount")
    if of not in evaluated:
        raise Refused(f"question run {of[0]} has no evaluation for org {of[1]}; the balance has the charge in it")
    if (maybe_id(row, "partner_id") or partner_id) != partner_id:
        raise Refused(f"it is of partner {row['partner_id']}, not of {partner_id}; the balance there has it")
    by_org, made = str(row["payer_type"]).upper() == "ORG", moment(row, "created_at")
    return {
        "entry_id": an_id(row, "entry_id"),
        "org_id": of[1],
        "partner_id": partner_id,
        "payer_type": "ORG" if by_org else "PARTNER",
        "payer_id": of[1] if by_org else partner_id,
        "amount": abs(amount) if kind == "refund" else -abs(amount),
        "kind": kind,
        "source_type": "question_run",
        "source_id": of[0],
        "batch_id": evaluated[of],
        "details": {"origin": ORIGIN},
    } | ({} if made is None else {"created_at": made})


def free_id(of: Pair) -> UUID:
    """Return the id of the entry that says that an evaluation was not charged."""
    return uuid5(IDENTITIES, f"{of[0]}/{of[1]}")


def free(of: Pair, batch_id: UUID, partner_id: UUID) -> Columns:
    """Return a charge of 0 for what the old system has evaluated and not charged: so nobody ever charges it."""
    return {
        "entry_id": free_id(of),
        "org_id": of[1],
        "partner_id": partner_id,
        "payer_type": "PARTNER",
        "payer_id": partner_id,
        "amount": Decimal(0),
        "kind": "charge",
        "source_type": "question_run",
        "source_id": of[0],
        "batch_id": batch_id,
        "details": {"origin": ORIGIN, "reason": "not charged in the old system"},
    }
