"""The benchmarks run and count what they say they count; no figure is compared with a budget here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from benchmarks import attribution, bare, history, past, report, tokens
from benchmarks.__main__ import PARTS, chosen_parts
from benchmarks.critical_path import Path as CriticalPath
from benchmarks.network_product import llm_time, recorded
from benchmarks.product import counting
from benchmarks.report import Figure
from sandbox.server import serve_in_thread
from tests.support.seed import seed_org
from visibility.domain import OrgProfile, StoredAnswer
from visibility.errors import ConfigurationError
from visibility.llm.client import LlmClient
from visibility.markdown_blocks import split_blocks
from visibility.names import name_variations
from visibility.reading import AnswerReading, EvaluationReading, open_answer
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.networks import find_missing

ROOT = Path(__file__).parents[2]
PROFILE = OrgProfile(uuid4(), "Northwind Heating", ("Northwind Heating",), ("https://northwind.example",))


def test_the_bare_program_reads_and_charges_every_answer(database: Database, database_url: str) -> None:
    with database.transaction() as session:
        org_id = seed_org(session, questions=2, models=("chatgpt",))
    with serve_in_thread(latency=False) as sandbox:
        settings = Settings(database_url=database_url).for_sandbox(sandbox.url, 200)
        usages = asyncio.run(bare.measure(settings, org_id, date(2026, 1, 1), runs=1))
    with database.transaction() as session:
        counted = "SELECT (SELECT count(*) FROM org_evals), (SELECT count(*) FROM partner_usage_ledger)"
        assert tuple(session.execute(text(counted)).one()) == (8, 8)  # one run to warm up and one measured
    assert [usage.cpu_seconds > 0 for usage in usages] == [True]


def test_rows_sent_one_by_one_count_as_statements_each(database: Database, database_url: str) -> None:
    with counting(database_url) as counted, database.transaction() as session:
        session.execute(text("SELECT 1"))
        session.execute(text("SELECT set_config('a.b', :value, true)"), [{"value": "1"}, {"value": "2"}])
    assert counted.statements == 3


def answer(words: str) -> tuple[tokens.OpenAnswer, AnswerReading]:
    opened = open_answer(StoredAnswer(uuid4(), "Who repairs furnaces?", words, None, "chatgpt"), PROFILE)
    evaluation = EvaluationReading(
        is_mention_verified=True, mention_blocks=[1], sentiment="positive", absence_statement=False
    )
    return opened, AnswerReading(answer=1, brands=["Trane"], evaluation=evaluation if opened.names else None)


def test_an_answer_without_the_name_costs_separate_calls_for_its_brands_only() -> None:
    compared = tokens.compared(PROFILE, [answer("Northwind Heating beats Trane."), answer("Trane is known.")])
    ways = (compared.combined, compared.three_calls, compared.three_calls_where_named, compared.two_calls)
    assert [len(way) for way in ways] == [2, 6, 4, 3]
    assert compared.ratio(compared.three_calls) < 1


def test_separate_calls_are_given_each_rule_of_ours_once() -> None:
    fields = ("is_mention_verified", "mention_blocks", "sentiment")
    assert [len(tokens._evaluation_rules(field)) for field in fields] == [1, 1, 1]
    assert tokens._paragraph("brands:") and len(tokens._rules()) == 2


def test_tokens_are_those_of_the_vendors_encoding() -> None:
    assert tokens._encoding().encode_ordinary("Hello, world!") == [13225, 11, 2375, 0]


def test_cpu_is_given_to_the_component_that_uses_it() -> None:
    with attribution.attributed() as spent:
        for _ in range(20):
            split_blocks("**Trane** is known. Others are not.\n\n" * 200)
    assert not spent or max(spent, key=spent.__getitem__) == "reading and findings"


def test_our_own_work_weighs_less_when_vendors_take_their_real_time() -> None:
    path = CriticalPath(job=9.0, call=1.0, before=0.5, collecting=0.3, reading=0.2, after=0.5)
    assert path.ratio == pytest.approx(1.15)
    assert path.ratio_unscaled(10) == pytest.approx(1.06)


def index_names(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")))


def test_a_made_up_history_has_the_real_schema_and_lacks_what_it_says(database: Database, database_url: str) -> None:
    indexes, today = index_names(database), date(2026, 3, 2)
    made = past.seed(database_url, rows=240, today=today, days=2)
    with database.transaction() as session:
        lacked = find_missing(session, made.org_id, made.network_id, date(2026, 3, 1), past.VERSION, sandbox=False)
        newcomer = find_missing(session, made.newcomer_id, made.network_id, today, past.VERSION, sandbox=False)
    assert made.rows == 240
    assert index_names(database) == indexes
    assert [(batch.run_date.day, len(batch.run_ids) > 50, batch.uncharged) for batch in lacked] == [
        (1, False, past.UNCHARGED),
        (2, True, 0),
    ]
    assert [batch.run_ids for batch in newcomer] == [lacked[1].run_ids]


def test_a_history_that_the_disk_cannot_hold_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"rows of history need 1,300,000,000 GB in .* are free"):
        history.require_room(tmp_path, 10**15)


async def test_tokens_and_times_are_those_of_the_calls_that_are_made() -> None:
    with serve_in_thread(latency=False) as sandbox:
        async with LlmClient(Settings().for_sandbox(sandbox.url, 200).llm) as client:
            with recorded(client) as calls:
                await name_variations(client, "Northwind Heating", ("https://northwind.example",))
            await name_variations(client, "Not recorded", ())
        assert llm_time(sandbox.url) == (2, 0.0)
    assert [(purpose, len(used)) for purpose, used in calls.items()] == [("names", 1)]
    assert 100 < calls["names"][0][0] < 2000


def test_figures_are_measured_with_those_they_come_with_and_history_only_when_asked() -> None:
    assert [part.numbers for part in chosen_parts(["P8", "P14"])] == [PARTS[0].numbers, ("P14",)]
    assert ("P14",) not in [part.numbers for part in chosen_parts([])]


def test_a_missed_budget_is_named_in_the_last_line(tmp_path: Path) -> None:
    figures = [Figure("P1", "CPU", 2.0, 1.3), Figure("P7", "calls", 60, 60), Figure("P1", "part", 9.0)]
    assert report.conclusion(figures) == "1 of 2 budgets kept; missed: P1 (CPU)."
    assert '"cores"' in report.write(figures, tmp_path).read_text()
    report.show(figures)


def test_the_command_explains_itself() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--quick" in shown and "docs/performance.md" in shown
