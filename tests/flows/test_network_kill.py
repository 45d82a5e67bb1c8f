"""kill -9 or a stop of a network's parent or children at any moment: the end state of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from typing import Any
from uuid import UUID

import pytest

from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from sandbox.server import RunningSandbox, serve_in_thread
from tasks import resources
from tests.support.end_state import end_state, execute, rows, undisturbed, value
from tests.support.flow_process import LEASE_LOST, exit_codes, kill_at, start_flow
from tests.support.league import DAY, MEMBERS, QUESTIONS, League, ask_only, seed_league
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.settings import Settings
from visibility.store.database import Database

SEED = 20261124
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))  # `make chaos` sets more
# where a network's run is, as the number of its rows: batch, 3 holds, 3 jobs, 3 snapshot ids, 9 answers, 3 readings,
# 9 answers whose brands are claimed, 9 read, 27 evaluations, 27 charges; and where its children alone are
PARENT_STRATA = ((0, 7), (7, 19), (19, 40), (40, 67), (67, 94))
CHILDREN_STRATA = ((0, 12), (12, 48), (48, 75))
COUNTED = "batches, holds, jobs, snapshots, answers, readings, brands claimed, brands read, evaluations, charges"
CHILDREN_ROWS = """
    SELECT (SELECT count(*) FROM reading_leases),
        (SELECT count(*) FROM brand_readings), (SELECT count(read_at) FROM brand_readings),
        (SELECT count(*) FROM org_evals), (SELECT count(*) FROM partner_usage_ledger)
"""
ROWS = f"""
    SELECT (SELECT count(*) FROM evaluation_batches), (SELECT count(*) FROM credit_holds),
        (SELECT count(*) FROM provider_jobs), (SELECT count(snapshot_id) FROM provider_jobs),
        (SELECT count(*) FROM question_runs WHERE status = 'answered'), children.*
    FROM ({CHILDREN_ROWS}) AS children
"""
BEING_READ = "SELECT question_run_id, reader FROM brand_readings WHERE read_at IS NULL"
IN_TRANSACTION = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""
JUDGED = "SELECT count(*) FROM org_evals WHERE reason <> 'name_absent'"
ORGS = MEMBERS[:3]
ANSWERS = 9
TAKEOVER_SECONDS = 15  # a claim that is not taken over blocks for a minute


@dataclass
class Installation:
    """One database with one network of three members, one sandbox, one Prefect server."""

    database: Database
    settings: Settings
    sandbox: RunningSandbox
    api_url: str
    league: League

    def start(self) -> ForkServerProcess:
        """Start the network's flow in a process of its own."""
        network_id = self.league.network_id
        return start_flow(self.api_url, self.settings, "network_questions", network_id=network_id, run_date=DAY)

    def start_child(self, name: str) -> ForkServerProcess:
        """Start a member's flow in a process of its own."""
        org_id = self.league.members[name]
        return start_flow(self.api_url, self.settings, "network_org_missing", org_id=org_id, since=DAY)

    async def finish(self) -> NetworkSummary:
        async with resources.opened(self.settings):
            return await network_questions(self.league.network_id, run_date=DAY)

    async def finish_children(self, *names: str) -> list[NetworkOrgSummary]:
        async with resources.opened(self.settings):
            return [await network_org_missing(self.league.members[name], since=DAY) for name in names]

    def rows(self) -> tuple[int, ...]:
        return rows(self.database, ROWS)[0]

    def children_rows(self) -> tuple[int, ...]:
        return rows(self.database, CHILDREN_ROWS)[0]

    def being_read(self) -> dict[UUID, int]:
        """Return by which process (its id) the brands of answers are being read."""
        return {run_id: int(reader.split("|")[-3]) for run_id, reader in rows(self.database, BEING_READ)}

    def calls(self) -> dict[str, int]:
        """Return the number of LLM calls that the vendor has answered, by purpose."""
        return dict(self.sandbox.accounting()["llm"]["purposes"])

    def assert_bought_once(self, in_flight: int = 0) -> None:
        """Every answer was sold once; brands were read once, but for those in flight at a kill."""
        accounting = self.sandbox.accounting()
        assert (accounting["totals"]["records_sold"], accounting["bought_twice"]) == (ANSWERS, [])
        assert ANSWERS <= self.calls()["brands"] <= ANSWERS + in_flight


@pytest.fixture
def installation(database: Database, database_url: str, prefect: str) -> Iterator[Installation]:
    with serve_in_thread(time_scale=300, llm_seconds=(3, 30)) as sandbox:
        league = seed_league(database, sandbox, members=ORGS, questions=QUESTIONS[:3], locations=(("US", None, None),))
        settings = Settings(database_url=database_url, evaluation_chunk=3).for_sandbox(sandbox.url, time_scale=300)
        yield Installation(database, settings, sandbox, prefect, league)


@pytest.fixture
async def answered(installation: Installation) -> Installation:
    """A network whose questions are answered, and nobody has read the answers."""
    await ask_only(installation.settings, installation.league)
    # as the parent's last step leaves it
    execute(installation.database, "UPDATE evaluation_batches SET status = 'completed'")
    return installation


Record = Callable[[str, object], None]


