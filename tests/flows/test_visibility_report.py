"""The visibility report as a person gets it: from the command, in the Prefect UI, in a folder or in S3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK, temporary_settings
from sqlalchemy import text

from blocks.aws import reports_bucket, results_block
from flows.report_command import report_on_visibility
from flows.visibility_report import visibility_report
from tests.support.command import Command, assert_refused, command_of
from tests.support.histories import days_from, write_history
from tests.support.moto_server import REGION, Moto, serving_moto
from tests.support.seed import seed_network, seed_org
from visibility.errors import ConfigurationError, InvalidInput
from visibility.store.database import Database

FILES = {
    "report.html", "figures.csv", "figures.parquet", "changes.csv", "changes.parquet", "findings.csv",
    "findings.parquet",
}  # fmt: skip


@pytest.fixture
def org_id(database: Database) -> UUID:
    """An org that was asked on the last three days."""
    first = datetime.now(UTC).date() - timedelta(days=3)
    with database.transaction() as session:
        org_id = seed_org(session, questions=4)
        write_history(session, "org", org_id, {org_id: "Northwind Heating"}, days_from(first, 3))
    return org_id


@pytest.fixture
def command(database_url: str, prefect: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    run = command_of(report_on_visibility, monkeypatch, tmp_path)
    return lambda *arguments: run(*arguments, DATABASE_URL=database_url, PREFECT_API_URL=prefect)


async def artifacts_of(flow_run_id: str) -> dict[str | None, Artifact]:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
    async with get_client() as client:
        return {artifact.key: artifact for artifact in await client.read_artifacts(artifact_filter=of_run)}


def test_the_command_writes_the_report_and_shows_it_in_the_ui(command: Command, org_id: UUID, tmp_path: Path):
    ended = command("--org-id", org_id, "--json")
    assert ended.status == 0, ended.errors
    report = json.loads(ended.output)
    folder = Path(report["place"])
    assert folder.parent.parent == tmp_path / "data" / "reports"
    assert {path.name for path in folder.iterdir()} == FILES == set(report["files"])
    assert not list(folder.parent.parent.glob(".*")), "nothing unfinished stays"
    assert (date.fromisoformat(report["until"]) - date.fromisoformat(report["since"])).days == 29
    assert report["dates"] == 3 and report["figures"]["mention_rate"]["n"] == report["evaluated"]
    shown = asyncio.run(artifacts_of(report["flow_run_id"]))
    assert folder.as_uri() in str(shown["visibility-report-page"].data)
    assert "Mention rate" in str(shown["visibility-report"].data)


def test_a_page_in_the_terminal_names_the_figures_and_the_files(command: Command, org_id: UUID, tmp_path: Path):
    ended = command("--org-id", org_id, "--output", tmp_path / "mine")
    assert ended.status == 0, ended.errors
    assert "Mention rate" in ended.output and "Northwind Heating" in ended.output
    assert f"page: file://{tmp_path / 'mine'}" in ended.output
    again = command("--org-id", org_id, "--output", tmp_path / "mine", "--json")
    assert len(list((tmp_path / "mine").glob("*/*/report.html"))) == 2, "an older report stays as it was"
    assert json.loads(again.output)["owner_name"] == "Northwind Heating"


def test_simulated_answers_are_reported_only_on_request(command: Command, database: Database, org_id: UUID):
    with database.transaction() as session:
        session.execute(text("UPDATE evaluation_batches SET sandbox = true"))
    real, simulated = (json.loads(command("--org-id", org_id, "--json", *more).output) for more in ([], ["--sandbox"]))
    assert (real["expected"], real["other_origin"], real["sandbox"]) == (0, 72, False)
    assert (simulated["expected"], simulated["other_origin"], simulated["sandbox"]) == (72, 0, True)
    assert "SIMULATED" in (Path(simulated["place"]) / "report.html").read_text()
    ended = command("--org-id", org_id)
    said = " ".join(ended.output.split())
    assert ended.status == 0 and "nothing was asked in this window · 72 simulated runs are left out" in said


def test_a_network_is_reported_with_its_members(command: Command, database: Database):
    with database.transaction() as session:
        network_id = seed_network(session)
        members = {
            seed_org(
                session, name=name, questions=0, models=(), locations=(), balance=None, network_id=network_id
            ): name
            for name in ("Alpha", "Beta")
        }
        write_history(session, "network", network_id, members, days_from(date(2026, 3, 1), 2))
    ended = command("--network-id", network_id, "--since", "2026-03-01", "--until", "2026-03-31", "--json")
    report = json.loads(ended.output)
    assert (report["scope"], report["members"], report["dates"]) == ("network", 2, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Name the organisation or the network"]),
        (["--org-id", uuid4(), "--network-id", uuid4()], ["not both"]),
        (["--org-id", uuid4(), "--since", "2026-11-02", "--until", "2026-11-01"], ["since 2026-11-02, until"]),
        (["--org-id", "6f6c1d1e-0000-4000-8000-00000000ffff"], ["There is no organisation 6f6c1d1e"]),
        (["--network-id", "6f6c1d1e-0000-4000-8000-00000000ffff"], ["There is no network 6f6c1d1e"]),
        (["--org-id", uuid4(), "--output", __file__], ["Reports cannot be written to"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(command: Command, arguments: list[Any], words: list[str]):
    assert_refused(command(*arguments), *words)


async def test_the_flow_refuses_what_the_command_refuses(
    database_url: str, prefect: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DATABASE_URL", database_url)
    for wrong in ({}, {"org_id": uuid4(), "network_id": uuid4()}, {"org_id": uuid4()}):
        with pytest.raises(InvalidInput):
            await visibility_report(**wrong)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with serving_moto() as served:
        yield served


@pytest.fixture
async def bucket(moto: Moto, prefect: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket for results, as bootstrap saves its block, and Prefect told to keep results there."""
    for name, value in {**moto.environment, "DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    name = f"reports-{uuid4().hex[:8]}"
    moto.client("s3").create_bucket(Bucket=name)
    await results_block(name, REGION).save(name)
    moto.refuses = lambda call: None
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: f"s3-bucket/{name}"}):
        yield name


