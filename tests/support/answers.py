"""Answered question runs for tests of what comes after collecting."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.seed import seed_network, seed_org
from visibility.domain import OrgProfile
from visibility.store.tables import Batch, GeoQuestion, QuestionRunRow

NAME = "Northwind Heating"
WEBSITES = ("https://northwindheating.example", "https://northwind.example/heating")


def seed_answers(
    session: Session,
    texts: Sequence[str],
    *,
    model: str = "chatgpt",
    sources: dict[str, Any] | None = None,
    questions: Sequence[str] | int | None = None,
) -> tuple[OrgProfile, UUID, list[UUID]]:
    """Write an org, its batch and one answered run per text; return profile, batch and runs in the order of texts."""
    org_id = seed_org(session, name=NAME, websites=WEBSITES, questions=questions or len(texts), models=[model])
    batch = Batch(scope="org", org_id=org_id, run_date=date(2026, 11, 23), status="running")
    session.add(batch)
    session.flush()
    asked = session.scalars(select(GeoQuestion.question_id).where(GeoQuestion.org_id == org_id)).all()
    runs = [
        QuestionRunRow(
            batch_id=batch.batch_id, question_id=question_id, model=model, country_code="US", status="answered",
            response_text=text, provider_sources=sources,
        )
        for question_id, text in zip(asked, texts, strict=True)
    ]  # fmt: skip
    session.add_all(runs)
    session.flush()
    names = (NAME, "NorthwindHeating", "Northwind-Heating", "Northwind")
    return OrgProfile(org_id, NAME, names, WEBSITES), batch.batch_id, [run.question_run_id for run in runs]


def seed_shared_answers(
    session: Session, texts: Sequence[str], names: Sequence[str]
) -> tuple[list[OrgProfile], UUID, list[UUID]]:
    """Write a network with orgs of these names, its batch and one answered run per text."""
    network_id = seed_network(session, questions=len(texts))
    orgs = [seed_org(session, name=name, questions=0, websites=(), network_id=network_id) for name in names]
    batch = Batch(scope="network", network_id=network_id, run_date=date(2026, 11, 23), status="running")
    session.add(batch)
    session.flush()
    asked = session.scalars(select(GeoQuestion.question_id).where(GeoQuestion.network_id == network_id)).all()
    runs = [
        QuestionRunRow(
            batch_id=batch.batch_id, question_id=question_id, model="chatgpt", country_code="US", status="answered",
            response_text=text,
        )
        for question_id, text in zip(asked, texts, strict=True)
    ]  # fmt: skip
    session.add_all(runs)
    session.flush()
    profiles = [OrgProfile(org_id, name, (name,), ()) for org_id, name in zip(orgs, names, strict=True)]
    return profiles, batch.batch_id, [run.question_run_id for run in runs]
