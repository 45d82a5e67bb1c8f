"""Every fault of the vendor: once, for ever, and mixed. The batch ends; nothing is bought twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandbox.faults import BRIGHT_DATA, FAULTS, RECORD
from tests.integration.providers.conftest import Shop
from visibility.domain import AskSummary

PERMANENT = {"bad_input": {"bad_input": 1}, "refused_country": {"unsupported_country": 5}}
ONCE = [
    (surface, fault.name)
    for fault in FAULTS.values()
    for surface in fault.surfaces
    if surface in ("trigger", "progress", "snapshot") and fault.name != "quota_gone"
]
RECORD_FAULTS = [fault.name for fault in FAULTS.values() if RECORD in fault.surfaces]
AFTER_ACCEPT = ("reset_after_accept", "timeout_after_accept", "server_error_after_accept", "truncated_json")


async def ask(shop: Shop, batch_id: Any, **settings: Any) -> AskSummary:
    async with shop.collector(**settings) as collector:
        return await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 30)


@pytest.mark.parametrize(("surface", "fault"), ONCE)
async def test_a_fault_that_strikes_once_costs_nothing(shop: Shop, surface: str, fault: str) -> None:
    batch_id = shop.open_batch()
    shop.script({"on": surface, "nth": 1, "fault": fault})
    settings = {"deadline_seconds": 0.4} if fault == "job_never_ready" else {}
    summary = await ask(shop, batch_id, **settings)
    assert shop.totals()["faults_struck"].get(fault), "the fault did not strike"
    assert summary.failed == PERMANENT.get(fault, {})
    assert summary.answered == 10 - sum(summary.failed.values())
    shop.check()
    assert shop.totals()["records_usable"] == summary.answered


@pytest.mark.parametrize("fault", RECORD_FAULTS)
async def test_a_fault_of_one_record_costs_at_most_that_run(shop: Shop, fault: str) -> None:
    batch_id = shop.open_batch()
    shop.script({"on": "trigger", "nth": 1, "fault": fault, "records": [3]})
    summary = await ask(shop, batch_id)
    assert summary.failed == PERMANENT.get(fault, {})
    assert shop.totals()["records_usable"] == summary.answered
    shop.check()


@pytest.mark.parametrize("fault", AFTER_ACCEPT)
async def test_a_job_that_was_accepted_without_our_knowing_is_found_and_not_bought_again(
    shop: Shop, fault: str
) -> None:
    batch_id = shop.open_batch()
    shop.script({"on": "trigger", "nth": 1, "fault": fault}, {"on": "snapshots", "nth": 1, "fault": "server_error"})
    summary = await ask(shop, batch_id)
    assert (summary.answered, summary.jobs) == (10, 1)
    assert shop.totals()["jobs"] == 1
    assert [run.attempts for run in shop.runs(batch_id)] == [1] * 10
    shop.check_complete(batch_id)


async def test_two_jobs_that_are_lost_at_once_each_find_their_own(shop: Shop) -> None:
    batch_id = shop.open_batch()
    shop.script({"on": "trigger", "nth": 1, "times": 2, "fault": "reset_after_accept"})
    summary = await ask(shop, batch_id, max_inputs_per_job=5)
    assert (summary.answered, shop.totals()["jobs"]) == (10, 2)
    shop.check_complete(batch_id)


FOR_EVER = [
    ("trigger", "rate_limited_no_retry_after", {"rate_limited": 10}, 0),
    ("trigger", "server_error", {"provider_unavailable": 10}, 0),
    ("trigger", "connection_reset", {"provider_unavailable": 10}, 0),
    ("trigger", "empty_snapshot_id", {"provider_unavailable": 10}, 0),
    ("trigger", "quota_gone", {"provider_refused": 10}, 0),
    ("trigger", "job_failed", {"job_failed": 10}, 2),
    ("trigger", "job_never_ready", {"deadline_exceeded": 10}, 2),
    ("trigger", "empty_array", {"missing_record": 10}, 2),
    ("record", "no_peers", {"no_peers": 10}, 2),
    ("record", "blocked", {"blocked": 10}, 2),
    ("record", "empty_answer", {"empty_answer": 10}, 2),
    ("record", "bad_input", {"bad_input": 10}, 1),
    ("progress", "server_error", {"left_open": 10}, 1),
    ("progress", "truncated_json", {"left_open": 10}, 1),
    ("progress", "rate_limited_no_retry_after", {"left_open": 10}, 1),
    ("snapshot", "server_error", {"left_open": 10}, 1),
    ("snapshot", "truncated_json", {"left_open": 10}, 1),
]


@pytest.mark.parametrize(("surface", "fault", "failed", "attempts"), FOR_EVER)
async def test_a_fault_that_does_not_end_ends_the_ask_with_a_code_and_a_later_one_gets_the_answers(
    shop: Shop, surface: str, fault: str, failed: dict[str, int], attempts: int
) -> None:
    batch_id = shop.open_batch()
    shop.sandbox.set_faults(script=[{"on": surface, "nth": 1, "times": 10**6, "fault": fault}])
    summary = await ask(shop, batch_id, deadline_seconds=0.5, max_failed_polls=4)
    assert summary.failed == failed
    assert {run.attempts for run in shop.runs(batch_id)} == {attempts}
    shop.check()
    bought = shop.totals()["jobs"]
    shop.script()
    later = await ask(shop, batch_id)
    if fault == "bad_input":
        assert later.failed == failed
        return
    assert (later.answered, later.failed) == (10, {})
    if failed == {"left_open": 10}:
        assert shop.totals()["jobs"] == bought
    shop.check_complete(batch_id)


async def test_of_429_there_are_never_ten_even_from_many_orgs(shop: Shop) -> None:
    batches = [shop.open_batch(questions=2) for _ in range(12)]
    shop.sandbox.set_faults(
        script=[{"on": "trigger", "nth": 1, "times": 10**6, "fault": "rate_limited_no_retry_after"}]
    )
    async with shop.collector(max_inputs_per_job=2) as collector:
        summaries = await asyncio.gather(*(collector.ask(batch_id, "chatgpt") for batch_id in batches))
    assert [summary.failed for summary in summaries] == [{"rate_limited": 4}] * 12
    assert 5 <= shop.totals()["rate_limited"]["brightdata"] < 10
    shop.check()


async def test_a_wrong_key_fails_everything_of_the_provider_with_one_call(shop: Shop) -> None:
    batch_id = shop.open_batch(models=("chatgpt", "gemini"))
    other = shop.open_batch(models=("gemini",))
    async with shop.collector(api_key="bad") as collector:
        await asyncio.wait_for(collector.ask(batch_id, "chatgpt"), 30)
        calls = shop.totals()["calls"]
        summaries = [await collector.ask(batch_id, "gemini"), await collector.ask(other, "gemini")]
    assert [summary.failed for summary in summaries] == [{"provider_refused": 10}] * 2
    assert shop.totals()["calls"] == calls
    assert shop.statuses(batch_id) == {"provider_refused": 20}
    assert not any("bad" in str(run.error_message).split() for run in shop.runs(batch_id))
    async with shop.collector() as collector:
        assert (await collector.ask(batch_id, "gemini")).answered == 10


async def test_a_key_that_is_withdrawn_while_a_job_runs_loses_nothing(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=6, locations=(("US", None, None),))
    async with shop.collector(poll_seconds=0.2, max_inputs_per_job=3) as collector:
        asking = asyncio.create_task(collector.ask(batch_id, "chatgpt"))
        await shop.submitted()
        collector._client._http.headers["Authorization"] = "Bearer bad"  # type: ignore[union-attr]
        summary = await asyncio.wait_for(asking, 30)
    assert summary.failed.get("left_open")
    assert sum(summary.failed.values()) == 6
    assert (await ask(shop, batch_id)).answered == 6
    shop.check_complete(batch_id)


async def test_a_vendor_that_cannot_be_reached_gives_the_attempts_back(shop: Shop) -> None:
    batch_id = shop.open_batch()
    summary = await ask(shop, batch_id, base_url="http://127.0.0.1:9/datasets/v3")
    assert summary.failed == {"provider_unavailable": 10}
    assert {run.attempts for run in shop.runs(batch_id)} == {0}
    assert (await ask(shop, batch_id)).answered == 10


async def test_a_snapshot_that_the_vendor_no_longer_knows_is_asked_anew(shop: Shop) -> None:
    batch_id = shop.open_batch()
    shop.sandbox.set_faults(script=[{"on": "progress", "nth": 1, "times": 10**6, "fault": "server_error"}])
    assert (await ask(shop, batch_id, max_failed_polls=2)).failed == {"left_open": 10}
    shop.sandbox.reset()
    shop.execute("UPDATE provider_jobs SET snapshot_id = 's_forgotten'")
    assert (await ask(shop, batch_id, max_failed_polls=2)).answered == 10
    shop.check_complete(batch_id)


async def test_a_run_is_asked_at_most_so_often(shop: Shop) -> None:
    batch_id = shop.open_batch(questions=1)
    shop.sandbox.set_faults({"no_peers": 1.0})
    for _ in range(4):
        summary = await ask(shop, batch_id, max_attempts=3)
    assert summary.failed == {"no_peers": 2}
    assert shop.totals()["inputs_accepted"] == 6


async def test_a_prompt_that_the_vendor_refuses_without_naming_it_costs_only_itself(shop: Shop) -> None:
    questions = [f"Question {number}?" for number in range(15)]
    batch_id = shop.open_batch(questions=questions, locations=(("US", None, None),))
    shop.execute("UPDATE geo_questions SET question_text = repeat('x', 5000) WHERE question_text = 'Question 7?'")
    shop.execute("UPDATE geo_questions SET question_text = repeat('y', 5000) WHERE question_text = 'Question 11?'")
    shop.execute("UPDATE question_runs SET model = 'gemini'")
    async with shop.collector() as collector:
        summary = await asyncio.wait_for(collector.ask(batch_id, "gemini"), 30)
    assert (summary.answered, summary.failed) == (13, {"bad_input": 2})
    assert shop.totals()["records_usable"] == 13
    shop.check()


@pytest.mark.parametrize("seed", range(6))
async def test_all_faults_mixed_end_with_answers_or_codes_and_a_quiet_ask_completes(shop: Shop, seed: int) -> None:
    models = ("chatgpt", "perplexity", "gemini")
    batch_id = shop.open_batch(questions=6, models=models)
    names = [
        fault.name
        for fault in FAULTS.values()
        if {*BRIGHT_DATA, RECORD} & {*fault.surfaces} and fault.name not in ("quota_gone", "rate_limited")
    ]
    shop.sandbox.set_faults(dict.fromkeys(names, 0.05), seed=seed)
    async with shop.collector(deadline_seconds=2, max_inputs_per_job=5, max_attempts=9) as collector:
        summaries = await asyncio.wait_for(asyncio.gather(*(collector.ask(batch_id, m) for m in models)), 60)
    for summary in summaries:
        assert summary.answered + sum(summary.failed.values()) == summary.expected == 12
    shop.check()
    shop.sandbox.set_faults()
    async with shop.collector(max_attempts=9) as collector:
        summaries = await asyncio.wait_for(asyncio.gather(*(collector.ask(batch_id, m) for m in models)), 60)
    permanent = {"bad_input", "unsupported_country"}
    assert all(set(summary.failed) <= permanent for summary in summaries), summaries
    shop.check()
    assert shop.totals()["records_usable"] == sum(summary.answered for summary in summaries)
