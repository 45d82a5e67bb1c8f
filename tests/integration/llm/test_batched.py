"""LLM calls by the Batch API: bought once, at half the price, whatever happens to who submitted them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import openai.types.chat  # noqa: F401 - before the first request is collected: importing takes longer than a test lingers
import purgatory  # noqa: F401
import pytest
from sqlalchemy import select, text

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.answers import seed_answers
from visibility.domain import EvaluationCounts, OrgProfile
from visibility.errors import ConfigurationError, ProviderRefused
from visibility.evaluation import evaluate_stored
from visibility.identity import new_owner
from visibility.llm.batched import BatchedCalls
from visibility.llm.client import LlmClient
from visibility.llm.vendor_batches import _result
from visibility.settings import LlmSettings
from visibility.store.database import Database
from visibility.store.llm_batches import Result
from visibility.store.tables import LlmBatch, LlmBatchRequest, LlmCallRow, OrgEval

PRAISE = "**Trane** is known.\n\nNorthwind Heating is excellent and reliable.\n\n**Carrier** is slow."
TEXTS = [f"{PRAISE}\n\nAnswer {number}." for number in range(4)]

Seeded = tuple[OrgProfile, UUID, list[UUID]]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with serve_in_thread(latency=False, hold_seconds=2, slow_seconds=0.2) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(sandbox: RunningSandbox) -> None:
    sandbox.reset()


@pytest.fixture
def seeded(database: Database) -> Seeded:
    with database.transaction() as session:
        return seed_answers(session, TEXTS)


class Process:
    """A process as far as batches are concerned: it has a name of its own. Its batches are full with all answers."""

    def __init__(self, database: Database, sandbox: RunningSandbox, **changes: Any) -> None:
        durations = {"linger": 0.3, "poll": 0.01, "grace": 0.05, "deadline": 20}
        values: dict[str, Any] = {f"llm_batch_{name}_seconds": value for name, value in durations.items()}
        values |= {
            "llm_batch_max_requests": len(TEXTS),
            "openai_api_key": "k",
            "openai_base_url": f"{sandbox.url}/v1",
            "llm_backoff_seconds": 0.01,
        }
        self.database, self.name = database, new_owner()
        self.settings = LlmSettings(**{**values, **changes})

    def client(self, dead: Sequence[str] = (), *, waits: bool = True) -> LlmClient:
        batched = BatchedCalls(
            self.database, self.settings, submitter=self.name, waits=waits, is_alive=lambda name: name not in dead
        )
        return LlmClient(self.settings, batched=batched)

    async def evaluate(self, client: LlmClient, seeded: Seeded, *, per_call: int = 1) -> EvaluationCounts:
        profile, batch_id, runs = seeded
        return await evaluate_stored(
            self.database, client, profile, batch_id, runs, chunk=25, answers_per_call=per_call
        )

    async def run(self, seeded: Seeded, dead: Sequence[str] = (), *, per_call: int = 1) -> EvaluationCounts:
        async with self.client(dead) as client:
            return await asyncio.wait_for(self.evaluate(client, seeded, per_call=per_call), 20)


def rows(database: Database, table: Any) -> list[Any]:
    with database.transaction() as session:
        found = list(session.scalars(select(table)))
        session.expunge_all()
        return found


def states(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(LlmBatch.state).order_by(LlmBatch.created_at)))


def sold(sandbox: RunningSandbox) -> tuple[int, int, int]:
    """Completions sold in all, by batch, and for a prompt that had been answered before."""
    llm = sandbox.accounting()["llm"]
    return llm["calls"], llm["batched_calls"], llm["repeated_calls"]


def script(sandbox: RunningSandbox, *steps: tuple[str, str]) -> None:
    sandbox.set_faults(script=[{"on": on, "nth": 1, "fault": fault} for on, fault in steps])


async def test_answers_are_read_by_one_batch_at_half_the_price_and_recorded_once(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    counts = await Process(database, sandbox).run(seeded)
    assert (counts.evaluated, counts.failed, counts.llm_calls) == (4, {}, 4)
    assert sold(sandbox) == (4, 4, 0)
    (batch,) = rows(database, LlmBatch)
    assert (batch.state, batch.requests, batch.answered) == ("fetched", 4, 4)
    calls = rows(database, LlmCallRow)
    assert {call.call_id for call in calls} == {row.request_id for row in rows(database, LlmBatchRequest)}
    assert {call.price_table for call in calls} == {"2026-11-23-batch"}
    assert sum(row.cost_usd for row in rows(database, OrgEval)) == counts.cost_usd
    by_hand = sum(
        (call.input_tokens - call.cached_tokens) * Decimal("0.05") + call.cached_tokens * Decimal("0.005")
        + call.output_tokens * Decimal("0.25") for call in calls
    ) / 1_000_000  # fmt: skip
    assert abs(by_hand - counts.cost_usd) < Decimal("0.00001")


async def test_identical_answers_are_bought_each_as_direct_calls_would_be(
    database: Database, sandbox: RunningSandbox
) -> None:
    with database.transaction() as session:
        same = seed_answers(session, [PRAISE] * 3)
    counts = await Process(database, sandbox).run(same)
    assert (counts.evaluated, len(rows(database, LlmCallRow)), sold(sandbox)[:2]) == (3, 3, (3, 3))


async def test_what_a_batch_sends_is_what_a_direct_call_sends(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    await Process(database, sandbox).run(seeded)
    with database.transaction() as session:
        session.execute(text("DELETE FROM org_citations; DELETE FROM org_competitors; DELETE FROM org_evals"))
    process = Process(database, sandbox)
    async with LlmClient(process.settings) as direct:
        await process.evaluate(direct, seeded)
    assert sold(sandbox) == (8, 4, 4)


async def test_two_processes_that_want_the_same_replies_buy_them_once(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    counts = await asyncio.gather(*(Process(database, sandbox).run(seeded) for _ in range(2)))
    assert sum(one.evaluated for one in counts) == 4
    assert (sold(sandbox), len(rows(database, LlmCallRow))) == ((4, 4, 0), 4)


async def test_who_does_not_wait_takes_the_replies_that_are_there_and_buys_the_rest_directly(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    script(sandbox, ("batches", "batch_expired"))
    process = Process(database, sandbox)
    async with process.client() as client:
        client._send = never  # type: ignore[method-assign]
        with suppress(TimeoutError):
            await asyncio.wait_for(process.evaluate(client, seeded), 1)
    async with Process(database, sandbox).client(waits=False) as client:
        assert (await process.evaluate(client, seeded)).evaluated == 4
    assert sold(sandbox) == (4, 2, 0)


async def never(_request: Any) -> Any:
    await asyncio.Event().wait()


async def test_a_full_batch_does_not_wait(database: Database, sandbox: RunningSandbox, seeded: Seeded) -> None:
    process = Process(database, sandbox, llm_batch_linger_seconds=60, llm_batch_max_requests=2)
    assert (await process.run(seeded)).evaluated == 4
    assert states(database) == ["fetched", "fetched"]


@pytest.mark.parametrize(
    ("fault", "state", "batched"),
    [("batch_expired", "expired", 2), ("batch_failed", "failed", 0), ("batch_lines_missing", "fetched", 2)],
)
async def test_what_a_batch_does_not_bring_is_asked_directly_at_the_full_price(
    database: Database, sandbox: RunningSandbox, seeded: Seeded, fault: str, state: str, batched: int
) -> None:
    script(sandbox, ("batches", fault))
    counts = await Process(database, sandbox).run(seeded)
    assert (counts.evaluated, counts.failed, states(database)) == (4, {}, [state])
    assert sold(sandbox) == (4, batched, 0)
    tables = [call.price_table for call in rows(database, LlmCallRow)]
    assert (tables.count("2026-11-23-batch"), tables.count("2026-11-23")) == (batched, 4 - batched)


async def test_a_batch_past_its_deadline_is_cancelled_and_asked_directly(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    script(sandbox, ("batches", "batch_never_done"))
    counts = await Process(database, sandbox, llm_batch_deadline_seconds=0.1).run(seeded)
    assert (counts.evaluated, states(database), sold(sandbox)) == (4, ["cancelled"], (4, 0, 0))


@pytest.mark.parametrize(
    ("on", "fault", "kept"),
    [
        ("batches", "reset_after_accept", True),
        ("batches", "truncated_json", True),
        ("batches", "connection_reset", False),
        ("files", "server_error", True),
        ("batch", "server_error", True),
    ],
)
async def test_a_submission_that_may_have_arrived_is_looked_up_before_it_is_repeated(
    database: Database, sandbox: RunningSandbox, seeded: Seeded, on: str, fault: str, kept: bool
) -> None:
    script(sandbox, (on, fault))
    counts = await Process(database, sandbox).run(seeded)
    assert (counts.evaluated, sold(sandbox), states(database)) == (4, (4, 4, 0), ["fetched"])
    assert sandbox.accounting()["totals"]["calls"]["batches"] == (1 if kept else 2)


async def test_a_vendor_without_batches_is_asked_directly(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    sandbox.set_faults(script=[{"on": "files", "nth": 1, "times": 100, "fault": "quota_gone"}])
    counts = await Process(database, sandbox).run(seeded)
    assert (counts.evaluated, states(database), sold(sandbox)) == (4, ["failed"], (4, 0, 0))


async def test_an_unusable_reply_is_asked_once_more_directly_and_is_not_taken_for_an_answer_again(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    script(sandbox, ("chat", "llm_truncated"))
    counts = await Process(database, sandbox).run(seeded)
    assert (counts.evaluated, counts.failed, counts.llm_calls) == (4, {}, 5)
    assert sold(sandbox) == (5, 4, 1)
    assert len(rows(database, LlmCallRow)) == 5


async def test_a_reply_that_says_nothing_about_the_answer_is_asked_once_more_directly(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    process = Process(database, sandbox)
    async with process.client() as client:
        assert client._batched is not None
        vendor = client._batched._vendor
        fetch = vendor.results

        async def without_an_answer(files: Sequence[str]) -> list[Result]:
            first, *others = await fetch(files)
            completion = json.loads(first.reply or "")
            completion["choices"][0]["message"]["content"] = '{"answers": []}'
            return [replace(first, reply=json.dumps(completion)), *others]

        vendor.results = without_an_answer  # type: ignore[method-assign]
        counts = await asyncio.wait_for(process.evaluate(client, seeded), 20)
    assert (counts.evaluated, counts.failed, sold(sandbox)) == (4, {}, (5, 4, 1))
    assert len(rows(database, LlmCallRow)) == 5


async def test_a_batch_whose_files_can_never_be_read_is_given_up_after_its_deadline(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    sandbox.set_faults(script=[{"on": "batch", "nth": 1, "times": 10_000, "fault": "truncated_json"}])
    counts = await Process(database, sandbox, llm_batch_deadline_seconds=0.3).run(seeded)
    assert (counts.evaluated, counts.failed, states(database)) == (4, {}, ["failed"])


def test_lines_that_are_no_results_bring_nothing() -> None:
    for line in (None, [], 5, {"custom_id": 5}, {"custom_id": "ours", "response": "?"}, {"response": None}):
        assert _result(line) is None


async def test_a_line_that_the_vendor_refuses_fails_as_a_direct_call_does_and_is_sent_again_later(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    script(sandbox, ("chat", "quota_gone"))
    with pytest.raises(ProviderRefused) as refused:
        await Process(database, sandbox).run(seeded)
    assert (refused.value.code, refused.value.counts.evaluated) == ("llm_quota_gone", 3)
    sandbox.set_faults()
    assert (await Process(database, sandbox).run(seeded)).evaluated == 1
    assert (sold(sandbox), states(database)) == ((4, 4, 0), ["fetched", "fetched"])


async def test_a_process_that_ends_in_order_hands_its_batch_over_although_it_lives_on(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    script(sandbox, ("batches", "batch_never_done"))
    process = Process(database, sandbox)
    async with process.client() as client:
        evaluating = asyncio.create_task(process.evaluate(client, seeded))
        async with asyncio.timeout(10):
            while states(database) != ["submitted"]:  # noqa: ASYNC110 - it is the database that changes
                await asyncio.sleep(0.01)
        evaluating.cancel()
        await asyncio.gather(evaluating, return_exceptions=True)
    for job in sandbox.state.batches.by_id.values():
        job.faults = frozenset()
    assert (await Process(database, sandbox, llm_batch_poll_seconds=0.2).run(seeded)).evaluated == 4
    assert (sold(sandbox), states(database)) == ((4, 4, 0), ["fetched"])


async def test_a_submitter_that_cannot_be_seen_is_followed_when_its_signs_of_life_stop(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    gone, successor = Process(database, sandbox), Process(database, sandbox)
    assert await killed_at(6, gone, seeded)
    batched = BatchedCalls(database, successor.settings, submitter=successor.name, is_alive=lambda _: None)
    async with LlmClient(successor.settings, batched=batched) as client:
        counts = await asyncio.wait_for(successor.evaluate(client, seeded), 20)
    assert (counts.evaluated, sold(sandbox)) == (4, (4, 4, 0))


async def test_batches_of_more_than_four_days_ago_are_deleted_when_a_new_one_is_written(
    database: Database, sandbox: RunningSandbox, seeded: Seeded
) -> None:
    with database.transaction() as session:
        old = LlmBatch(model="m", submitter="gone", created_at=datetime.now(UTC) - timedelta(days=5))
        session.add(old)
        session.flush()
        session.add(LlmBatchRequest(llm_batch_id=old.llm_batch_id, request_key="old"))
    await Process(database, sandbox).run(seeded)
    assert (len(rows(database, LlmBatch)), len(rows(database, LlmBatchRequest))) == (1, 4)


def test_azure_is_refused_in_one_sentence(database: Database) -> None:
    azure = {"azure_openai_endpoint": "https://a.example", "azure_openai_api_key": "k", "azure_openai_deployment": "d"}
    with pytest.raises(ConfigurationError, match=r"^LLM_BATCH works with OpenAI alone"):
        BatchedCalls(database, LlmSettings(**azure), submitter="me")


async def killed_at(step: int, process: Process, seeded: Seeded) -> bool:
    """Evaluate until the process dies after the nth write or call to the vendor; False when it came through."""
    dead = asyncio.Event()
    taken = 0

    def watched(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stepped(*args: Any, **kwargs: Any) -> Any:
            nonlocal taken
            result = await work(*args, **kwargs)
            taken += 1
            if taken >= step:
                dead.set()
                await asyncio.Event().wait()
            return result

        return stepped

    client = process.client()
    batched = client._batched
    assert batched is not None
    vendor, database = batched._vendor, batched._database
    for name in ("upload", "create", "look", "results"):
        setattr(vendor, name, watched(getattr(vendor, name)))

    class Watched:
        run, insist = staticmethod(watched(database.run)), staticmethod(watched(database.insist))

    batched._database = batched._submission._database = Watched()  # type: ignore[assignment]
    evaluating = asyncio.create_task(process.evaluate(client, seeded))
    dying = asyncio.create_task(dead.wait())
    await asyncio.wait([evaluating, dying], return_when=asyncio.FIRST_COMPLETED)
    tasks = [dying, evaluating, *batched._tasks, *batched._submission._watched.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await vendor.close()  # not the client: without the farewell of a process that ends in order
    return dead.is_set()


async def test_a_process_killed_at_any_step_is_followed_by_one_that_buys_nothing_twice(
    database: Database, sandbox: RunningSandbox
) -> None:
    step = 0
    came_through = False
    while not came_through:
        step += 1
        with database.transaction() as session:
            session.execute(text("UPDATE orgs SET name = org_id::text"))
            seeded = seed_answers(session, [f"{one} At step {step}." for one in TEXTS])
        process, successor = Process(database, sandbox), Process(database, sandbox)
        came_through = not await killed_at(step, process, seeded)
        counts = await successor.run(seeded, dead=[process.name])
        assert counts.evaluated == (0 if came_through else 4), step
        assert sold(sandbox) == (4 * step, 4 * step, 0), step
    assert step > 8
    assert len(rows(database, LlmCallRow)) == 4 * step
