"""Many orgs that share jobs: turns, portions, what a failed job costs, and an engine that is down."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any
from uuid import UUID

from tests.integration.providers.conftest import Shop
from visibility.domain import AskSummary
from visibility.providers.brightdata import records

ONE_PLACE = (("US", None, None),)
DOWN_FOR_EVER = {"on": "trigger", "nth": 1, "times": 10**6, "fault": "job_failed"}


async def ask_all(shop: Shop, batches: list[UUID], model: str = "chatgpt", **settings: Any) -> list[AskSummary]:
    async with shop.collector(**settings) as collector:
        return await asyncio.wait_for(asyncio.gather(*(collector.ask(b, model) for b in batches)), 60)


async def test_a_big_org_delays_a_small_one_by_a_part_of_a_job(shop: Shop) -> None:
    big = shop.open_batch(questions=260, locations=ONE_PLACE)
    small = [shop.open_batch(questions=20, locations=ONE_PLACE) for _ in range(3)]
    await ask_all(shop, [big, *small], max_inputs_per_job=100, max_running_jobs=1)
    shop.check_complete(big, *small)
    assert len(shop.jobs()) == 4
    jobs = [job.job_id for job in shop.jobs()]
    assert all({jobs.index(run.provider_job_id) for run in shop.runs(batch)} <= {0, 1} for batch in small)


async def test_fifty_orgs_need_the_least_jobs_that_can_carry_them(shop: Shop) -> None:
    batches = [shop.open_batch(questions=20, locations=ONE_PLACE) for _ in range(50)]
    summaries = await ask_all(shop, batches, max_inputs_per_job=100, linger_seconds=0.5)
    assert sum(summary.answered for summary in summaries) == 1000
    assert shop.totals()["jobs"] == math.ceil(1000 / 100)
    assert {summary.jobs for summary in summaries} == {1}  # each org's answers come, and are read, at once
    shop.check_complete(*batches)


async def test_a_large_job_is_stored_in_portions_and_once(shop: Shop, statements: list[str]) -> None:
    batch = shop.open_batch(questions=records.PORTION + 50, locations=ONE_PLACE)
    statements.clear()
    (summary,) = await ask_all(shop, [batch], max_inputs_per_job=1000)
    assert (summary.answered, summary.jobs) == (records.PORTION + 50, 1)
    assert sum("jsonb_to_recordset" in statement for statement in statements) == 2
    shop.check_complete(batch)


async def test_a_failed_job_costs_other_jobs_nothing_and_only_what_is_missing_is_asked_again(shop: Shop) -> None:
    batches = [shop.open_batch(questions=20, locations=ONE_PLACE) for _ in range(6)]
    shop.script({"on": "trigger", "nth": 2, "fault": "job_failed"})
    summaries = await ask_all(shop, batches, max_inputs_per_job=40, linger_seconds=0.3)
    assert [summary.answered for summary in summaries] == [20] * 6
    attempts = Counter(run.attempts for batch in batches for run in shop.runs(batch))
    assert attempts == {1: 80, 2: 40}
    assert shop.totals()["inputs_accepted"] == 160
    shop.check_complete(*batches)


async def test_an_engine_that_is_down_costs_only_its_own_answers_and_is_tried_again(shop: Shop) -> None:
    batches = [shop.open_batch(questions=4, models=("chatgpt", "gemini"), locations=ONE_PLACE) for _ in range(6)]
    shop.sandbox.set_faults(script=[DOWN_FOR_EVER])
    settings = {"max_inputs_per_job": 4, "max_running_jobs": 1, "engine_failures": 3, "engine_pause_seconds": 0.6}
    async with shop.collector(**settings) as collector:
        down = await asyncio.wait_for(asyncio.gather(*(collector.ask(b, "chatgpt") for b in batches)), 30)
        assert [summary.failed for summary in down] == [{"provider_down": 4}] * 6
        assert shop.totals()["jobs"] == 3
        asked = Counter(run.attempts for b in batches for run in shop.runs(b) if run.model == "chatgpt")
        assert asked == {1: 12, 0: 12}

        shop.script()
        others = await asyncio.gather(*(collector.ask(b, "gemini") for b in batches))
        assert [summary.failed for summary in others] == [{}] * 6

        await asyncio.sleep(0.7)
        later = await asyncio.wait_for(asyncio.gather(*(collector.ask(b, "chatgpt") for b in batches)), 30)
    assert [summary.answered for summary in later] == [4] * 6
    shop.check_complete(*batches)


async def test_one_job_tries_an_engine_that_was_down_while_the_others_wait_for_it(shop: Shop) -> None:
    batches = [shop.open_batch(questions=2, locations=ONE_PLACE) for _ in range(5)]
    shop.sandbox.set_faults(script=[DOWN_FOR_EVER])
    settings = {"max_inputs_per_job": 2, "engine_failures": 1, "engine_pause_seconds": 0.3}
    async with shop.collector(max_running_jobs=1, **settings) as collector:
        await asyncio.wait_for(collector.ask(batches[0], "chatgpt"), 30)
        assert shop.totals()["jobs"] == 1
        await asyncio.sleep(0.35)
        summaries = await asyncio.wait_for(asyncio.gather(*(collector.ask(b, "chatgpt") for b in batches)), 30)
    assert shop.totals()["jobs"] == 2
    assert [summary.failed for summary in summaries] == [{"provider_down": 2}] * 5
    shop.check()
