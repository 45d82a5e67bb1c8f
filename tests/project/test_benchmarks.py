"""The benchmarks run and count what they say they count; no figure is compared with a budget here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from benchmarks import attribution, bare, capacity, full_night, history, pages, past, report, shards, tokens, town
from benchmarks.__main__ import PARTS, chosen_parts
from benchmarks.critical_path import Path as CriticalPath
from benchmarks.network_product import llm_time, recorded
from benchmarks.plan import Plan
from benchmarks.product import counting
from benchmarks.report import Figure
from benchmarks.shards import Shards
from sandbox.server import serve_in_thread
from visibility.domain import OrgProfile, StoredAnswer, expected_runs
from visibility.errors import ConfigurationError
from visibility.llm.client import LlmClient
from visibility.markdown_blocks import split_blocks
from visibility.names import name_variations
from visibility.reading import AnswerReading, EvaluationReading, open_answer
from visibility.settings import Settings
from visibility.store.database import Database
from visibility.store.networks import find_missing
from visibility.store.orgs import load_org

ROOT = Path(__file__).parents[2]
PROFILE = OrgProfile(uuid4(), "Northwind Heating", ("Northwind Heating",), ("https://northwind.example",))


def test_what_the_bare_program_leaves_passes_the_checks_of_a_night(database: Database, database_url: str) -> None:
    orgs, day = town.build(0, 3), date(2026, 1, 2)
    with database.transaction() as session:
        town.seed(session, orgs)
    with serve_in_thread(latency=False) as sandbox:
        town.tell(sandbox.url, orgs.orgs)
        settings = Settings(database_url=database_url).for_sandbox(sandbox.url, 200)
        usages = asyncio.run(bare.measure(settings, orgs.part(1, 3), date(2026, 1, 1), runs=1))
    began = datetime(2026, 1, 1, tzinfo=UTC)
    with database.transaction() as session:
        found = full_night.look(session, orgs.part(1, 3), day, began)
        session.execute(
            text("DELETE FROM partner_usage_ledger WHERE ctid IN (SELECT min(ctid) FROM partner_usage_ledger)")
        )
        broken = full_night.look(session, orgs.org_ids, day, began)
    assert [usage.cpu_seconds > 0 for usage in usages] == [True]
    assert (found["expected"], found["answered"], found["jobs"]) == (120, 120, 3)  # two orgs in common jobs
    wrong = ("not_charged", "charged_again", "balances_off", "holds")
    assert [found[name] for name in wrong] == [0, 0, 0, 0]
    assert broken["balances_off"] == 1


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
    text = "**Trane** is known. Others are not.\n\n" * 200
    split_blocks(text)  # what it imports is nobody's
    with attribution.attributed() as spent:
        for _ in range(20):
            split_blocks(text)
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
        lacked = find_missing(session, made.org_id, made.network_id, date(2026, 3, 1), past.VERSION, sandbox=True)
        newcomer = find_missing(session, made.newcomer_id, made.network_id, today, past.VERSION, sandbox=True)
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


def test_figures_are_measured_with_those_they_come_with_and_all_when_none_is_named() -> None:
    assert [part.numbers for part in chosen_parts(["P8", "HISTORY"])] == [("P7", "P8", "P13"), ("P14", "HISTORY")]
    assert chosen_parts([]) == list(PARTS)


def test_a_missed_budget_is_named_in_the_last_line(tmp_path: Path) -> None:
    figures = [
        Figure("P1", "CPU", 2.0, 1.3),
        Figure("P7", "calls", 60, 60),
        Figure("P1", "part", 9.0),
        Figure("P3", "orgs", 3000, 2500, at_least=True),
        Figure("P3", "fewer orgs", 2400, 2500, at_least=True),
    ]
    assert report.conclusion(figures) == "2 of 4 budgets kept; missed: P1 (CPU), P3 (fewer orgs)."
    report.show(figures)
    path = report.new_file(tmp_path)
    report.write(figures, path, report.facts_now(Plan()))
    written = json.loads(path.read_text())
    assert written["machine"]["cores"] and len(written["figures"]) == 5
    assert pages.budgets(written).splitlines()[2:4] == [
        "| P1 | CPU | ≤ 1.3 | 2 | 1 | **missed** |",
        "| P3 | orgs | ≥ 2,500 | 3,000 | 1 |  |",
    ]


def test_every_org_of_a_town_has_a_name_of_its_own_and_sixty_answers(database: Database) -> None:
    names = {org["name"] for org in town.build(0, town.MOST_ORGS).orgs}
    some = town.build(1500, 2)
    with database.transaction() as session:
        town.seed(session, some)
        org = load_org(session, some.org_ids[0])
    assert len(names) == town.MOST_ORGS
    assert len(expected_runs(org)) == town.ANSWERS_PER_ORG == 60


def test_a_nights_time_scale_leaves_what_waits_for_our_own_cpu_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    night = Shards("http://sandbox", (), (), date(2026, 1, 1), processes=2, time_scale=30)
    for name, value in shards.night_settings(night).items():
        monkeypatch.setenv(name, value)
    settings = Settings().for_sandbox(night.sandbox_url, night.time_scale)
    assert (settings.llm.llm_timeout_seconds, settings.brightdata.request_timeout_seconds) == (60, 60)
    assert (settings.brightdata.linger_seconds, settings.brightdata.max_inputs_per_job) == (30, 500)
    assert settings.brightdata.poll_seconds == pytest.approx(1 / 3)


def test_the_plan_on_paper_follows_from_what_was_measured() -> None:
    values = dict.fromkeys(capacity.FIGURES, 1.0) | {"jobs_of_night": 180, "orgs_of_night": 1500, "worker_cpu": 0.6}
    figures = [
        {"number": number, "what": f"{start}…{end}", "value": values[name]}
        for name, (number, start, end) in capacity.FIGURES.items()
    ]
    night = capacity.Night(30_000, capacity.measured(figures))
    assert (night.jobs, night.submission_minutes, night.shards) == (3600, 360, 300)
    assert night.container_minutes == pytest.approx(1 + 61 / 60 + 10)
    assert night.at_a_time == 11  # 10 submissions a minute ÷ 12 jobs a shard × 12.02 minutes
    with pytest.raises(LookupError, match="0 figures P1"):
        capacity.measured(figures[1:])


KEPT = sorted(pages.KEPT.glob("*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_results_that_are_kept_have_every_figure(path: Path) -> None:
    figures = pages.figures_of(read_json(path))
    budgeted = {figure.number for figure in figures if figure.budget is not None and figure.value is not None}
    assert {f"P{number}" for number in range(1, 15)} <= budgeted


@pytest.mark.skipif(not KEPT, reason="no results are kept yet")
def test_the_documents_show_the_newest_results_that_are_kept() -> None:
    results = read_json(KEPT[-1])
    assert pages.budgets(results) in (ROOT / "docs" / "performance.md").read_text()
    assert capacity.tables(capacity.measured(results["figures"])) in capacity.PAGE.read_text()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_command_explains_itself() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--quick" in shown and "docs/performance.md" in shown
