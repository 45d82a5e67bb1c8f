"""What reading a network's answers came to for one org, from a real Postgres."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from tests.support import billing as money
from tests.support.readings import read_for, simulate
from tests.support.seed import seed_network, seed_org
from visibility.billing.settlement import Settlement
from visibility.domain import EvaluationCounts, MissingBatch
from visibility.errors import BatchFailed
from visibility.network_summary import NetworkOrgSummary, summarise_reading
from visibility.networks import OpenReading
from visibility.store.database import Database
from visibility.store.leases import HeldLease
from visibility.store.orgs import load_org

SINCE, NEXT = date(2025, 11, 1), date(2025, 11, 2)
NOW = EvaluationCounts(3, 1, 2, 1, failed={"llm_refused": 1}, llm_calls=4, cost_usd=Decimal("0.002"))


def asked(session: Session, network_id: UUID, day: date, answers: int) -> list[UUID]:
    batch_id = money.open_network_batch(session, network_id, run_date=day)
    money.answer(session, batch_id, limit=answers)
    return money.runs_of(session, batch_id)


def opened(session: Session, org_id: UUID, *missing: MissingBatch) -> OpenReading:
    org = load_org(session, org_id)
    assert org.network_id is not None
    return OpenReading(HeldLease("reading", org_id, "me"), org, org.network_id, SINCE, missing)


def summarised(session: Session, reading: OpenReading, sandbox: bool = False) -> NetworkOrgSummary:
    paid = Settlement(3, Decimal("0.15"))
    return summarise_reading(session, reading, "v1", NOW, paid, sandbox=sandbox, coverage_threshold=0.8)


def test_the_window_counts_every_real_batch_from_the_first_day_on(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=5)
        org, other = (seed_org(session, name=name, network_id=network) for name in ("Alpha", "Beta"))
        early, first, second = (asked(session, network, day, 5) for day in (date(2025, 10, 31), SINCE, NEXT))
        simulated = money.open_network_batch(session, network, run_date=date(2025, 11, 3))
        simulate(session, simulated)
        for number, run in enumerate([*first, *second[:4]]):
            read_for(session, run, org, rank=1 if number < 3 else None, rivals=["Acme", "Zed"], sources=["http://a.b/"])
        read_for(session, early[0], org, rank=1)
        read_for(session, second[4], other, rank=1)
        read_for(session, second[4], org, rank=1, version="v0")
        missing = MissingBatch(UUID(int=1), NEXT, tuple(second[:4]), 0)
        summary = summarised(session, opened(session, org, missing))
    assert (summary.batches, summary.answered, summary.evaluated, summary.mentioned) == (2, 10, 9, 3)
    assert (summary.competitors, summary.citations, summary.coverage) == (18, 9, 0.9)
    assert (summary.mention_rate.value, summary.mention_rate.n, summary.mention_rate.coverage) == (1 / 3, 9, 1)
    assert (summary.found, summary.evaluated_now, summary.failed) == (4, 3, {"llm_refused": 1})
    assert (summary.llm_calls, summary.charges, summary.charged_usd) == (4, 3, Decimal("0.15"))
    assert summary.raise_if_failed().status == "completed"


def test_simulated_batches_are_summed_up_for_a_simulated_reading_only(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=2)
        reading = opened(session, seed_org(session, network_id=network))
        simulate(session, money.open_network_batch(session, network, run_date=NEXT))
        assert [summarised(session, reading, sandbox).batches for sandbox in (False, True)] == [0, 1]


def test_a_day_that_could_not_be_read_fails_the_reading_however_long_the_window(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=20)
        org = seed_org(session, network_id=network)
        for run in asked(session, network, SINCE, 20):
            read_for(session, run, org)
        unread = MissingBatch(UUID(int=1), NEXT, tuple(asked(session, network, NEXT, 2)[:2]), 0)
        summary = summarised(session, opened(session, org, unread))
    assert summary.coverage == pytest.approx(20 / 22)
    with pytest.raises(BatchFailed, match="2025-11-02: Only 0 of 2 answers could be read"):
        summary.raise_if_failed()


def test_answers_that_came_in_while_others_were_read_do_not_fail_the_reading(database: Database) -> None:
    with database.transaction() as session:
        network = seed_network(session, questions=20)
        org = seed_org(session, network_id=network)
        found = asked(session, network, NEXT, 20)[:4]
        for run in found:
            read_for(session, run, org)
        summary = summarised(session, opened(session, org, MissingBatch(UUID(int=1), NEXT, tuple(found), 0)))
    assert (summary.status, summary.answered, summary.evaluated) == ("completed", 20, 4)


def test_nothing_asked_is_a_completed_reading_without_a_rate(database: Database) -> None:
    with database.transaction() as session:
        reading = opened(session, seed_org(session, network_id=seed_network(session)))
        summary = summarise_reading(
            session, reading, "v1", EvaluationCounts(0, 0, 0, 0), None, sandbox=True, coverage_threshold=1
        )
    assert (summary.status, summary.coverage, summary.batches, summary.charges) == ("completed", None, 0, 0)
    assert summary.mention_rate.reason == "no answer was evaluated"
