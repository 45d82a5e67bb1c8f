"""Tenants for tests, written straight into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from visibility.store.tables import (
    CreditBalance,
    CreditTopUp,
    GeoModel,
    GeoQuestion,
    LocationRow,
    Network,
    OrgRow,
    OrgWebsite,
    Partner,
    PricingConfig,
    Schedule,
)

QUESTIONS = (
    "Which company offers the best 24/7 furnace repair in Toronto?",
    "Who installs heat pumps for older houses?",
    "What does a new gas furnace cost, installed?",
    "Which heating companies have the best customer reviews?",
    "Is Northwind Heating a good choice for boiler repair?",
    "Who offers maintenance plans for home heating?",
    "Which HVAC companies finance a new furnace?",
    "How long does a furnace replacement take, and who does it quickly?",
    "Which local company repairs boilers on weekends?",
    "Who should I call when my furnace stops at night?",
)

Place = tuple[str, str | None, str | None]


def seed_org(
    session: Session,
    *,
    name: str = "Northwind Heating",
    questions: int | Sequence[str] = 10,
    models: Sequence[str] = ("chatgpt", "perplexity", "gemini"),
    locations: Sequence[Place] = (("US", None, None), ("CA", "Ontario", "Toronto")),
    websites: Sequence[str] = ("https://northwindheating.example", "https://northwind.example/heating"),
    balance: Decimal | None = Decimal(100),
    is_free_tier: bool = False,
    partner_balance: Decimal | None = None,
    pricing: dict[str, Any] | None = None,
    spend_limit: Decimal | None = None,
    partner_name: str = "Beacon Agency",
    network_id: UUID | None = None,
    days: Sequence[int] = (),
) -> UUID:
    """Write one org with its partner (found by name); balances in USD, `pricing` as columns of pricing_configs."""
    partner_id = seed_partner(session, name=partner_name, balance=partner_balance, pricing=pricing)
    org = OrgRow(
        partner_id=partner_id, name=name, is_free_tier=is_free_tier, spend_limit=spend_limit, network_id=network_id,
        network_joined_at=datetime.fromisoformat("2025-01-01T00:00:00+00:00") if network_id else None,
    )  # fmt: skip
    session.add(org)
    session.flush()
    session.add_all(OrgWebsite(org_id=org.org_id, url=url) for url in websites)
    _add_owned(session, {"org_id": org.org_id}, questions, models, locations, days)
    if balance is not None:
        seed_balance(session, "ORG", org.org_id, balance)
    session.flush()
    return org.org_id


def seed_network(
    session: Session,
    *,
    name: str = "Northern Trades League",
    questions: int | Sequence[str] = 3,
    models: Sequence[str] = ("chatgpt",),
    locations: Sequence[Place] = (("US", None, None),),
    partner_name: str = "Beacon Agency",
    partner_balance: Decimal | None = Decimal(100),
    days: Sequence[int] = (),
) -> UUID:
    """Write one network without orgs."""
    partner_id = seed_partner(session, name=partner_name, balance=partner_balance)
    network = Network(partner_id=partner_id, name=name)
    session.add(network)
    session.flush()
    _add_owned(session, {"network_id": network.network_id}, questions, models, locations, days)
    session.flush()
    return network.network_id


def seed_partner(
    session: Session,
    *,
    name: str = "Beacon Agency",
    balance: Decimal | None = None,
    pricing: dict[str, Any] | None = None,
) -> UUID:
    """Return the partner of this name, made when there is none; balance and pricing are added."""
    partner_id = session.scalar(select(Partner.partner_id).where(Partner.name == name))
    if partner_id is None:
        partner_id = uuid4()
        session.add(Partner(partner_id=partner_id, name=name))
        session.flush()
    if balance is not None:
        seed_balance(session, "PARTNER", partner_id, balance)
    if pricing is not None:
        columns = {"action": "question_run", "fixed_price": Decimal("0.05"), **pricing}
        session.add(PricingConfig(partner_id=partner_id, **columns))
    session.flush()
    return partner_id


def seed_balance(session: Session, payer_type: str, payer_id: UUID, amount: Decimal) -> None:
    """Top a payer up by `amount` USD: the balance and the top-up that explains it."""
    known = select(CreditBalance).where(CreditBalance.payer_type == payer_type, CreditBalance.payer_id == payer_id)
    balance = session.scalar(known)
    if balance is None:
        session.add(CreditBalance(payer_type=payer_type, payer_id=payer_id, current_balance=amount))
    else:
        balance.current_balance += amount
    session.add(CreditTopUp(payer_type=payer_type, payer_id=payer_id, amount=amount, note="seed"))


def seed_charges(session: Session, batch_id: UUID, org_id: UUID, *, limit: int | None = None) -> None:
    """Write ledger entries of the org's partner for answers of the batch, without moving a balance."""
    session.execute(
        text(
            """
            INSERT INTO partner_usage_ledger
                (org_id, partner_id, payer_type, payer_id, amount, source_type, source_id, batch_id)
            SELECT org_id, partner_id, 'PARTNER', partner_id, -0.01, 'question_run', question_run_id, batch_id
            FROM orgs, question_runs WHERE org_id = :org_id AND batch_id = :batch_id AND status = 'answered'
            ORDER BY question_run_id LIMIT :limit
            """
        ),
        {"batch_id": batch_id, "org_id": org_id, "limit": limit},
    )


def question_texts(questions: int | Sequence[str]) -> list[str]:
    """Return that many different questions, or the given ones."""
    if not isinstance(questions, int):
        return list(questions)
    return [
        QUESTIONS[number] if number < len(QUESTIONS) else f"{QUESTIONS[number % len(QUESTIONS)]} ({number})"
        for number in range(questions)
    ]


def _add_owned(
    session: Session,
    owner: dict[str, UUID],
    questions: int | Sequence[str],
    models: Sequence[str],
    locations: Sequence[Place],
    days: Sequence[int],
) -> None:
    session.add_all(GeoQuestion(**owner, question_text=question) for question in question_texts(questions))
    session.add_all(GeoModel(**owner, name=model) for model in models)
    session.add_all(
        LocationRow(**owner, country_code=country, region_name=region, city=city) for country, region, city in locations
    )
    session.add_all(Schedule(**owner, dow=day) for day in days)
