"""Brands of a network's answers: bought once, whoever asks, however often, and whatever happens to them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, select, text

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.answers import NAME, seed_shared_answers
from tests.support.scripted_llm import ScriptedLlm, Step, completion, scripted_llm
from visibility.domain import EvaluationCounts, OrgProfile
from visibility.errors import ProviderRefused
from visibility.evaluation import evaluate_stored
from visibility.identity import is_alive
from visibility.llm.client import LlmClient
from visibility.settings import LlmSettings
from visibility.shared_brands import BrandsRead, SharedBrands
from visibility.store.brand_readings import Claimant, claim
from visibility.store.database import Database
from visibility.store.findings import load_answers
from visibility.store.tables import AnswerBrand, BrandReading, LlmCallRow, OrgCompetitor, OrgEval
from visibility.versions import brands_version

PRAISE = f"**Trane** is known.\n\nMany firms exist.\n\n{NAME} is excellent and reliable.\n\n**Carrier** is slow."
ABSENT = "**Trane** and **Carrier** are the usual choices."
NOBODY = "it depends on your needs, there is no single choice."
OTHERS = [f"Heating Number {number}" for number in range(9)]
TRANE = completion({"answers": [{"answer": 1, "brands": ["Trane"]}]})
REFUSAL = completion("", refusal="no")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve_in_thread(latency=False, hold_seconds=2) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> RunningSandbox:
    running.reset()
    return running


@dataclass(frozen=True)
class Network:
    database: Database
    profiles: list[OrgProfile]
    batch_id: UUID
    runs: list[UUID]


def seed(database: Database, texts: Sequence[str], names: Sequence[str] = (NAME,)) -> Network:
    with database.transaction() as session:
        return Network(database, *seed_shared_answers(session, texts, names))


@dataclass(frozen=True)
class Process:
    """What one process has: its LLM client and its shared brands."""

    network: Network
    client: LlmClient
    brands: SharedBrands

    async def evaluate(self, profile: OrgProfile, **options: Any) -> EvaluationCounts:
        network = self.network
        options = {"chunk": 25, "answers_per_call": 1, **options}
        return await evaluate_stored(
            network.database, self.client, profile, network.batch_id, network.runs, brands=self.brands, **options
        )

    async def evaluate_all(self) -> list[EvaluationCounts]:
        return await asyncio.gather(*map(self.evaluate, self.network.profiles))

    async def ask(self) -> BrandsRead:
        """Ask for the brands of all answers."""
        network = self.network
        org_id = network.profiles[0].org_id
        answers = await network.database.run(load_answers, network.runs, org_id, "none", self.brands.version)
        return await self.brands.of(answers, network.batch_id, answers_per_call=1)


def in_process(
    network: Network,
    llm: RunningSandbox | ScriptedLlm,
    work: Callable[[Process], Coroutine[Any, Any, Any]],
    *,
    reader: str = "one",
    is_alive: Callable[[str], bool | None] = lambda _: True,
    claim_seconds: float = 60,
    max_attempts: int = 4,
    **changes: Any,
) -> Any:
    """Run `work` as a process of its own would: own event loop, client and shared brands."""

    async def run() -> Any:
        values = {"openai_api_key": "k", "openai_base_url": f"{llm.url}/v1", "llm_backoff_seconds": 0.01, **changes}
        async with LlmClient(LlmSettings(**values)) as client:
            brands = SharedBrands(
                network.database, client, reader=reader, max_attempts=max_attempts, claim_seconds=claim_seconds,
                poll_seconds=0.05, is_alive=is_alive,
            )  # fmt: skip
            try:
                return await work(Process(network, client, brands))
            finally:
                await brands.close()

    return asyncio.run(run())


def rows(database: Database, table: Any) -> list[Any]:
    with database.transaction() as session:
        found = session.scalars(select(table)).all()
        session.expunge_all()
        return list(found)


def names_of(found: BrandsRead) -> list[list[str]]:
    return [[brand.name for brand in brands] for brands in found.brands.values()]


@cache
def dead_owner() -> str:
    """Return the name of a process of this machine that has ended."""
    program = "from visibility.identity import new_owner; print(new_owner())"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def claim_as(network: Network, reader: str, *, seconds: float) -> None:
    with network.database.transaction() as session:
        claim(session, network.runs, Claimant(reader, brands_version(LlmSettings()), seconds, 4, datetime.now(UTC)))


async def until_asked(llm: ScriptedLlm) -> None:
    while not llm.requests:  # noqa: ASYNC110 - the server lives in another thread
        await asyncio.sleep(0.01)


def test_ten_orgs_at_once_cost_one_brand_call_per_answer_and_one_call_per_name_hit(
    database: Database, sandbox: RunningSandbox
) -> None:
    network = seed(database, [PRAISE, ABSENT, NOBODY, " "], [NAME, *OTHERS])
    counts = in_process(network, sandbox, Process.evaluate_all)
    calls = rows(database, LlmCallRow)
    assert Counter((call.purpose, call.org_id) for call in calls) == {
        ("brands", None): 3, ("mention", network.profiles[0].org_id): 1,
    }  # fmt: skip
    assert {call.batch_id for call in calls} == {network.batch_id}
    assert sum(one.llm_calls for one in counts) == len(calls) == sandbox.accounting()["llm"]["calls"]
    assert sum(one.cost_usd for one in counts) == sum(call.cost_usd for call in calls)
    assert (sum(one.evaluated for one in counts), sum(one.mentioned for one in counts)) == (40, 1)
    (praised,) = (row for row in rows(database, OrgEval) if row.mentioned)
    assert (praised.mention_rank, praised.sentiment, praised.reason) == (2, "positive", "verified")
    assert praised.cost_usd == next(call.cost_usd for call in calls if call.purpose == "mention")
    competitors = {row.name for row in rows(database, OrgCompetitor) if row.evaluation_id == praised.evaluation_id}
    assert competitors == {"Trane", "Carrier"}
    assert Counter(row.name for row in rows(database, AnswerBrand)) == {"Trane": 2, "Carrier": 2, NAME: 1}


def test_an_answer_without_brands_is_read_too(database: Database, sandbox: RunningSandbox) -> None:
    network = seed(database, [NOBODY])
    in_process(network, sandbox, Process.evaluate_all)
    assert names_of(in_process(network, sandbox, Process.ask, reader="two")) == [[]]
    assert (len(rows(database, LlmCallRow)), rows(database, BrandReading)[0].read_at is None) == (1, False)


def test_two_processes_that_want_the_same_answers_buy_each_once(
    database: Database, database_url: str, sandbox: RunningSandbox
) -> None:
    network = seed(database, [ABSENT, PRAISE] * 6, OTHERS[:2])
    second = Database(database_url)
    with ThreadPoolExecutor(2) as pool:
        processes = [
            pool.submit(in_process, replace(network, database=own), sandbox, Process.evaluate_all, reader=reader)
            for own, reader in ((database, "one"), (second, "two"))
        ]
        counts = [one for process in processes for one in process.result()]
    second.close()
    assert [call.purpose for call in rows(database, LlmCallRow)] == ["brands"] * 12
    assert sum(one.llm_calls for one in counts) == 12
    assert sum(one.evaluated for one in counts) == len(rows(database, OrgEval)) == 24


def test_a_claim_is_renewed_while_the_call_takes_long(database: Database) -> None:
    network = seed(database, [ABSENT])
    with scripted_llm(replace(TRANE, delay_seconds=0.9)) as llm, ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(in_process, network, llm, Process.ask, reader=reader, claim_seconds=0.3)
            for reader in ("one", "two")
        ]
        assert [names_of(one.result()) for one in both] == [[["Trane"]]] * 2
    assert len(llm.requests) == 1


@pytest.mark.parametrize("lapsed", [True, False])
def test_the_claim_of_a_reader_that_died_is_taken_over(database: Database, *, lapsed: bool) -> None:
    network = seed(database, [ABSENT])
    claim_as(network, "elsewhere|1|1|x" if lapsed else dead_owner(), seconds=0.3 if lapsed else 600)
    with scripted_llm(TRANE) as llm:
        assert names_of(in_process(network, llm, Process.ask, is_alive=is_alive)) == [["Trane"]]
    assert rows(database, BrandReading)[0].reader == "one"


def test_a_refused_answer_is_asked_once_per_process_and_four_times_in_all(database: Database) -> None:
    network = seed(database, [ABSENT], OTHERS)

    async def twice(process: Process) -> list[EvaluationCounts]:
        return [*(await process.evaluate_all()), *(await process.evaluate_all())]

    with scripted_llm(REFUSAL) as llm:
        for number in range(5):
            counts = in_process(network, llm, twice, reader=str(number))
            assert {(one.evaluated, str(one.failed)) for one in counts} == {(0, "{'llm_refused': 1}")}
            assert len(llm.requests) == len(rows(database, LlmCallRow)) == min(number + 1, 4)
    (reading,) = rows(database, BrandReading)
    assert (reading.attempts, reading.error_code, reading.read_at) == (4, "llm_refused", None)


def test_one_failed_brand_call_leaves_the_other_answers(database: Database, sandbox: RunningSandbox) -> None:
    network = seed(database, [ABSENT] * 3)
    sandbox.set_faults(script=[{"on": "chat", "nth": 2, "fault": "llm_refusal"}])
    (counts,) = in_process(network, sandbox, Process.evaluate_all)
    assert (counts.evaluated, counts.failed, counts.llm_calls) == (2, {"llm_refused": 1}, 3)
    assert len(rows(database, LlmCallRow)) == 3
    assert in_process(network, sandbox, Process.evaluate_all, reader="two")[0].evaluated == 1


def test_what_the_vendor_refuses_or_cannot_do_now_is_open_to_whoever_asks_next(
    database: Database, sandbox: RunningSandbox
) -> None:
    network = seed(database, [ABSENT] * 3)

    async def in_good_and_bad_times(process: Process) -> tuple[EvaluationCounts, EvaluationCounts]:
        sandbox.set_faults({"server_error": 1.0})
        down = await process.evaluate(network.profiles[0])
        sandbox.set_faults()
        return down, await process.evaluate(network.profiles[0])

    sandbox.set_faults({"quota_gone": 1.0})
    with pytest.raises(ProviderRefused) as refused:
        in_process(network, sandbox, Process.evaluate_all)
    assert refused.value.counts.failed == {"llm_quota_gone": 3}
    down, after = in_process(network, sandbox, in_good_and_bad_times, reader="two", llm_max_attempts=2)
    assert (down.failed, after.evaluated, after.llm_calls) == ({"llm_unavailable": 3}, 3, 3)
    assert {reading.attempts for reading in rows(database, BrandReading)} == {1}


def test_cancelling_who_asked_first_neither_loses_nor_repeats_the_call(database: Database) -> None:
    network = seed(database, [ABSENT])

    async def cancelled(process: Process) -> BrandsRead:
        first, second = asyncio.create_task(process.ask()), asyncio.create_task(process.ask())
        await until_asked(llm)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        return await second

    with scripted_llm(replace(TRANE, delay_seconds=0.2)) as llm:
        assert names_of(in_process(network, llm, cancelled)) == [["Trane"]]
    assert len(llm.requests) == len(rows(database, LlmCallRow)) == 1


def test_closing_in_the_middle_of_a_call_lets_others_read_at_once(database: Database) -> None:
    network = seed(database, [ABSENT])

    async def left(process: Process) -> None:
        asking = asyncio.create_task(process.ask())
        await until_asked(llm)
        asking.cancel()

    with scripted_llm(Step(body={}, delay_seconds=1), TRANE) as llm:
        in_process(network, llm, left)
        assert names_of(in_process(network, llm, Process.ask, reader="two")) == [["Trane"]]


def test_another_version_replaces_the_brands(database: Database, sandbox: RunningSandbox) -> None:
    network = seed(database, [ABSENT])
    in_process(network, sandbox, Process.evaluate_all)
    with database.transaction() as session:
        session.execute(text("UPDATE answer_brands SET name = 'Old', name_key = 'old' WHERE name = 'Trane'"))
    (counts,) = in_process(network, sandbox, Process.evaluate_all, brands_model="gpt-6-sol")
    assert (counts.evaluated, counts.competitors) == (1, 2)
    assert {row.name for row in rows(database, AnswerBrand)} == {"Trane", "Carrier"}
    assert [call.model for call in rows(database, LlmCallRow)] == ["gpt-6-luna", "gpt-6-sol"]
    assert len(rows(database, OrgEval)) == 2


def test_two_versions_side_by_side_do_not_replace_each_others_brands_for_ever(
    database: Database, sandbox: RunningSandbox
) -> None:
    network = seed(database, [ABSENT])
    in_process(network, sandbox, Process.evaluate_all)
    now = datetime.now(UTC)
    began_before = Claimant("old", "older version", 60, 4, now - timedelta(hours=1))
    began_after = Claimant("new", "newer version", 60, 4, now + timedelta(minutes=1))
    with database.transaction() as session:
        assert set(claim(session, network.runs, began_before).read) == set(network.runs)
        assert claim(session, network.runs, began_after).taken == set(network.runs)


def test_who_reads_by_rule_alone_leaves_the_brands_to_others(database: Database, sandbox: RunningSandbox) -> None:
    network = seed(database, [ABSENT], OTHERS[:3])
    first, by_rule, last = (replace(network, profiles=[profile]) for profile in network.profiles)
    in_process(first, sandbox, Process.evaluate_all)
    (profile,) = by_rule.profiles
    asyncio.run(evaluate_stored(database, None, profile, network.batch_id, network.runs, chunk=25, answers_per_call=1))
    (counts,) = in_process(last, sandbox, Process.evaluate_all, reader="two")
    assert (counts.evaluated, counts.competitors, counts.llm_calls) == (1, 2, 0)


def test_several_answers_share_calls_of_either_kind(database: Database, sandbox: RunningSandbox) -> None:
    network = seed(database, [PRAISE] * 6)

    async def grouped(process: Process) -> EvaluationCounts:
        return await process.evaluate(network.profiles[0], answers_per_call=3)

    assert in_process(network, sandbox, grouped).evaluated == 6
    assert Counter(call.purpose for call in rows(database, LlmCallRow)) == {"brands": 2, "mention": 2}


def test_a_chunk_costs_ten_statements_for_the_first_org_and_five_for_the_others(
    database: Database, sandbox: RunningSandbox
) -> None:
    network = seed(database, [PRAISE] * 5, [NAME, f"{NAME} excellent"])
    statements: list[str] = []

    def sent(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        statements.extend([statement] * (len(parameters) if many and not isinstance(parameters, dict) else 1))

    event.listen(database.engine, "before_cursor_execute", sent)

    async def one_after_the_other(process: Process) -> list[int]:
        sent_for = []
        for profile in network.profiles:
            statements.clear()
            await process.evaluate(profile)
            sent_for.append(len(statements))
        return sent_for

    first, second = in_process(network, sandbox, one_after_the_other)
    assert first <= 10
    assert second <= 5