@pytest.mark.parametrize("point", range(len(PARENT_STRATA) * CHAOS_ROUNDS))
async def test_a_killed_network_ends_like_an_undisturbed_one(
    installation: Installation, point: int, record_property: Record
) -> None:
    chance = random.Random(SEED + point)
    score, delay = chance.randrange(*PARENT_STRATA[point % len(PARENT_STRATA)]), chance.uniform(0, 0.08)
    where = kill_at(installation.start(), installation.rows, score, delay)
    in_flight = len(installation.being_read())
    summary = await installation.finish()
    shown = f"{COUNTED}: {where}; brands in flight: {in_flight}; calls: {installation.calls()}"
    record_property("killed at", shown)
    print(f"point {point}: {shown}")
    assert end_state(installation.database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    assert (summary.status, summary.answered, summary.evaluations) == ("completed", ANSWERS, ANSWERS * len(ORGS))
    assert {child.state for child in summary.children} == {"completed"}
    installation.assert_bought_once(in_flight)


@pytest.mark.parametrize("point", range(len(CHILDREN_STRATA) * CHAOS_ROUNDS))
async def test_killed_children_end_like_undisturbed_ones(
    answered: Installation, point: int, record_property: Record
) -> None:
    chance = random.Random(SEED + 1000 + point)
    victims = chance.randint(1, len(ORGS))
    processes = [answered.start_child(name) for name in ORGS]
    score, delay = chance.randrange(*CHILDREN_STRATA[point % len(CHILDREN_STRATA)]), chance.uniform(0, 0.08)
    where = kill_at(processes[0], answered.children_rows, score, delay)
    for process in processes[:victims]:
        process.kill()
    in_flight = len(answered.being_read())
    survivors = exit_codes(*processes[victims:], within_seconds=TAKEOVER_SECONDS)
    assert survivors == [0] * (len(ORGS) - victims)
    await answered.finish_children(*ORGS)
    shown = f"{victims} of 3 killed at {where}; brands in flight: {in_flight}; calls: {answered.calls()}"
    record_property("killed at", shown)
    print(f"point {point}: {shown}")
    assert end_state(answered.database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    answered.assert_bought_once(in_flight)


def wait_until_read(installation: Installation, *processes: ForkServerProcess) -> ForkServerProcess:
    """Wait until the brands of answers are being read; return the process that reads them."""
    by_id = {process.pid: process for process in processes}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process_id in installation.being_read().values():
            return by_id[process_id]
        time.sleep(0.002)
    raise AssertionError("Nobody reads brands.")


@pytest.mark.parametrize("_round", range(CHAOS_ROUNDS))
async def test_claims_of_a_killed_child_are_taken_over_at_once(answered: Installation, _round: int) -> None:
    processes = [answered.start_child(name) for name in ORGS]
    victim = wait_until_read(answered, *processes)
    victim.kill()
    victim.join(20)
    orphaned = {run_id for run_id, process_id in answered.being_read().items() if process_id == victim.pid}
    begun = time.monotonic()
    others = [process for process in processes if process is not victim]
    assert exit_codes(*others, within_seconds=TAKEOVER_SECONDS) == [0, 0]
    print(f"{len(orphaned)} claims left, taken over and done in {time.monotonic() - begun:.1f} s")
    assert value(answered.database, "SELECT count(read_at) FROM brand_readings") == ANSWERS
    await answered.finish_children(ORGS[processes.index(victim)])
    assert end_state(answered.database) == undisturbed(ANSWERS, len(ORGS), shared=True)
    answered.assert_bought_once(len(orphaned))


def test_a_child_in_two_processes_at_once_reads_and_charges_once(answered: Installation) -> None:
    assert exit_codes(answered.start_child(ORGS[0]), answered.start_child(ORGS[0])) == [0, 0]
    assert end_state(answered.database) == undisturbed(ANSWERS, 1, shared=True)
    answered.assert_bought_once()
    assert answered.calls()["mention"] == value(answered.database, JUDGED)


def test_a_child_that_slept_through_its_lease_does_nothing_more(answered: Installation) -> None:
    answered.settings = answered.settings.model_copy(update={"lease_seconds": 1.0})
    sleeper = answered.start_child(ORGS[0])
    wait_until_read(answered, sleeper)
    stop_outside_transactions(answered.database, sleeper)
    # the claims of a stopped process lapse, like its lease; the test does not wait a minute for them
    execute(answered.database, "UPDATE brand_readings SET expires_at = now()")
    assert exit_codes(answered.start_child(ORGS[0])) == [0]
    after = everything(answered.database)
    assert sleeper.pid is not None
    os.kill(sleeper.pid, signal.SIGCONT)
    assert exit_codes(sleeper) == [LEASE_LOST]
    assert everything(answered.database) == after
    assert end_state(answered.database) == undisturbed(ANSWERS, 1, shared=True)


def stop_outside_transactions(database: Database, process: ForkServerProcess) -> None:
    """Stop a process where it holds no row locks: those would end with its connection only."""
    assert process.pid is not None
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        if not value(database, IN_TRANSACTION):
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.01)


def everything(database: Database) -> list[Any]:
    """Return every row that reading and charging writes, the costs of calls aside: those are paid in any case."""
    tables = ("org_evals", "brand_readings", "answer_brands", "partner_usage_ledger", "credit_holds", "credit_balances")
    return [sorted(map(str, rows(database, f"SELECT * FROM {table}"))) for table in tables]
