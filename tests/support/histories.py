"""Batches of many dates with readings for tests of reports: drawn from a seed, written straight into the tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from tests.support import billing
from visibility.domain import Scope, name_key
from visibility.store.tables import OrgCitation, OrgCompetitor, OrgEval

RIVALS = ("Lakeshore Heating", "Maple Furnace Co.", "ThermoPro", "Polar Bros", "City Comfort", "Ace Air")
SOURCES = (
    "https://www.yelp.example/a",
    "https://homestars.example/b",
    "https://news.example/c",
    "https://reddit.example/d",
)
MODEL_BIAS = {"chatgpt": 0.15, "perplexity": 0.0, "gemini": -0.15}
PASSAGES = (
    "{name} is often recommended for fast emergency repairs.",
    "Customers praise {name} for its fair prices || Some say that {name} is slow to call back.",
    "If you need help at night, **{name}** answers the phone around the clock.",
)


def days_from(first: date, number: int, *, without: Sequence[int] = ()) -> list[date]:
    """Return that many dates in a row, but for those with these places."""
    return [first + timedelta(days=place) for place in range(number) if place not in without]


def write_history(
    session: Session,
    scope: Scope,
    owner_id: UUID,
    readers: dict[UUID, str],
    dates: Sequence[date],
    *,
    seed: int = 7,
    version: str = "v1",
    own_site: str = "https://northwindheating.example/",
    passages: Sequence[str] = PASSAGES,
    rivals: Sequence[str] = RIVALS,
    sources: Sequence[str] = SOURCES,
) -> None:
    """Write a batch per date: of its runs a few fail, a few are not read, the others are read for every reader."""
    draw = random.Random(seed)
    opened = billing.open_batch if scope == "org" else billing.open_network_batch
    for place, day in enumerate(dates):
        batch_id = opened(session, owner_id, run_date=day)
        runs = _answered(session, batch_id, draw)
        evaluations: list[dict[str, Any]] = []
        competitors: list[dict[str, Any]] = []
        citations: list[dict[str, Any]] = []
        for run_id, model in runs:
            named = draw.sample(rivals, draw.randint(0, min(4, len(rivals))))
            cited = draw.sample(sources, draw.randint(0, min(3, len(sources))))
            for number, (org_id, name) in enumerate(readers.items()):
                if draw.random() < 0.02:
                    continue
                chance = 0.35 + MODEL_BIAS.get(model, 0) + 0.015 * place - 0.05 * number
                row = _evaluation(draw, run_id, org_id, name, version, chance, passages)
                own = [own_site] if row["citation"] else []
                evaluations.append(row)
                competitors += _competitors(row["evaluation_id"], named)
                citations += _citations(row["evaluation_id"], own, cited)
        for table, rows in ((OrgEval, evaluations), (OrgCompetitor, competitors), (OrgCitation, citations)):
            if rows:
                session.execute(insert(table), rows)
    session.flush()


def _answered(session: Session, batch_id: UUID, draw: random.Random) -> list[tuple[UUID, str]]:
    """Answer the batch's runs but for some; return those that are answered, with their models."""
    rows = session.execute(
        text(
            "SELECT question_run_id, model FROM question_runs JOIN geo_questions USING (question_id) "
            "WHERE batch_id = :b ORDER BY question_text, model, country_code"
        ),
        {"b": batch_id},
    ).all()
    answered = []
    for run_id, model in rows:
        if draw.random() < 0.06:
            state: dict[str, Any] = {"s": "failed", "e": draw.choice(("timeout", "blocked")), "t": None}
        else:
            state = {"s": "answered", "e": None, "t": "An answer."}
            answered.append((run_id, model))
        session.execute(
            text(
                "UPDATE question_runs SET status = :s, error_code = :e, response_text = :t, grounded = :g, "
                "cost_usd = :c WHERE question_run_id = :r"
            ),
            {**state, "g": draw.choice((True, True, False, None)), "c": Decimal("0.0015"), "r": run_id},
        )
    return answered


def _evaluation(
    draw: random.Random, run_id: UUID, org_id: UUID, name: str, version: str, chance: float, passages: Sequence[str]
) -> dict[str, Any]:
    mentioned = draw.random() < chance
    return {
        "evaluation_id": uuid4(),
        "question_run_id": run_id,
        "org_id": org_id,
        "extractor_version": version,
        "mentioned": mentioned,
        "reason": "verified" if mentioned else "name_absent",
        "citation": draw.random() < 0.2,
        "sentiment": draw.choice(("positive", "positive", "neutral", "negative", None)) if mentioned else None,
        "mention_text": draw.choice(passages).replace("{name}", name) if mentioned else None,
        "mention_rank": draw.choice((1, 1, 2, 3, 5, None)) if mentioned else None,
        "share_of_voice": round(draw.random() / 3, 3) if mentioned else 0,
        "cost_usd": Decimal("0.0004"),
    }


def _competitors(evaluation_id: UUID, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"evaluation_id": evaluation_id, "name": name, "name_key": name_key(name), "rank": rank}
        for rank, name in enumerate(names, 1)
    ]


def _citations(evaluation_id: UUID, own: Sequence[str], others: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"evaluation_id": evaluation_id, "url": url, "domain": url.split("/")[2],
         "type": "primary" if url in own else "secondary", "position": place, "source": "vendor"}
        for place, url in enumerate([*own, *others], 1)
    ]  # fmt: skip
