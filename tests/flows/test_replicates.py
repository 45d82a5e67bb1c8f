"""Replicates: the same question asked more than once of the same engine; each is a run of its own."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal

from sqlalchemy import text

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.seed import QUESTIONS, seed_org
from visibility.settings import Settings
from visibility.store.database import Database

WEBSITES = ("https://northwindheating.example",)
RUNS = text("""
    SELECT run.question_id, run.model, run.country_code, run.replicate, run.response_text,
        (SELECT count(*) FROM partner_usage_ledger entry WHERE entry.source_id = run.question_run_id) AS charges
    FROM question_runs run ORDER BY run.replicate
""")


async def test_two_replicates_are_bought_stored_and_charged_each_for_itself(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox
) -> None:
    sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        org_id = seed_org(session, questions=QUESTIONS[:2], models=("chatgpt", "gemini"), websites=WEBSITES)
    async with resources.opened(settings.model_copy(update={"replicates": 2})):
        summary = await org_evaluation(org_id, run_date=date(2026, 11, 23))
    assert (summary.answered, summary.evaluated, summary.charges) == (16, 16, 16)
    assert summary.vendor_cost_usd == Decimal("0.024")
    groups = defaultdict(list)
    with database.transaction() as session:
        for run in session.execute(RUNS):
            groups[run.question_id, run.model, run.country_code].append((run.replicate, run.charges, run.response_text))
    pairs = list(groups.values())
    assert [[(replicate, charges) for replicate, charges, _ in pair] for pair in pairs] == [[(1, 1), (2, 1)]] * 8
    assert all(first[2] != second[2] for first, second in pairs)
    assert [entry["sold"] for entry in sandbox.accounting()["inputs"]] == [1] * 16
