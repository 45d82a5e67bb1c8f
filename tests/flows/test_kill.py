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
from dataclasses import dataclass
from datetime import date
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from uuid import UUID

import pytest

from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.end_state import end_state, rows, undisturbed
from tests.support.flow_process import exit_codes, kill_at, start_flow
from tests.support.seed import QUESTIONS, seed_org
from tests.support.waiting import PATIENCE
from visibility.settings import Settings
from visibility.store.database import Database
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

COUNTED = "batches, holds, jobs, snapshots, answers, evaluations, charges"
ROWS = """
    SELECT (SELECT count(*) FROM evaluation_batches), (SELECT count(*) FROM credit_holds),
        (SELECT count(*) FROM provider_jobs), (SELECT count(snapshot_id) FROM provider_jobs),
        (SELECT count(*) FROM question_runs WHERE status = 'answered'),
        (SELECT count(*) FROM org_evals), (SELECT count(*) FROM partner_usage_ledger)
"""


@dataclass
class Installation:
    """One database with one org, one sandbox, one Prefect server."""

    database: Database
    settings: Settings
    sandbox: RunningSandbox
    api_url: str
    org_id: UUID

    def start(self) -> ForkServerProcess:
        """Start the evaluation in a process of its own."""
        return start_flow(self.api_url, self.settings, "org_evaluation", org_id=self.org_id, run_date=DAY)

    async def finish(self) -> OrgEvaluationSummary:
        async with resources.opened(self.settings):
            return await org_evaluation(self.org_id, run_date=DAY)

    def rows(self) -> tuple[int, ...]:
        return rows(self.database, ROWS)[0]


@pytest.fixture
def installation(database: Database, database_url: str, prefect: str) -> Iterator[Installation]:
    with serve_in_thread(time_scale=300) as sandbox:
        sandbox.learn({"name": "Northwind Heating", "websites": list(WEBSITES), "questions": list(QUESTIONS)})
        with database.transaction() as session:
            org_id = seed_org(session, websites=WEBSITES)
        settings = Settings(database_url=database_url).for_sandbox(sandbox.url, time_scale=300)
        yield Installation(database, settings, sandbox, prefect, org_id)


@pytest.mark.parametrize("point", range(0, len(STRATA) * CHAOS_ROUNDS, 2 if CHAOS_ROUNDS == 1 else 1))
async def test_a_killed_evaluation_ends_like_an_undisturbed_one(
    installation: Installation, point: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED + point)
    score, delay = chance.randrange(*STRATA[point % len(STRATA)]), chance.uniform(0, 0.08)
    where = f"{COUNTED}: {kill_at(installation.start(), installation.rows, score, delay)}"
    record_property("killed at", where)
    print(f"point {point}: {where}")
    summary = await installation.finish()
    assert end_state(installation.database) == undisturbed(60)
    assert (summary.expected, summary.answered, summary.evaluated) == (60, 60, 60)
    accounting = installation.sandbox.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (60, [])


def test_two_processes_that_evaluate_one_org_at_once_share_one_batch(installation: Installation) -> None:
    assert exit_codes(installation.start(), installation.start()) == [0, 0]
    assert end_state(installation.database) == undisturbed(60)
    accounting = installation.sandbox.accounting()
    assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (60, [])


@pytest.mark.slow
@pytest.mark.long  # the flow is killed in every run of the suite, the command stopped with Ctrl-C
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
    process.communicate(timeout=PATIENCE)
    finished = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert json.loads(finished.stdout)["evaluated"] == 60
    assert end_state(installation.database) == undisturbed(60)
    assert installation.sandbox.accounting()["totals"]["records_sold"] == 60
