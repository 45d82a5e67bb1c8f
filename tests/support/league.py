"""A network of lenders with similar names, seeded and known to the sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.end_state import execute
from tests.support.seed import Place, seed_network, seed_org
from visibility.batches import open_batch
from visibility.domain import BatchKey
from visibility.identity import new_owner
from visibility.settings import Settings
from visibility.store.batches import Opening
from visibility.store.database import Database
from visibility.store.leases import release_lease
from visibility.store.networks import load_network

DAY = date(2026, 11, 23)
MEMBERS = ("Community Financial", "Financial Community Credit Union", "Harbor Lenders", "Granite Savings")
QUESTIONS = (
    "Which credit union has the best car loan?",
    "Who offers a checking account without fees?",
    "Which local lender has the lowest mortgage rate?",
    "Where can I open a joint account online?",
)
REGIONS: tuple[Place, ...] = (("US", "Iowa", None), ("US", "Ohio", None))
MODELS = ("chatgpt", "perplexity", "gemini")


@dataclass(frozen=True)
class League:
    """A seeded network; `answers` is what one batch expects."""

    network_id: UUID
    members: Mapping[str, UUID]
    answers: int


def seed_league(
    database: Database,
    sandbox: RunningSandbox,
    *,
    members: Sequence[str] = MEMBERS,
    questions: Sequence[str] = QUESTIONS,
    models: Sequence[str] = MODELS,
    locations: Sequence[Place] = REGIONS,
    balance: Decimal = Decimal(1000),
    **member: Any,
) -> League:
    """Write the network and its members, and tell the sandbox of them."""
    with database.transaction() as session:
        network_id = seed_network(
            session, questions=questions, models=models, locations=locations, partner_balance=balance
        )
    ids = {name: join(database, network_id, name, **member) for name in members}
    sandbox.learn(*({"name": name, "websites": [site(name)], "questions": list(questions)} for name in members))
    return League(network_id, ids, len(questions) * len(models) * len(locations))


async def ask_only(settings: Settings, league: League, day: date = DAY) -> UUID:
    """Have the network's questions answered, as a parent does that dies before its children; return the batch."""
    async with resources.opened(settings) as opened:
        database = opened.database
        network = await database.run(load_network, league.network_id)
        opening = Opening(
            BatchKey("network", league.network_id, day), new_owner(), 30, "manual", sandbox=settings.sandbox
        )
        batch = await open_batch(database, network, opening, extractor_version=opened.extractor_version, max_attempts=4)
        for model in batch.models:
            await opened.collector.ask(batch.batch_id, model)
        await database.run(release_lease, batch.lease)
    return batch.batch_id


def site(name: str) -> str:
    """Return the address of a member's website."""
    return f"https://{name.lower().replace(' ', '')}.example"


def join(database: Database, network_id: UUID, name: str, **member: Any) -> UUID:
    """Write an org of the network that asks nothing by itself."""
    with database.transaction() as session:
        return seed_org(
            session, name=name, questions=0, models=(), locations=(), websites=(site(name),), balance=None,
            network_id=network_id, **member,
        )  # fmt: skip


def leave(database: Database, org_id: UUID) -> None:
    """Take an org out of its network."""
    execute(database, "UPDATE orgs SET network_id = NULL, network_joined_at = NULL WHERE org_id = :org", org=org_id)
