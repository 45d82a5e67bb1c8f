"""The load report as a person gets it: from the command, without any key, and in the Prefect UI."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact

from flows.load_command import report_load_of_the_week
from flows.load_report import load_report
from sandbox.server import RunningSandbox
from tests.support.command import command_of
from tests.support.seed import seed_network, seed_org
from tests.support.slack import alerts
from visibility.llm import catalog
from visibility.llm.catalog import catalogue
from visibility.store.database import Database


async def artifacts_of(flow_run_id: str) -> dict[str | None, Artifact]:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
    async with get_client() as client:
        return {artifact.key: artifact for artifact in await client.read_artifacts(artifact_filter=of_run)}


def test_the_report_names_what_to_move_needs_no_key_and_shows_it_in_the_ui(
    database: Database, database_url: str, prefect: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with database.transaction() as session:
        network_id = seed_network(session, models=[], days=range(7))  # 3 questions of 3 models
        for number in range(7):
            seed_org(session, name=f"Org {number}", questions=1, models=["chatgpt"], locations=(), days=[0],
                     network_id=network_id)  # fmt: skip
    command = command_of(report_load_of_the_week, monkeypatch, tmp_path)
    ended = command("--json", DATABASE_URL=database_url, PREFECT_API_URL=prefect)
    assert ended.status == 0, ended.errors
    report = json.loads(ended.output)
    assert [day["answers"] for day in report["days"]] == [16, 9, 9, 9, 9, 9, 9]
    assert report["days"][1]["charges_usd"] == "3.150000"  # 9 answers for 7 members at 0.05
    assert {move["from_day"] for move in report["moves"]} == {"Monday"}
    assert [move["name"] for move in report["moves"]] == ["Org 0", "Org 1", "Org 2", "Org 3"]
    assert report["balanced_after"]
    shown = asyncio.run(artifacts_of(report["flow_run_id"]))
    assert "Move 4 schedules with 4 answers" in str(shown["load-report"].data)
    assert len(json.loads(str(shown["load-report-weekdays"].data))) == 7


async def test_once_a_week_people_are_told_of_a_model_that_is_shut_down_soon(
    database_url: str, slack: RunningSandbox, monkeypatch: pytest.MonkeyPatch
):
    soon = datetime.now(UTC).date() + timedelta(days=30)
    ending = replace(catalog.catalogue()["gpt-4.1"], shutdown=soon)
    monkeypatch.setattr(catalog, "catalogue", lambda: {"gpt-6-luna": catalogue()["gpt-6-luna"], "gpt-4.1": ending})
    monkeypatch.setenv("DATABASE_URL", database_url)
    await load_report()
    assert alerts(slack) == []
    monkeypatch.setenv("NAMES_MODEL", "gpt-4.1")
    await load_report()
    [alert] = alerts(slack)
    assert f"The model gpt-4.1 is shut down on {soon}, in 30 days." in alert
