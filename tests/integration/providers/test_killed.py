"""Killed at any step and started again: the same end as undisturbed, and nothing bought twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.providers.conftest import FAST, Shop
from tests.support.mortality import ask_until_death
from tests.support.waiting import PATIENCE
from visibility.providers.brightdata.client import BrightDataClient
from visibility.providers.brightdata.engines import engines, inputs_of
from visibility.store import jobs, runs
from visibility.store.runs import NewJob

# Two jobs; one record fails and is asked again; the records come late.
TROUBLE = (
    {"on": "trigger", "nth": 1, "fault": "no_peers", "records": [2]},
    {"on": "trigger", "nth": 2, "fault": "not_ready_after_ready"},
)
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more
SHARDS = 6


def disturbed_batch(shop: Shop) -> UUID:
    """A new batch at a vendor that has forgotten everything, and that begins its snapshot ids anew."""
    shop.sandbox.reset()
    shop.execute("UPDATE provider_jobs SET snapshot_id = job_id::text WHERE snapshot_id IS NOT NULL")
    shop.script(*TROUBLE)
    return shop.open_batch(questions=5)


async def live(shop: Shop, batch_id: UUID, last: int | None = None) -> int | None:
    async with shop.collector(max_inputs_per_job=6) as collector:
        return await asyncio.wait_for(ask_until_death(collector, last, (batch_id, "chatgpt")), 30)


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_killed_at_every_single_step_the_next_run_ends_as_if_undisturbed(shop: Shop, shard: int) -> None:
    steps = await live(shop, disturbed_batch(shop))
    assert steps is not None
    assert steps > 40
    for last in range(1 + shard, steps + 1, SHARDS):
        batch_id = disturbed_batch(shop)
        await live(shop, batch_id, last)
        await live(shop, batch_id)
        shop.check_complete(batch_id)


@pytest.mark.parametrize("seed", range(4))
async def test_killed_again_and_again_at_random_steps_it_ends_all_the_same(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    batch_id = disturbed_batch(shop)
    for _ in range(8):
        await live(shop, batch_id, chance.randint(1, 30))
    await live(shop, batch_id)
    shop.check_complete(batch_id)
    assert max(run.attempts for run in shop.runs(batch_id)) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CHAOS_ROUNDS))
def test_a_real_process_is_killed_at_random_steps(shop: Shop, database_url: str, seed: int) -> None:
    chance = random.Random(100 + seed)
    batch_id = disturbed_batch(shop)
    settings = {**FAST, "base_url": f"{shop.sandbox.url}/datasets/v3", "api_key": "sandbox", "max_inputs_per_job": 6}
    # only the death of the process explains a quick resumption
    settings |= {"submit_timeout_seconds": 60, "deadline_seconds": 60, "request_timeout_seconds": 5}
    steps = (chance.randint(4, 16), chance.randint(4, 30), chance.randint(10, 40), 0)
    for last in steps if CHAOS_ROUNDS > 1 else steps[2:]:
        command = [sys.executable, "-m", "tests.integration.providers.killed", database_url, json.dumps(settings)]
        started = time.monotonic()
        ended = subprocess.run([*command, str(batch_id), str(last)], capture_output=True, text=True, timeout=PATIENCE)
        assert ended.returncode in ((0, -signal.SIGKILL) if last else (0,)), ended.stderr
        assert time.monotonic() - started < 55
    shop.check_complete(batch_id)


# --- submissions of other processes --------------------------------------------------------------


def claim_elsewhere(shop: Shop, batch_id: UUID) -> tuple[UUID, list[Any]]:
    """What another process leaves when it is between claiming and submitting."""
    job = NewJob(uuid4(), "brightdata:chatgpt", shop.settings().chatgpt_dataset_id, "elsewhere", 8)
    with shop.database.transaction() as session:
        return job.job_id, runs.claim(session, job, [(batch_id, "chatgpt")], limit=100, turn=60, max_attempts=4)


async def submit_elsewhere(shop: Shop, claimed: list[Any]) -> str:
    engine = engines(shop.settings())["brightdata:chatgpt"]
    client = BrightDataClient(shop.settings())
    snapshot_id = await client.trigger(engine.dataset_id, [entry.body(engine) for entry in inputs_of(claimed)])
    await client.close()
    return snapshot_id


@pytest.mark.parametrize("alive", [True, None])
async def test_a_living_submission_of_another_process_is_waited_for(shop: Shop, alive: bool | None) -> None:
    batch_id = shop.open_batch()
    job_id, claimed = claim_elsewhere(shop, batch_id)
    async with shop.collector(is_alive=lambda submitter: alive) as collector:
        asking = asyncio.create_task(collector.ask(batch_id, "chatgpt"))
        await asyncio.sleep(0.4)
        snapshot_id = await submit_elsewhere(shop, claimed)
        with shop.database.transaction() as session:
            assert jobs.save_snapshot(session, job_id, snapshot_id)
        summary = await asyncio.wait_for(asking, 10)
    assert (summary.answered, summary.jobs, shop.totals()["jobs"]) == (10, 1, 1)
    shop.check_complete(batch_id)


async def test_a_submission_whose_process_is_dead_is_looked_up_at_once_and_adopted(shop: Shop) -> None:
    batch_id = shop.open_batch()
    _, claimed = claim_elsewhere(shop, batch_id)
    await submit_elsewhere(shop, claimed)
    async with shop.collector(is_alive=lambda submitter: False, submit_timeout_seconds=60) as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert (summary.answered, summary.jobs, shop.totals()["jobs"]) == (10, 1, 1)
    assert [job.status for job in shop.jobs()] == ["fetched"]
    shop.check_complete(batch_id)


async def test_a_submission_that_never_left_is_given_back_with_its_attempt(shop: Shop) -> None:
    batch_id = shop.open_batch()
    claim_elsewhere(shop, batch_id)
    async with shop.collector(submit_timeout_seconds=0.2) as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert (summary.answered, shop.totals()["jobs"]) == (10, 1)
    assert [job.status for job in shop.jobs()] == ["failed", "fetched"]
    assert {run.attempts for run in shop.runs(batch_id)} == {1}


async def test_two_who_find_the_same_dead_submission_buy_it_once(shop: Shop) -> None:
    batch_id = shop.open_batch()
    claim_elsewhere(shop, batch_id)
    async with (
        shop.collector(is_alive=lambda submitter: False) as one,
        shop.collector(is_alive=lambda submitter: False) as other,
    ):
        summaries = await asyncio.gather(one.ask(batch_id, "chatgpt"), other.ask(batch_id, "chatgpt"))
    assert [summary.answered for summary in summaries] == [10, 10]
    shop.check_complete(batch_id)


async def test_a_running_job_that_may_be_ours_is_waited_for_until_it_tells(shop: Shop) -> None:
    batch_id = shop.open_batch()
    _, claimed = claim_elsewhere(shop, batch_id)
    shop.script({"on": "trigger", "nth": 1, "fault": "job_never_ready"})
    snapshot_id = await submit_elsewhere(shop, claimed)
    shop.script()
    async with shop.collector(is_alive=lambda submitter: False) as collector:
        asking = asyncio.create_task(collector.ask(batch_id, "chatgpt"))
        await asyncio.sleep(0.5)
        assert (shop.totals()["jobs"], [job.status for job in shop.jobs()]) == (1, ["submitting"])
        shop.sandbox.state.jobs.by_id[snapshot_id].faults = frozenset()
        summary = await asyncio.wait_for(asking, 10)
    assert (summary.answered, shop.totals()["jobs"]) == (10, 1)
    shop.check_complete(batch_id)


async def test_a_foreign_job_of_the_same_account_is_not_taken(shop: Shop) -> None:
    foreign = shop.open_batch(questions=3)
    _, claimed = claim_elsewhere(shop, foreign)
    await submit_elsewhere(shop, claimed)
    batch_id = shop.open_batch()
    claim_elsewhere(shop, batch_id)
    async with shop.collector(is_alive=lambda submitter: False) as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert (summary.answered, shop.totals()["jobs"]) == (10, 2)
    assert shop.sandbox.accounting()["bought_twice"] == []


async def test_while_the_vendor_cannot_tell_nothing_is_bought_again(shop: Shop) -> None:
    batch_id = shop.open_batch()
    shop.sandbox.set_faults(
        script=[
            {"on": "trigger", "nth": 1, "fault": "reset_after_accept"},
            {"on": "snapshots", "nth": 1, "times": 1000, "fault": "server_error"},
        ]
    )
    async with shop.collector(max_failed_polls=3) as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
        assert (summary.failed, shop.totals()["jobs"]) == ({"left_open": 10}, 1)
        shop.script()
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert (summary.answered, shop.totals()["jobs"]) == (10, 1)
    shop.check_complete(batch_id)


async def test_a_submission_that_was_given_up_meanwhile_is_cancelled_at_the_vendor(shop: Shop) -> None:
    batch_id = shop.open_batch()
    shop.script({"on": "trigger", "nth": 1, "fault": "job_never_ready"})
    async with shop.collector() as collector:
        trigger = collector._client.trigger  # type: ignore[union-attr]

        async def slow_trigger(*args: Any) -> str:
            snapshot_id = await trigger(*args)
            if len(shop.jobs()) == 1:  # another process declares the submission lost while the answer is on its way
                job_id = shop.jobs()[0].job_id
                with shop.database.transaction() as session:
                    assert jobs.take(session, job_id, "other", shop.jobs()[0].submitter)
                    assert jobs.give_up_unsubmitted(session, job_id, "other")
            return snapshot_id

        collector._client.trigger = slow_trigger  # type: ignore[union-attr, method-assign, assignment]
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert summary.answered == 10
    assert (shop.totals()["jobs"], shop.totals()["jobs_cancelled"]) == (2, 1)
    shop.check_complete(batch_id)
