"""Asking without faults: jobs, statements, sharing, two collectors."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from uuid import UUID

import pytest

from tests.integration.providers.conftest import Shop
from tests.support.billing import open_network_batch
from tests.support.seed import seed_network
from visibility.collection import AnswerCollector
from visibility.domain import AskSummary


async def test_one_job_per_engine_carries_all_questions_and_both_locations(shop: Shop) -> None:
    models = ("chatgpt", "perplexity", "gemini")
    batch_id = shop.open_batch(questions=10, models=models)
    async with shop.collector() as collector:
        summaries = await asyncio.gather(*(collector.ask(batch_id, model) for model in models))
    for model, summary in zip(models, summaries, strict=True):
        assert summary == AskSummary(model, 20, 20, {}, jobs=1, cost_usd=Decimal("0.03"))
    assert shop.totals()["jobs"] == 3
    assert [job.status for job in shop.jobs()] == ["fetched"] * 3
    shop.check_complete(batch_id)


async def test_an_undisturbed_ask_takes_six_statements(shop: Shop, statements: list[str]) -> None:
    batch_id = shop.open_batch(questions=10)
    statements.clear()
    async with shop.collector() as collector:
        await collector.ask(batch_id, "chatgpt")
    assert len(statements) <= 6, statements


async def test_answers_are_announced_after_they_are_stored(shop: Shop) -> None:
    batch_id = shop.open_batch()
    announced: list[UUID] = []

    def check(run_ids: list[UUID]) -> None:
        announced.extend(run_ids)
        assert shop.statuses(batch_id) == {"answered": 10}

    async with shop.collector() as collector:
        await collector.ask(batch_id, "chatgpt", check)  # type: ignore[arg-type]
    assert sorted(announced) == sorted(run.question_run_id for run in shop.runs(batch_id))


async def test_what_is_sent_is_what_was_asked(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=["Who?"])
    async with shop.collector() as collector:
        await collector.ask(batch_id, "chatgpt")
    sent = {(entry["prompt"], entry["country"]) for entry in shop.sandbox.accounting()["inputs"]}
    assert sent == {("Who?", "US"), ("Who?\n\nAnswer for a person in Toronto, Ontario, Canada.", "CA")}
    assert {run.applied_country for run in shop.runs(batch_id)} == {"US", "CA"}
    assert all(run.applied_country == run.country_code for run in shop.runs(batch_id))


async def test_asking_again_buys_nothing_and_an_answer_does_not_change(shop: Shop) -> None:
    batch_id = shop.open_batch()
    async with shop.collector() as collector:
        first = await collector.ask(batch_id, "chatgpt")
        before = shop.runs(batch_id)
        assert await collector.ask(batch_id, "chatgpt") == first
    assert shop.runs(batch_id) == before
    assert shop.totals()["jobs"] == 1


async def test_a_job_holds_no_more_than_the_most_inputs(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=11, locations=(("US", None, None),))
    async with shop.collector(max_inputs_per_job=4) as collector:
        summary = await collector.ask(batch_id, "chatgpt")
    assert (summary.answered, summary.jobs) == (11, 3)
    assert sorted(job.input_count for job in shop.jobs()) == [3, 4, 4]
    shop.check_complete(batch_id)


async def test_orgs_that_ask_together_share_jobs_and_each_hears_of_its_own(shop: Shop) -> None:
    batches = [shop.open_batch(questions=4) for _ in range(5)]
    announced: dict[UUID, list[UUID]] = {batch_id: [] for batch_id in batches}
    async with shop.collector(linger_seconds=0.2, max_inputs_per_job=20) as collector:
        summaries = await asyncio.gather(
            *(collector.ask(batch_id, "chatgpt", announced[batch_id].extend) for batch_id in batches)
        )
    assert [summary.answered for summary in summaries] == [8] * 5
    for batch_id in batches:
        assert sorted(announced[batch_id]) == sorted(run.question_run_id for run in shop.runs(batch_id))
    assert sorted(job.input_count for job in shop.jobs()) == [20, 20]
    shop.check_complete(*batches)


async def test_a_full_job_does_not_linger(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=5)
    async with shop.collector(linger_seconds=60, max_inputs_per_job=10) as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 10)
    assert summary.answered == 10


async def test_a_network_batch_is_asked_alike(shop: Shop) -> None:
    with shop.database.transaction() as session:
        batch_id = open_network_batch(session, seed_network(session))
    async with shop.collector() as collector:
        assert (await collector.ask(batch_id, "chatgpt")).answered == 3


async def test_two_collectors_for_the_same_batch_do_the_work_once(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=20)
    heard: list[UUID] = []
    async with shop.collector(max_inputs_per_job=7) as one, shop.collector(max_inputs_per_job=7) as other:
        summaries = await asyncio.gather(
            one.ask(batch_id, "chatgpt", heard.extend), other.ask(batch_id, "chatgpt", heard.extend)
        )
    assert [summary.answered for summary in summaries] == [40, 40]
    assert set(heard) == {run.question_run_id for run in shop.runs(batch_id)}
    assert max(run.attempts for run in shop.runs(batch_id)) == 1
    shop.check_complete(batch_id)


async def test_the_same_ask_twice_in_one_collector_does_the_work_once(shop: Shop) -> None:
    batch_id = shop.open_batch()
    async with shop.collector() as collector:
        summaries = await asyncio.gather(*(collector.ask(batch_id, "chatgpt") for _ in range(3)))
    assert {summary.answered for summary in summaries} == {10}
    shop.check_complete(batch_id)


async def test_a_cancelled_asker_does_not_lose_its_job(shop: Shop) -> None:
    batch_id = shop.open_batch()
    async with shop.collector(poll_seconds=0.3) as collector:
        asking = asyncio.create_task(collector.ask(batch_id, "chatgpt"))
        await shop.submitted()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        summary = await collector.ask(batch_id, "chatgpt")
    assert (summary.answered, summary.jobs) == (10, 1)
    shop.check_complete(batch_id)


async def test_closing_leaves_nothing_running_and_the_next_collector_goes_on(shop: Shop) -> None:
    batch_id = shop.open_batch()
    async with shop.collector(poll_seconds=30) as collector:
        asking = asyncio.create_task(collector.ask(batch_id, "chatgpt"))
        await shop.submitted()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert shop.statuses(batch_id) == {"asked": 10}
    async with shop.collector() as collector:
        summary = await collector.ask(batch_id, "chatgpt")
    assert (summary.answered, summary.jobs) == (10, 1)
    shop.check_complete(batch_id)


@pytest.mark.parametrize(
    ("model", "code"), [("llama", "unsupported_model"), ("claude-sonnet", "provider_not_configured")]
)
async def test_a_model_that_nobody_reaches_fails_with_a_reason(shop: Shop, model: str, code: str) -> None:
    batch_id = shop.open_batch(models=(model, "chatgpt"))
    async with shop.collector() as collector:
        summaries = await asyncio.gather(collector.ask(batch_id, model), collector.ask(batch_id, "chatgpt"))
    assert [summary.failed for summary in summaries] == [{code: 10}, {}]
    assert shop.statuses(batch_id) == {code: 10, "answered": 10}
    assert all(run.attempts == 0 for run in shop.runs(batch_id) if run.model == model)


async def test_without_a_key_nothing_is_asked(shop: Shop) -> None:
    batch_id = shop.open_batch()
    settings = shop.settings().model_copy(update={"api_key": None})
    collector = AnswerCollector(shop.database, settings, max_attempts=4, submitter="nobody")
    summary = await collector.ask(batch_id, "chatgpt")
    await collector.close()
    assert summary.failed == {"provider_not_configured": 10}


async def test_an_unsupported_country_and_a_long_question_cost_only_their_own_runs(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=["Who?", "x" * 5000], locations=(("US", None, None), ("CU", None, None)))
    async with shop.collector() as collector:
        summary = await collector.ask(batch_id, "chatgpt")
    assert (summary.answered, summary.failed) == (1, {"unsupported_country": 2, "bad_input": 1})
    assert Counter(run.attempts for run in shop.runs(batch_id)) == {1: 1, 0: 3}
    assert shop.totals()["inputs_accepted"] == 1
    async with shop.collector() as collector:
        assert await collector.ask(batch_id, "chatgpt") == summary
    shop.check()


async def test_a_batch_with_nothing_that_can_be_asked_ends(shop: Shop) -> None:
    batch_id = shop.open_batch(locations=(("KP", None, None),))
    async with shop.collector() as collector:
        summary = await collector.ask(batch_id, "chatgpt")
    assert summary.failed == {"unsupported_country": 5}
    assert shop.totals()["jobs"] == 0


async def test_a_batch_without_runs_is_done(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=0)
    async with shop.collector() as collector:
        assert await collector.ask(batch_id, "chatgpt") == AskSummary("chatgpt", 0, 0)
