"""The old system's Postgres as far as it is known, and tenants, answers and money in it, well-formed or odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

SCHEMA = """
CREATE TABLE partners (partner_id uuid PRIMARY KEY, name text, balance double precision, created_at timestamp);
CREATE TABLE pricing_configs (pricing_config_id uuid, partner_id uuid, action text, fixed_price numeric,
                              margin_pct numeric);
CREATE TABLE networks (network_id uuid, partner_id uuid, name text, deleted_at timestamptz, created_at timestamptz);
CREATE TABLE orgs (org_id uuid, partner_id uuid, network_id uuid, name text, is_free_tier boolean, spend_limit numeric,
                   deleted_at timestamptz, created_at timestamptz);
CREATE TABLE org_websites (id serial, org_id uuid, url text);
CREATE TABLE geo_models (id serial, org_id uuid, network_id uuid, name text);
CREATE TABLE locations (id serial, org_id uuid, network_id uuid, country_code text, region_name text, city text);
CREATE TABLE geo_questions (question_id uuid, org_id uuid, network_id uuid, question_text text, type text, tags jsonb,
                            deleted_at timestamptz, created_at timestamptz);
CREATE TABLE schedules (id serial, org_id uuid, network_id uuid, dow integer);
CREATE TABLE org_evaluation_batches (batch_id uuid, org_id uuid, status text, total_questions integer,
                                     created_at timestamptz, completed_at timestamptz);
CREATE TABLE network_batches (batch_id uuid, network_id uuid, status text, created_at timestamptz);
CREATE TABLE question_runs (question_run_id uuid, batch_id uuid, question_id uuid, model varchar(40), country_code text,
                            region_name text, city text, response_text text, input_tokens integer,
                            output_tokens integer, total_cost double precision, is_latest boolean,
                            created_at timestamptz);
CREATE TABLE org_evals (org_eval_id uuid, question_run_id uuid, org_id uuid, is_mention_verified boolean,
                        mention_text text, sentiment text, share_of_voice double precision, mention_rank integer,
                        total_cost numeric, created_at timestamptz);
CREATE TABLE network_org_evals (network_org_eval_id uuid, question_run_id uuid, org_id uuid,
                                is_mention_verified boolean, mention_text text, sentiment text, total_cost numeric,
                                created_at timestamptz);
CREATE TABLE competitors (id serial, question_run_id uuid, org_id uuid, name text, created_at timestamptz);
CREATE TABLE citations (id serial, question_run_id uuid, org_id uuid, url text, type text, created_at timestamptz);
CREATE TABLE partner_usage_ledger (ledger_id uuid, question_run_id uuid, org_id uuid, partner_id uuid, amount numeric,
                                   kind text, created_at timestamptz);
"""
NAMES = UUID("11111111-2222-5333-8444-555555555555")
PARTNER, ORG, GONE, OTHER, NETWORK, MEMBER = (
    uuid5(NAMES, name) for name in ("partner", "org", "gone", "other", "network", "member")
)


def made(name: str) -> UUID:
    """Return the id of a row by a name for it."""
    return uuid5(NAMES, name)


def at(day: date, hour: int = 3) -> datetime:
    """Return a moment of a day, UTC."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