async def test_on_aws_the_report_goes_beside_the_results_and_the_page_comes_last(moto: Moto, bucket: str, org_id: UUID):
    report = await visibility_report(org_id=org_id)
    objects = {key: body for key, body in moto.objects(bucket).items() if not key.startswith("results/")}
    assert {key.rpartition("/")[2] for key in objects} == FILES
    assert all(f"s3://{bucket}/{key}".startswith(f"{report.place}/") for key in objects)
    assert report.place.startswith(f"s3://{bucket}/reports/northwind-heating-")
    console = f"https://{REGION}.console.aws.amazon.com/s3/object/{bucket}?region={REGION}&prefix=reports%2F"
    assert report.link.startswith(console)
    page = f"{report.place.removeprefix(f's3://{bucket}/')}/report.html"
    head = moto.client("s3").head_object(Bucket=bucket, Key=page)
    assert head["ContentType"] == "text/html; charset=utf-8"
    puts = [call for call in moto.calls if call.startswith("PUT ") and "reports/" in call]
    assert puts[-1].endswith("report.html")


async def test_a_bucket_that_refuses_is_one_sentence_without_the_account(moto: Moto, bucket: str, org_id: UUID):
    moto.refuses = lambda call: "AccessDenied" if call.startswith("PUT ") and "reports/" in call else None
    with pytest.raises(ConfigurationError, match=r"needs s3:PutObject") as refused:
        await visibility_report(org_id=org_id)
    assert "123456789012" not in str(refused.value)
    assert not [key for key in moto.objects(bucket) if key.startswith("reports/")]


async def test_a_folder_that_is_asked_for_wins_over_the_bucket(moto: Moto, bucket: str, org_id: UUID, tmp_path: Path):
    report = await visibility_report(org_id=org_id, output=tmp_path / "here")
    assert Path(report.place).is_relative_to(tmp_path / "here")
    assert not [key for key in moto.objects(bucket) if key.startswith("reports/")]


async def test_a_block_that_is_not_there_is_named(prefect: str):
    with (
        temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "s3-bucket/nowhere"}),
        pytest.raises(ConfigurationError, match="There is no block s3-bucket/nowhere"),
    ):
        await reports_bucket()
