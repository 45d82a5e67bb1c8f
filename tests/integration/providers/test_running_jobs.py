"""`max_running_jobs`: how many jobs one process lets the vendor work on at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sandbox.server import RunningSandbox, serve_in_thread
from tests.integration.providers.conftest import Shop
from visibility.providers.limits import ProcessLimits
from visibility.store.database import Database

MODELS = ("chatgpt", "gemini")


@pytest.fixture
def narrow_shop(database: Database) -> Iterator[Shop]:
    """A vendor that answers 429 to a second job while one runs; a job takes about 0.2 s."""
    with serve_in_thread(time_scale=300, max_running_jobs=1, examples=False) as sandbox:
        yield Shop(sandbox, database)


def refusals(sandbox: RunningSandbox) -> int:
    return int(sandbox.accounting()["totals"]["rate_limited"].get("brightdata", 0))


async def ask(shop: Shop, *, batches: int, max_running_jobs: int) -> None:
    batch_ids = [shop.open_batch(models=MODELS) for _ in range(batches)]
    async with shop.collector(max_running_jobs=max_running_jobs, max_inputs_per_job=10) as collector:
        await asyncio.gather(*(collector.ask(batch_id, model) for batch_id in batch_ids for model in MODELS))
    shop.check_complete(*batch_ids)


async def test_two_engines_and_two_askers_never_have_more_jobs_running_than_allowed(narrow_shop: Shop) -> None:
    await ask(narrow_shop, batches=2, max_running_jobs=1)
    assert narrow_shop.totals()["jobs"] == 4
    assert refusals(narrow_shop.sandbox) == 0


async def test_two_collectors_with_one_limiter_keep_to_it_together(narrow_shop: Shop) -> None:
    limiter = ProcessLimits(narrow_shop.settings(max_running_jobs=1))
    batch_ids = [narrow_shop.open_batch() for _ in range(2)]
    async with narrow_shop.collector(limiter=limiter) as one, narrow_shop.collector(limiter=limiter) as other:
        await asyncio.gather(one.ask(batch_ids[0], "chatgpt"), other.ask(batch_ids[1], "chatgpt"))
    assert (narrow_shop.totals()["jobs"], refusals(narrow_shop.sandbox)) == (2, 0)
    narrow_shop.check_complete(*batch_ids)


async def test_without_the_limit_the_vendor_would_refuse(narrow_shop: Shop) -> None:
    await ask(narrow_shop, batches=3, max_running_jobs=2)
    assert refusals(narrow_shop.sandbox) > 0
