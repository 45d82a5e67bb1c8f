"""Limits at a real Prefect server: shared by processes, freed after a kill, done without while the server is away."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import text

from deployments.bootstrap.limits import ensure_limits
from deployments.local.network import HOST, free_port
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tasks.limits import RUNNING_JOBS, SUBMISSIONS, GlobalLimits, limiter, wanted_limits
from tests.support.limited_process import start_holder
from tests.support.seed import seed_org
from tests.support.slack import alerts
from visibility.errors import BatchFailed, ConfigurationError
from visibility.providers.limits import ProcessLimits
from visibility.settings import BrightDataSettings, Settings
from visibility.store.database import Database

ENGINE = "brightdata:chatgpt"


@pytest.fixture
async def name(prefect: str) -> str:
    """A limit of two, this test's own."""
    own = f"test-{uuid4().hex}"
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(own, 2)
    return own


async def active(name: str) -> int:
    async with get_client() as client:
        return (await client.read_global_concurrency_limit_by_name(name)).active_slots


async def test_the_limits_are_created_and_brought_up_to_date(prefect: str) -> None:
    wanted = BrightDataSettings(max_running_jobs=9, submissions_per_minute=30)
    async with get_client() as client:
        await ensure_limits(client, BrightDataSettings(max_running_jobs=7, submissions_per_minute=10), check=False)
        told = [str(one) for one in await ensure_limits(client, wanted, check=False)]
        found = [await client.read_global_concurrency_limit_by_name(limit) for limit in (RUNNING_JOBS, SUBMISSIONS)]
    assert told == [
        f"updated    limit {RUNNING_JOBS} (9 at once)", f"updated    limit {SUBMISSIONS} (6 at once, 24 more a minute)"
    ]  # fmt: skip
    assert [(one.limit, one.slot_decay_per_second) for one in found] == [(9, 0), (6, pytest.approx(0.4))]


def test_no_minute_gets_more_submissions_than_the_setting_says() -> None:
    for per_minute in (0.5, 1, 3, 10, 300):
        at_once, flowing = wanted_limits(BrightDataSettings(submissions_per_minute=per_minute))[SUBMISSIONS]
        assert at_once + flowing * 60 <= max(per_minute, 1) * 1.21


async def test_two_processes_share_a_limit_and_a_killed_one_gives_its_place_back(name: str, prefect: str) -> None:
    other = await asyncio.to_thread(start_holder, prefect, name)
    assert await active(name) == 1
    assert await most_at_once(name) == 1
    other.kill()
    other.join()
    expire_leases(await limit_id(name))
    for _ in range(100):  # the server looks for expired leases every few seconds
        if not await active(name):
            break
        await asyncio.sleep(0.2)
    assert await most_at_once(name) == 2
    assert await active(name) == 0


async def most_at_once(name: str) -> int:
    """Run two jobs of this process; return how many were allowed at the same time."""
    limits = GlobalLimits(ProcessLimits(BrightDataSettings()), running_jobs=name)
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        async with limits.running_job(ENGINE):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.5)
            running -= 1

    await asyncio.wait_for(asyncio.gather(job(), job()), 40)
    return most


async def limit_id(name: str) -> str:
    async with get_client() as client:
        return str((await client.read_global_concurrency_limit_by_name(name)).id)


def expire_leases(limit: str) -> None:
    """End the leases of a limit now: Prefect grants none below a minute."""
    now = datetime.now(UTC).isoformat()
    found = 0
    for path in lease_files():
        lease = json.loads(path.read_text())
        if limit in lease.get("resource_ids", ()):
            path.write_text(json.dumps({**lease, "expiration": now}))
            index = path.with_name("expirations.json")
            index.write_text(json.dumps({**json.loads(index.read_text()), lease["id"]: now}))
            found += 1
    assert found == 1


def lease_files() -> Iterator[Path]:
    root = Path(os.environ["TEST_RUN_FOLDER"]) / "data"
    for folder in root.rglob("concurrency_leases"):
        yield from (path for path in folder.glob("*.json") if path.name != "expirations.json")


async def test_a_limit_that_does_not_exist_is_named_with_the_way_out(prefect: str) -> None:
    limits = GlobalLimits(ProcessLimits(BrightDataSettings()), running_jobs="nowhere", submissions="nowhere")
    with pytest.raises(ConfigurationError, match=r"nowhere.*python -m deployments\.bootstrap"):
        async with limits.running_job(ENGINE):
            pass
    with pytest.raises(ConfigurationError, match=r"nowhere.*python -m deployments\.bootstrap"):
        await limits.submission(ENGINE)


async def test_without_the_server_a_process_keeps_to_its_own_part_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = ProcessLimits(BrightDataSettings(max_running_jobs=4, submissions_per_minute=600), shards=2)
    unknown = f"test-{uuid4().hex}"  # Prefect keeps who acquires a limit, and where, by its name
    limits = GlobalLimits(own, running_jobs=unknown, submissions=unknown)
    nowhere = f"http://{HOST}:{free_port(4000)}/api"
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        async with limits.running_job(ENGINE):
            await limits.submission(ENGINE)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    with temporary_settings({PREFECT_API_URL: nowhere}), caplog.at_level(logging.WARNING):
        await asyncio.wait_for(job(), 40)
        await asyncio.wait_for(asyncio.gather(*(job() for _ in range(6))), 10)
    assert most == 2
    assert sum("Prefect API is away" in record.message for record in caplog.records) == 1


async def test_a_server_that_goes_away_while_a_job_runs_costs_the_job_nothing(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = GlobalLimits(ProcessLimits(BrightDataSettings()), running_jobs=name)
    async with limits.running_job(ENGINE):
        assert await active(name) == 1
        away = temporary_settings({PREFECT_API_URL: f"http://{HOST}:{free_port(4000)}/api"})
        away.__enter__()
    away.__exit__(None, None, None)
    assert "comes back by its lease" in caplog.text


async def test_engines_that_are_down_fail_their_runs_for_now_with_one_alert_under_global_limits(
    database: Database, settings: Settings, slack: RunningSandbox
) -> None:
    async with get_client() as client:
        await ensure_limits(client, BrightDataSettings(max_running_jobs=9, submissions_per_minute=300), check=False)
    with database.transaction() as session:
        org_id = seed_org(session, questions=2)
    slack.set_faults(script=[{"on": "trigger", "nth": 1, "times": 10**6, "fault": "job_failed"}])
    bright_data = settings.brightdata.model_copy(update={"engine_failures": 1, "engine_pause_seconds": 60})
    async with resources.opened(settings.model_copy(update={"brightdata": bright_data, "global_limits": True})):
        with pytest.raises(BatchFailed):
            await org_evaluation(org_id)
    assert await codes(database) == {("provider_down", 1)}
    (alert,) = alerts(slack)
    assert all(f"{model} fails at its provider" in alert for model in ("chatgpt", "perplexity", "gemini"))
    assert await active(RUNNING_JOBS) == 0

    slack.set_faults()
    async with resources.opened(settings):
        assert (await org_evaluation(org_id)).coverage == 1


async def codes(database: Database) -> set[tuple[str, int]]:
    """Return error codes and attempts of all question runs."""
    query = text("SELECT DISTINCT error_code, attempts FROM question_runs")
    return {(row.error_code, row.attempts) for row in await database.run(lambda session: session.execute(query).all())}


def test_the_settings_say_which_limits_hold(settings: Settings) -> None:
    assert isinstance(limiter(settings), ProcessLimits)
    assert isinstance(limiter(settings.model_copy(update={"global_limits": True})), GlobalLimits)
