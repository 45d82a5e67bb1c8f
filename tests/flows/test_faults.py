"""Every fault of the sandbox: the batch ends, with answers or with reasons, and a quiet rerun completes it."""

from __future__ import annotations

import asyncio
import os
from datetime import date

import pytest
from sqlalchemy import select, text

from flows.org_evaluation import org_evaluation
from sandbox.faults import FAULTS
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.seed import QUESTIONS, seed_org
from tests.support.waiting import PATIENCE
from visibility.errors import BatchFailed
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.tables import QuestionRunRow
from visibility.summary import OrgEvaluationSummary

DAY = date(2026, 11, 23)
WEBSITES = ("https://northwindheating.example",)
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more, and each fault comes alone
TOGETHER = 3 if CHAOS_ROUNDS == 1 else 1
OFTEN = 0.2 if CHAOS_ROUNDS == 1 else 0.3
GROUPS = len(FAULTS) // TOGETHER
FAULTS_AT_ONCE = [sorted(FAULTS)[first::GROUPS] for first in range(GROUPS)]
UNEXPLAINED = text("SELECT count(*) FROM question_runs WHERE status = 'failed' AND (error_code = '') IS NOT FALSE")
# what vendors and libraries write when something is wrong; the sandbox's answers hold none of it
ERROR_WORDS = ("error_code", "crawl_error", "Traceback", "insufficient_quota", "no_peers", '"error"')


async def evaluate(settings: Settings, database: Database) -> OrgEvaluationSummary:
    with database.transaction() as session:
        org_id = seed_org(session, questions=QUESTIONS[:4], locations=[("US", None, None)], websites=WEBSITES)
    async with asyncio.timeout(PATIENCE), resources.opened(settings):
        return await org_evaluation(org_id, run_date=DAY)


@pytest.mark.parametrize("seed", range(3, 3 + CHAOS_ROUNDS))
@pytest.mark.parametrize("faults", FAULTS_AT_ONCE, ids="+".join)
async def test_a_batch_with_frequent_faults_ends_and_a_quiet_rerun_completes_it(
    prefect: str, database: Database, impatient: Settings, sandbox: RunningSandbox, faults: list[str], seed: int
) -> None:
    sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
    sandbox.set_faults(dict.fromkeys(faults, OFTEN), seed=seed)
    try:
        first = await evaluate(impatient, database)
    except BatchFailed as error:
        first = error.summary
    assert first.status == "completed" or first.reason
    with database.transaction() as session:
        assert session.scalar(UNEXPLAINED) == 0
        answers = session.scalars(select(QuestionRunRow.response_text).where(QuestionRunRow.status == "answered"))
        assert not [answer for answer in answers if not answer or any(word in answer for word in ERROR_WORDS)]
    sandbox.set_faults()
    again = await rerun(impatient, first)
    permanent = again.failed.get("bad_input", 0) + again.failed.get("unsupported_country", 0)
    assert again.answered + permanent == again.expected == 12
    assert again.evaluated == again.charges == again.answered
    assert sandbox.accounting()["bought_twice"] == []


async def rerun(settings: Settings, first: OrgEvaluationSummary) -> OrgEvaluationSummary:
    async with asyncio.timeout(PATIENCE), resources.opened(settings):
        try:
            return await org_evaluation(first.org_id, run_date=DAY)
        except BatchFailed as error:
            return error.summary
