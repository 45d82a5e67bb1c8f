"""kill -9 at any moment, or two processes at once: the end state of an undisturbed run, nothing bought twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.flow_process import start_evaluation
from tests.support.seed import QUESTIONS, seed_org
from visibility.settings import Settings
from visibility.summary import OrgEvaluationSummary

ROOT = Path(__file__).parents[2]
SEED = 20261123
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more
DAY = date(2026, 11, 23)
WEBSITES = ("https://northwindheating.example", "https://northwind.example/heating")
# where a run is, as the number of its rows: batch, hold, 3 jobs, 3 snapshot ids, 60 answers, 60 evaluations, 60 charges
STRATA = (
    (0, 1), (1, 2), (2, 5), (5, 8), (8, 9), (9, 28), (28, 30), (30, 48), (48, 68), (68, 88), (88, 128), (128, 188),
)  # fmt: skip

END_STATE = {
    "batches": "SELECT status, count(*) FROM evaluation_batches GROUP BY 1",
    "runs": "SELECT status, count(*) FROM question_runs GROUP BY 1",
    "evaluations": "SELECT count(*), count(DISTINCT question_run_id) FROM org_evals",
    "charges": "SELECT count(*), count(DISTINCT source_id) FROM partner_usage_ledger WHERE kind = 'charge'",
    "active holds": "SELECT count(*) FROM credit_holds WHERE status = 'active'",
    "open jobs": "SELECT count(*) FROM provider_jobs WHERE status IN ('submitting', 'submitted', 'ready')",
}
ROWS = """
    SELECT (SELECT count(*) FROM evaluation_batches), (SELECT count(*) FROM credit_holds),
        (SELECT count(*) FROM provider_jobs), (SELECT count(snapshot_id) FROM provider_jobs),
        (SELECT count(*) FROM question_runs WHERE status = 'answered'),
        (SELECT count(*) FROM org_evals), (SELECT count(*) FROM partner_usage_ledger)
"""
BOOKS = """
    SELECT balance.current_balance
         - (SELECT sum(amount) FROM credit_top_ups top_up WHERE top_up.payer_id = balance.payer_id)
         - (SELECT coalesce(sum(amount), 0) FROM partner_usage_ledger entry WHERE entry.payer_id = balance.payer_id)
    FROM credit_balances balance
"""


class Installation:
    """One database with one org, one sandbox, one Prefect server."""

    def __init__(self, settings: Settings, sandbox: RunningSandbox, api_url: str) -> None:
        self.settings, self.sandbox, self.api_url = settings, sandbox, api_url
        self.engine = create_engine(str(settings.database_url))
        sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
        with Session(self.engine) as session, session.begin():
            self.org_id = seed_org(session, websites=WEBSITES)

    def kill_at(self, score: int, delay_seconds: float) -> str:
        """Start an evaluation, kill -9 it `delay_seconds` after its rows reach `score`; return where it was."""
        process = start_evaluation(self.api_url, self.settings, self.org_id, DAY)
        while process.is_alive() and sum(self.rows()) < score:
            time.sleep(0.005)
        time.sleep(delay_seconds)
        process.kill()
        process.join(20)
        counts = "{} batches, {} holds, {} jobs, {} snapshots, {} answers, {} evaluations, {} charges".format(
            *self.rows()
        )
        return f"{counts}{' (ended before the kill)' if process.exitcode == 0 else ''}"

    async def finish(self) -> OrgEvaluationSummary:
        async with resources.opened(self.settings):
            return await org_evaluation(self.org_id, run_date=DAY)

    def rows(self) -> tuple[int, ...]:
        with self.engine.connect() as connection:
            return tuple(connection.execute(text(ROWS)).one())

    def end_state(self) -> dict[str, Any]:
        with self.engine.connect() as connection:
            state = {name: sorted(map(tuple, connection.execute(text(sql)))) for name, sql in END_STATE.items()}
            state["books"] = {row[0] for row in connection.execute(text(BOOKS))}
        return state


@pytest.fixture
def installation(database_url: str, prefect: str) -> Iterator[Installation]:
    with serve_in_thread(time_scale=300) as sandbox:
        settings = Settings(database_url=database_url).for_sandbox(sandbox.url, time_scale=300)
        installation = Installation(settings, sandbox, prefect)
        yield installation
        installation.engine.dispose()


UNDISTURBED = {
    "batches": [("completed", 1)],
    "runs": [("answered", 60)],
    "evaluations": [(60, 60)],
    "charges": [(60, 60)],
    "active holds": [(0,)],
    "open jobs": [(0,)],
    "books": {0},
}


@pytest.mark.parametrize("point", range(len(STRATA) * CHAOS_ROUNDS))
async def test_a_killed_evaluation_ends_like_an_undisturbed_one(
    installation: Installation, point: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED + point)
    where = installation.kill_at(chance.randrange(*STRATA[point % len(STRATA)]), chance.uniform(0, 0.08))
    record_property("killed at", where)
    print(f"point {point}: {where}")
    summary = await installation.finish()
    assert installation.end_state() == UNDISTURBED
    assert (summary.expected, summary.answered, summary.evaluated) == (60, 60, 60)
    accounting = installation.sandbox.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (60, [])


def test_two_processes_that_evaluate_one_org_at_once_share_one_batch(installation: Installation) -> None:
    given = (installation.api_url, installation.settings, installation.org_id, DAY)
    processes = [start_evaluation(*given), start_evaluation(*given)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert installation.end_state() == UNDISTURBED
    accounting = installation.sandbox.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (60, [])


@pytest.mark.slow
async def test_the_killed_command_run_again_shows_the_whole_result(installation: Installation, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "flows.org_evaluation", "--org-id", str(installation.org_id), "--json",
        "--sandbox", "--sandbox-url", installation.sandbox.url, "--time-scale", "300", "--run-date", DAY.isoformat(),
    ]  # fmt: skip
    settings = {"DATABASE_URL": str(installation.settings.database_url), "PREFECT_API_URL": installation.api_url}
    environment = {**os.environ, **settings, "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and sum(installation.rows()) < 20:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=20)
    finished = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert json.loads(finished.stdout)["evaluated"] == 60
    assert installation.end_state() == UNDISTURBED
    assert installation.sandbox.accounting()["totals"]["records_sold"] == 60
