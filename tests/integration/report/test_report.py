"""A report from a real Postgres: figures as computed by hand, the same bytes each time, safe whatever answers say."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID, uuid4

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support import billing
from tests.support.histories import days_from, write_history
from tests.support.readings import OWN, read_for
from tests.support.seed import seed_network, seed_org
from visibility.errors import InvalidInput
from visibility.report.content import Report
from visibility.report.summary import read_report, write_page
from visibility.store import report_findings
from visibility.store.database import Database
from visibility.store.report_sums import ReportWindow

DAY = date(2026, 11, 23)
MADE_AT = datetime(2026, 11, 30, 22, tzinfo=UTC)
NOTHING = {"questions": 0, "models": (), "locations": (), "balance": None}
FILES = ["figures.csv", "figures.parquet", "changes.csv", "changes.parquet", "findings.csv", "findings.parquet"]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>$x^$ \u202eabc"
FORMULA = '=HYPERLINK("http://evil.example";"x")'


async def made(database: Database, folder: Path, scope: str, owner: UUID, days: int = 30) -> Report:
    """Write the report on the days up to 2026-11-30 into the folder."""
    folder.mkdir(exist_ok=True)
    last = date(2026, 11, 30)
    window = ReportWindow(scope, owner, last - timedelta(days=days - 1), last, False)  # type: ignore[arg-type]
    report, files = await database.run(read_report, window, MADE_AT, folder)
    assert files == FILES
    write_page(report, folder)
    return report


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def csv_of(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


def small(session: Session) -> UUID:
    """Two questions of two models; three of four answered, ranks 1 and 3, one own citation of three."""
    org_id = seed_org(session, questions=2, models=("chatgpt", "gemini"), locations=(("US", None, None),))
    session.execute(text("UPDATE geo_questions SET tags = '{night}' WHERE question_text LIKE '%24/7%'"))
    batch_id = billing.open_batch(session, org_id, run_date=DAY)
    night, pumps = (_runs(session, batch_id, like) for like in ("%24/7%", "%pumps%"))
    session.execute(text("UPDATE question_runs SET grounded = true"))
    session.execute(
        text("UPDATE question_runs SET status = 'failed', error_code = 'timeout' WHERE question_run_id = :r"),
        {"r": pumps["gemini"]},
    )
    billing.answer(session, batch_id)
    read_for(session, night["chatgpt"], org_id, rank=1, sentiment="positive", rivals=["Acme"],
             sources=[f"{OWN}https://own.example/", "https://news.example/1"])  # fmt: skip
    read_for(session, night["gemini"], org_id, rank=3, sentiment="negative", rivals=["Acme", "Zed"])
    read_for(session, pumps["chatgpt"], org_id, rivals=["Zed"], sources=["https://news.example/2"])
    session.execute(text("UPDATE org_evals SET mention_text = 'Call Northwind.' WHERE mentioned"))
    billed = {"b": batch_id, "c": Decimal("0.0015")}
    session.execute(
        text("INSERT INTO llm_calls (purpose, model, batch_id, input_tokens, output_tokens, cost_usd, price_table, "
             "latency_ms) VALUES ('evaluate', 'gpt-6-luna', :b, 1, 1, :c, 'p', 1)"), billed,
    )  # fmt: skip
    return org_id


def _runs(session: Session, batch_id: UUID, like: str) -> dict[str, UUID]:
    rows = session.execute(
        text("SELECT model, question_run_id FROM question_runs JOIN geo_questions USING (question_id) "
             "WHERE batch_id = :b AND question_text LIKE :l"), {"b": batch_id, "l": like},
    )  # fmt: skip
    return {row.model: row.question_run_id for row in rows}


async def test_figures_are_those_computed_by_hand(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = small(session)
    report = await made(database, tmp_path / "r", "org", org_id)
    figures = {figure.name: (figure.value, figure.n) for figure in report.overall.figures()}
    assert report.overall.coverage.value == 0.75
    assert figures == {
        "mention_rate": (pytest.approx(2 / 3), 3),
        "share_of_voice_by_text": (0, 3),
        "share_of_voice_by_mentions": (pytest.approx(2 / 6), 6),
        "average_rank": (2, 2),
        "rank_weighted_visibility": (pytest.approx((1 + 0.81) / 3), 3),
        "sentiment_index": (0, 2),
        "owned_citation_rate": (pytest.approx(1 / 3), 3),
        "citation_share": (pytest.approx(1 / 3), 3),
    }
    assert report.overall.cost_per_usable_answer.value == Decimal("0.002")  # 3 × 0.0015 + 0.0015, by 3
    assert report.overall.cost_per_mention.value == Decimal("0.003")
    assert (report.failures, report.dates, report.versions) == ({"timeout": 1}, (DAY,), ("v1",))
    by_model = {one.models: one.metrics.mention_rate.value for one in report.by("model")}
    assert by_model == {("chatgpt",): 0.5, ("gemini",): 1}
    assert {one.tag: one.metrics.mention_rate.n for one in report.by("tag")} == {"night": 2, "(no tag)": 1}
    assert [(brand.name, brand.answers, brand.by_model) for brand in report.named.brands] == [
        ("Acme", 2, {"chatgpt": 1, "gemini": 1}),
        ("Zed", 2, {"chatgpt": 1, "gemini": 1}),
    ]
    assert [(one.domain, one.citations, one.own) for one in report.named.domains] == [
        ("news.example", 2, False),
        ("own.example", 1, True),
    ]
    assert [(one.model, one.text) for one in report.named.passages] == [
        ("chatgpt", "Call Northwind."),
        ("gemini", "Call Northwind."),
    ]
    assert report.changes == ()
    assert "There is one date only" in page_of(tmp_path / "r")


async def test_every_figure_on_the_page_and_in_the_exports_is_the_same(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = small(session)
    report = await made(database, tmp_path / "r", "org", org_id)
    rows = csv_of(tmp_path / "r", "figures")
    everything = rows[rows["breakdown"] == "all"].set_index("figure")
    for figure in (report.overall.coverage, *report.overall.figures()):
        row = everything.loc[figure.name]
        assert (row["value"], row["n"], row["unit"], row["coverage"]) == (figure.value, figure.n, figure.unit, 0.75)
        assert row["models"] == "chatgpt + gemini"
        assert f"{100 * figure.value:.1f}\u00a0%" in page_of(tmp_path / "r") or f"{figure.value:.2f}" in page_of(
            tmp_path / "r"
        )
    assert (everything.loc["named_and_cited", "value"], everything.loc["named_and_cited", "n"]) == (1, 3)
    assert set(rows["breakdown"]) == {
        "all", "date", "date and model", "model", "location", "question", "question and model", "tag",
    }  # fmt: skip
    assert rows[rows["value"].isna() | rows["low"].isna()]["reason"].notna().all()


async def test_the_same_data_gives_the_same_bytes_but_for_the_time(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session)
        write_history(session, "org", org_id, {org_id: "Northwind"}, days_from(date(2026, 11, 20), 4))
    for name in ("one", "two"):
        await made(database, tmp_path / name, "org", org_id)
    assert page_of(tmp_path / "one") == page_of(tmp_path / "two")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


async def test_exports_read_again_are_equal_and_complete(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session)
        write_history(session, "org", org_id, {org_id: "Northwind"}, days_from(date(2026, 11, 20), 3))
        evaluations = session.execute(text("SELECT count(*) FROM org_evals")).scalar_one()
    report = await made(database, tmp_path / "r", "org", org_id)
    for name in ("figures", "changes", "findings"):
        text_file, binary = csv_of(tmp_path / "r", name), pd.read_parquet(tmp_path / "r" / f"{name}.parquet")
        assert list(text_file) == list(binary) and len(text_file) == len(binary) > 0
        for column in binary:
            assert_same_column(text_file[column], binary[column])
    assert len(binary) == evaluations
    assert binary["mentioned"].sum() == report.overall.cells.both + report.overall.cells.named_only


def assert_same_column(one: pd.Series, other: pd.Series) -> None:
    known = other.notna()
    assert (one.notna() == known).all(), other.name
    left, right = one[known], other[known]
    if isinstance(right.iloc[0] if len(right) else None, date | Decimal | str):
        left, right = left.astype(str), right.astype(str)
        if str(other.name).endswith("_usd"):
            left, right = left.astype(float), right.astype(float)
    assert (left.to_numpy() == right.to_numpy()).all(), other.name


def test_findings_come_in_portions_however_many_there_are(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_findings, "PORTION", 7)
    with database.transaction() as session:
        org_id = seed_org(session)
        write_history(session, "org", org_id, {org_id: "Northwind"}, [DAY])
        evaluations = session.execute(text("SELECT count(*) FROM org_evals")).scalar_one()
        window = ReportWindow("org", org_id, DAY, DAY, False)
        portions = [len(portion) for portion in report_findings.stream_findings(session, window, [org_id])]
    assert set(portions[:-1]) == {7} and sum(portions) == evaluations


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts += data


async def test_hostile_texts_are_shown_and_do_nothing(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session, name=HOSTILE, questions=[HOSTILE, FORMULA], models=(HOSTILE, "chatgpt"))
        session.execute(text("UPDATE geo_questions SET tags = ARRAY[:t]"), {"t": HOSTILE})
        write_history(
            session, "org", org_id, {org_id: HOSTILE}, days_from(date(2026, 11, 20), 5), version=HOSTILE,
            passages=[HOSTILE, FORMULA], rivals=[HOSTILE, FORMULA, "+1", "-2", "@x"],
            sources=[f"https://{HOSTILE.replace('/', '')}/x"],
        )  # fmt: skip
    await made(database, tmp_path / "r", "org", org_id)
    page = Tags(page_of(tmp_path / "r"))
    assert {"script", "img", "iframe", "link", "object"}.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.texts and "\u202e" not in page.texts
    for name in ("figures", "findings"):
        rows = csv_of(tmp_path / "r", name)
        texts = rows.select_dtypes(include=["object", "string"])
        dangerous = [
            cell for column in texts for cell in texts[column].dropna() if str(cell).lstrip()[:1] in set("=+-@")
        ]
        assert dangerous == []
    findings = pd.read_parquet(tmp_path / "r" / "findings.parquet")
    assert set(findings["passages"].dropna()) == {HOSTILE, FORMULA}
    assert "'" + FORMULA in set(csv_of(tmp_path / "r", "findings")["passages"])


async def test_the_page_needs_nothing_but_itself_and_describes_its_charts(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session)
        write_history(session, "org", org_id, {org_id: "Northwind"}, days_from(date(2026, 11, 20), 5))
    await made(database, tmp_path / "r", "org", org_id)
    page = page_of(tmp_path / "r")
    addresses = set(re.findall(r'(?:src|href|xlink:href)="([^"]*)"|url\(([^)]*)\)', page))
    assert all((one or other).startswith("#") for one, other in addresses)
    assert page.count("<svg") == page.count('role="img"') == page.count("<title id=") >= 8
    ids = re.findall(r'\sid="([^"]+)"', page)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert used <= set(ids)
    assert len(ids) == len(set(ids))


async def test_a_window_without_answers_is_a_report_that_says_so(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session)
        billing.open_batch(session, org_id, run_date=DAY)
        session.execute(text("UPDATE evaluation_batches SET sandbox = true"))
    report = await made(database, tmp_path / "r", "org", org_id)
    assert report.empty and report.other_origin == 60
    page = page_of(tmp_path / "r")
    assert "Nothing was asked between 2026-11-01 and 2026-11-30" in page
    assert "60 simulated runs of the same window are left out" in page
    assert csv_of(tmp_path / "r", "findings").empty
    assert (
        csv_of(tmp_path / "r", "figures").set_index("figure").loc["mention_rate", "reason"] == "no answer was evaluated"
    )


async def test_an_unknown_owner_is_refused(database: Database, tmp_path: Path):
    for scope in ("org", "network"):
        with pytest.raises(InvalidInput, match="There is no"):
            await made(database, tmp_path / "r", scope, uuid4())


async def test_a_network_has_its_members_on_a_leaderboard_and_pairs_in_its_figures(database: Database, tmp_path: Path):
    with database.transaction() as session:
        network_id = seed_network(session, questions=3, models=("chatgpt", "gemini"))
        members = {seed_org(session, name=name, network_id=network_id, **NOTHING): name for name in ("Alpha", "Beta")}
        quiet = seed_org(session, name="Quiet", network_id=network_id, **NOTHING)
        gone = seed_org(session, name="Gone", network_id=network_id, **NOTHING)
        write_history(session, "network", network_id, {**members, gone: "Gone"}, days_from(date(2026, 11, 20), 4))
        session.execute(text("UPDATE orgs SET network_id = NULL WHERE org_id = :o"), {"o": gone})
    report = await made(database, tmp_path / "r", "network", network_id)
    assert [member.name for member in report.members][-1] == "Quiet"
    assert {member.name: member.left for member in report.members} == {
        "Alpha": False, "Beta": False, "Gone": True, "Quiet": False,
    }  # fmt: skip
    rates = [member.overall.mention_rate.value for member in report.members[:-1]]
    assert rates == sorted(rates, reverse=True)
    assert report.overall.evaluated == sum(member.overall.evaluated for member in report.members)
    assert report.overall.expected == 4 * 6
    assert report.overall.mention_rate.unit == "evaluated (answer, member) pairs"
    rows = csv_of(tmp_path / "r", "figures")
    assert set(rows["subject_kind"]) == {"network", "member"}
    assert rows[rows["subject_id"] == str(quiet)].query("figure == 'mention_rate'")["n"].tolist()[0] == 0
    page = page_of(tmp_path / "r")
    assert "Leaderboard of the members" in page and "Member: Alpha" in page and "no member any more" in page


async def test_a_network_without_members_reports_what_came_back(database: Database, tmp_path: Path):
    with database.transaction() as session:
        network_id = seed_network(session, questions=2)
        billing.answer(session, billing.open_network_batch(session, network_id, run_date=DAY))
    report = await made(database, tmp_path / "r", "network", network_id)
    assert (report.overall.answered, report.overall.evaluated) == (2, 0)
    assert "The network has no member." in page_of(tmp_path / "r")


async def test_between_two_extractor_versions_nothing_is_called_a_change(database: Database, tmp_path: Path):
    with database.transaction() as session:
        org_id = seed_org(session)
        for place, version in enumerate(("v1", "v2")):
            day = date(2026, 11, 20 + place)
            write_history(session, "org", org_id, {org_id: "Northwind"}, [day], version=version, seed=place)
    report = await made(database, tmp_path / "r", "org", org_id)
    assert {one.change.verdict for one in report.changes} == {"within noise"}
    page = page_of(tmp_path / "r")
    assert "2 extractor versions have read these answers" in page
    assert "the extractor version is not the same" in page
