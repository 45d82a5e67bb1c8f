"""What the Prefect UI shows of a network and of its members, and how much work one member's flow is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
)
from sqlalchemy import event

from flows.network_org_missing import network_org_missing
from flows.network_questions import network_questions
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.league import DAY, MEMBERS, ask_only, seed_league
from tests.support.prefect_runs import task_runs
from visibility.display import show
from visibility.network_summary import NetworkOrgSummary, NetworkSummary
from visibility.settings import Settings
from visibility.store.database import Database

HOSTILE = "Evil | Bank\n## [free](http://evil.example) <script>alert(1)</script> `x` **b** \x1b[31m"
SHOWN = "Evil | Bank ## [free](http://evil.example) <script>alert(1)</script> `x` **b**  [31m"


async def published(flow_run_id: UUID) -> dict[str, list[Any]]:
    """The artifacts of a flow run by type, as the API gives them."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    assert all("SIMULATED" in str(artifact.description) for artifact in found)
    return {kind: [one for one in found if one.type == kind] for kind in ("table", "markdown", "progress")}


def cells(markdown: str, title: str) -> list[str]:
    """Return the lines of the first table of Markdown that has such a column."""
    tables = [part.splitlines() for part in markdown.split("\n\n") if part.startswith("|")]
    return next(lines for lines in tables if title in lines[0])


async def test_a_network_shows_its_leaderboard_and_progress_and_every_member_what_was_read(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox
) -> None:
    league = seed_league(database, sandbox, members=(*MEMBERS[:2], HOSTILE))
    async with resources.opened(settings):
        summary = await network_questions(league.network_id, run_date=DAY)
    assert summary.flow_run_id is not None
    found = await published(summary.flow_run_id)
    assert_leaderboard(summary, json.loads(str(found["table"][0].data)))
    assert_markdown(str(found["markdown"][0].data))
    (progress,) = found["progress"]
    assert (progress.data, progress.description) == (100.0, "members evaluated · SIMULATED (sandbox)")
    children = [child.flow_run_id for child in summary.children if child.flow_run_id]
    assert len(children) == 3
    for flow_run_id in children:
        (markdown,) = (await published(flow_run_id))["markdown"]
        assert "24 of 24 (100%)" in str(markdown.data) and "24 of 24 missing answers read" in str(markdown.data)
        assert str(markdown.data).startswith("# ") and "\n## " not in str(markdown.data)
    own, *members = await task_runs([summary.flow_run_id, *children])
    assert own <= 12 and max(members) <= 6


def assert_leaderboard(summary: NetworkSummary, rows: Sequence[dict[str, str]]) -> None:
    """Every member has its place, what was read, and every figure its n, the mention rate its interval."""
    assert {row["member"] for row in rows} == {*MEMBERS[:2], SHOWN} and len(rows) == 3
    assert [row["#"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert row["answers read"] == "24 of 24"
        assert "n=24" in row["mentioned"] and "–" in row["mentioned"]
    assert [row["mentioned"] for row in rows] == [show(one.figures["mention_rate"]) for one in summary.leaderboard]


def assert_markdown(markdown: str) -> None:
    """A hostile name is one cell of plain text; coverage is said."""
    table = cells(markdown, "member")
    assert len(table) == 2 + 3 and "coverage 100% (24 of 24 answers)" in markdown
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1, "as many cells in every row"
    (hostile,) = [line for line in table if "Evil" in line]
    for sign in "<[`*":
        assert re.search(rf"(?<!\\)\{sign}", hostile) is None, f"{sign} is not escaped: {hostile}"
    assert "\x1b" not in markdown


async def test_a_member_whose_answers_have_their_brands_costs_at_most_thirty_statements(
    prefect: str, database: Database, settings: Settings, sandbox: RunningSandbox
) -> None:
    league = seed_league(database, sandbox, members=MEMBERS[:2])
    await ask_only(settings, league)
    first, second = league.members.values()
    statements: list[str] = []
    async with resources.opened(settings) as opened:
        await evaluate(first)
        event.listen(opened.database.engine, "after_cursor_execute", lambda *args: statements.append(args[2]))
        summary = await evaluate(second)
        assert (summary.evaluated_now, summary.charges) == (24, 24)
        assert len(statements) <= 30, "\n".join(" ".join(statement.split())[:110] for statement in statements)
        statements.clear()
        assert (await evaluate(second)).found == 0
        assert len(statements) <= 12, "nothing is missing"


async def evaluate(org_id: UUID) -> NetworkOrgSummary:
    return await network_org_missing(org_id, since=DAY)