class Legacy:
    """Writes into the old database as its own system would."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def add(self, table: str, **columns: Any) -> None:
        """Insert one row."""
        names = ", ".join(columns)
        values = ", ".join(f"CAST(:{name} AS jsonb)" if name == "tags" else f":{name}" for name in columns)
        self.connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), columns)

    def run(self, statement: str, **parameters: Any) -> None:
        """Execute a statement."""
        self.connection.execute(text(statement), parameters)

    def tenants(self, balance: float = 80.0) -> None:
        """One partner with an org, a deleted org, and a network with a member."""
        long_ago = datetime(2025, 3, 1, tzinfo=UTC)
        self.add("partners", partner_id=PARTNER, name="Beacon Agency", balance=balance, created_at=long_ago)
        self.add(
            "pricing_configs",
            pricing_config_id=made("price"),
            partner_id=PARTNER,
            action="question_run",
            fixed_price=0.05,
        )
        self.add("networks", network_id=NETWORK, partner_id=PARTNER, name="Northern Trades League", created_at=long_ago)
        for org_id, name, network, deleted in (
            (ORG, "Northwind Heating", None, None),
            (GONE, "Closed Doors Ltd", None, long_ago + timedelta(days=30)),
            (MEMBER, "Maple Plumbing", NETWORK, None),
        ):
            self.add(
                "orgs", org_id=org_id, partner_id=PARTNER, network_id=network, name=name, is_free_tier=False,
                deleted_at=deleted, created_at=long_ago,
            )  # fmt: skip
        for owner in ({"org_id": ORG}, {"org_id": GONE}, {"network_id": NETWORK}):
            self.add("geo_models", **owner, name="ChatGPT")
            self.add("locations", **owner, country_code="us")
            self.add("schedules", **owner, dow=2)
            (owner_id,) = owner.values()
            for number in (1, 2):
                self.add(
                    "geo_questions", question_id=made(f"{owner_id}/{number}"), **owner, tags='["heating"]',
                    question_text=f"Who repairs furnaces in Toronto, number {number}?", created_at=long_ago,
                )  # fmt: skip
        self.add("org_websites", org_id=ORG, url="northwindheating.example")

    def batch(
        self, owner_id: UUID, day: date, *, name: str = "", scope: str = "org", status: str = "completed"
    ) -> UUID:
        """A batch of an org or network, of one day."""
        batch_id = made(f"{owner_id}/{day}{name}")
        table, key = {"org": ("org_evaluation_batches", "org_id"), "network": ("network_batches", "network_id")}[scope]
        self.add(table, batch_id=batch_id, **{key: owner_id}, status=status, created_at=at(day))
        return batch_id

    def answers(
        self,
        owner_id: UUID,
        day: date,
        *,
        orgs: tuple[UUID, ...] = (),
        mentioned: int = 1,
        cost: float = 0.0015,
        price: str = "0.05",
        **batch: Any,
    ) -> list[UUID]:
        """A batch with two answers, evaluated and charged for the owner, or for the orgs of a network."""
        batch_id = self.batch(owner_id, day, **batch)
        found = []
        for number in (1, 2):
            run_id = made(f"{batch_id}/{number}")
            found.append(run_id)
            self.add(
                "question_runs", question_run_id=run_id, batch_id=batch_id, question_id=made(f"{owner_id}/{number}"),
                model="chatgpt", country_code="US", response_text=f"Northwind is fine on {day}.", total_cost=cost,
                is_latest=True, created_at=at(day, 4),
            )  # fmt: skip
            for org_id in orgs or (owner_id,):
                self.evaluation(run_id, org_id, day, mentioned=number <= mentioned, network=bool(orgs))
                self.charge(run_id, org_id, day, price)
        return found

    def evaluation(
        self, run_id: UUID, org_id: UUID, day: date, *, mentioned: bool = True, network: bool = False, name: str = ""
    ) -> None:
        """What the old system read in an answer for one org."""
        table, key = ("network_org_evals", "network_org_eval_id") if network else ("org_evals", "org_eval_id")
        self.add(
            table, **{key: made(f"evaluation {run_id}/{org_id}{name}")}, question_run_id=run_id, org_id=org_id,
            is_mention_verified=mentioned, mention_text="Northwind is fine || Northwind" if mentioned else None,
            sentiment="Positive" if mentioned else None, total_cost=Decimal("0.002"), created_at=at(day, 5),
        )  # fmt: skip
        self.add("competitors", question_run_id=run_id, org_id=org_id, name="Southwind Ltd", created_at=at(day, 5))
        self.add(
            "citations", question_run_id=run_id, org_id=org_id, url="https://www.northwindheating.example/a?utm_source=x",
            type="primary", created_at=at(day, 5),
        )  # fmt: skip

    def charge(self, run_id: UUID, org_id: UUID, day: date, price: str = "0.05", name: str = "") -> None:
        """An entry of the old ledger; its balance is what `tenants` was told."""
        self.add(
            "partner_usage_ledger", ledger_id=made(f"charge {run_id}/{org_id}{name}"), question_run_id=run_id,
            org_id=org_id, partner_id=PARTNER, amount=Decimal(price), created_at=at(day, 6),
        )  # fmt: skip


@contextmanager
def writing(url: str) -> Iterator[Legacy]:
    """Write into the old database in one transaction."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            yield Legacy(connection)
    finally:
        engine.dispose()


def contents(session: Any, tables: tuple[str, ...]) -> Mapping[str, list[tuple[Any, ...]]]:
    """Return every row of the tables, in an order that depends on them alone."""
    return {
        table: sorted((tuple(row) for row in session.execute(text(f"SELECT * FROM {table}"))), key=str)
        for table in tables
    }
