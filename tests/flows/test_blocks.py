"""Blocks: what a person registers, fills in and names by VISIBILITY_BLOCKS."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.blocks.core import Block
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK, PREFECT_HOME, temporary_settings
from prefect_aws import AwsCredentials, AwsSecret, S3Bucket
from prefect_slack import SlackWebhook
from pydantic import SecretStr
from slugify import slugify

import blocks
from blocks import AzureOpenAICredentials, BrightDataCredentials, OpenAICredentials, ResultsDatabase
from blocks.configuration import settings_from_blocks
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.prefect_rows import rows_since
from tests.support.secrets import assert_nothing_secret
from tests.support.seed import QUESTIONS, seed_org
from visibility.errors import ConfigurationError
from visibility.names import name_variations
from visibility.settings import Settings
from visibility.store.database import Database

BLOCKS: list[type[Block]] = [block for _, block in inspect.getmembers(blocks, Block.is_block_class)]
DAY = date(2026, 11, 23)
KEY = "sk-live-0123456789"


@pytest.fixture
def org_id(database: Database, sandbox: RunningSandbox) -> UUID:
    websites = ("https://northwindheating.example",)
    sandbox.learn({"name": "Northwind Heating", "websites": list(websites), "questions": list(QUESTIONS)})
    with database.transaction() as session:
        return seed_org(session, websites=websites, questions=2)


@pytest.fixture
def block_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A document name of this test alone, set as VISIBILITY_BLOCKS, with the waits of a sandbox without latency."""
    name = f"set-{uuid4().hex[:12]}"
    monkeypatch.setenv("VISIBILITY_BLOCKS", name)
    monkeypatch.setenv("VISIBILITY_SANDBOX", "true")
    monkeypatch.setenv("BRIGHTDATA_POLL_SECONDS", "0.05")
    monkeypatch.setenv("BRIGHTDATA_SUBMISSIONS_PER_MINUTE", "1000")
    return name


def test_every_block_of_the_package_is_here() -> None:
    assert {block.__name__ for block in BLOCKS} == set(blocks.__all__)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_explains_itself_and_each_of_its_fields(block: type[Block]) -> None:
    assert (block.get_description() or "").rstrip().endswith(".")
    assert f"import {block.__name__}" in (block.get_code_example() or "")
    for name, field in block.model_fields.items():
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize("block", BLOCKS)
def test_a_key_is_a_secret_and_never_shown(block: type[Block]) -> None:
    secret = {name for name, field in block.model_fields.items() if field.annotation is SecretStr}
    assert secret == ({"url"} if block is ResultsDatabase else {"api_key"})
    open_values = {"endpoint": "https://x.example", "deployment": "x"} if block is AzureOpenAICredentials else {}
    built = block(**open_values, **dict.fromkeys(secret, KEY))
    assert KEY not in f"{built!r} {built} {built.model_dump_json()}"


@pytest.mark.slow
async def test_all_blocks_register_by_the_command_line_under_names_of_our_own(prefect: str) -> None:
    async with get_client() as client:
        before = {kind.slug: kind.name for kind in await client.read_block_types()}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "block", "register", "-m", "blocks"]
    done = subprocess.run(
        command, env={**os.environ, "PREFECT_API_URL": prefect}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    async with get_client() as client:
        after = {kind.slug: kind for kind in await client.read_block_types()}
    for block in BLOCKS:
        slug = block.get_block_type_slug()
        assert slug == slugify(block.get_block_type_name()) and slug.startswith("senso-")
        assert before.get(slug, block.get_block_type_name()) == block.get_block_type_name()
        assert after[slug].description and after[slug].code_example


SAVED: dict[str, Block] = {
    "bright data": BrightDataCredentials(api_key=SecretStr(KEY)),
    "openai": OpenAICredentials(api_key=SecretStr(KEY)),
    "azure": AzureOpenAICredentials(endpoint="https://x.example", deployment="x", api_key=SecretStr(KEY)),
    "database": ResultsDatabase(url=SecretStr(f"postgresql://u:{KEY}@host/name")),
    "aws secret": AwsSecret(
        secret_name="senso/app", aws_credentials=AwsCredentials(aws_secret_access_key=SecretStr(KEY))
    ),
    "s3": S3Bucket(bucket_name="bucket", credentials=AwsCredentials(aws_secret_access_key=SecretStr(KEY))),
    "slack": SlackWebhook(url=SecretStr(f"https://hooks.slack.com/services/{KEY}")),
}


@pytest.mark.parametrize("kind", SAVED)
async def test_a_saved_key_is_masked_by_the_api_and_encrypted_in_the_database(prefect: str, kind: str) -> None:
    block, name, started = SAVED[kind], f"secret-{uuid4().hex[:12]}", datetime.now(UTC)
    await block.save(name)
    slug = block.get_block_type_slug()
    async with get_client() as client:
        shown = await client.read_block_document_by_name(name, slug, include_secrets=False)
        whole = await client.read_block_document_by_name(name, slug, include_secrets=True)
    stored = rows_since(started)["block_document"]
    assert name in stored and KEY in whole.model_dump_json()
    assert_nothing_secret({"the API": shown.model_dump_json(), "the database": stored, "a log": repr(block)}, [KEY])


async def test_the_client_of_a_bright_data_block_reaches_the_vendor(sandbox: RunningSandbox) -> None:
    block = BrightDataCredentials(api_key=SecretStr("key"), base_url=f"{sandbox.url}/datasets/v3")
    client = block.get_client()
    try:
        assert await client.snapshots(block.settings().chatgpt_dataset_id, datetime.now(UTC)) == []
    finally:
        await client.close()


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_the_client_of_an_llm_block_reads(sandbox: RunningSandbox, kind: str) -> None:
    block: OpenAICredentials | AzureOpenAICredentials
    if kind == "openai":
        block = OpenAICredentials(api_key=SecretStr("key"), base_url=f"{sandbox.url}/v1")
    else:
        block = AzureOpenAICredentials(endpoint=sandbox.url, api_key=SecretStr("key"), deployment="reader")
    client = block.get_client()
    try:
        names, call = await name_variations(client, "Northwind Heating", ("https://northwindheating.example",))
    finally:
        await client.close()
    assert "Northwind Heating" in names and call.output_tokens > 0


def test_the_client_of_a_database_block_is_a_bounded_pool(database_url: str) -> None:
    database = ResultsDatabase(url=SecretStr(database_url), pool_size=3).get_client()
    try:
        database.check()
        assert database.engine.pool.size() == 3  # type: ignore[attr-defined]
    finally:
        database.close()


def test_an_openai_block_wins_over_half_an_azure_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://left-over.example")
    block = OpenAICredentials(api_key=SecretStr("key"))
    assert block.get_client()._endpoint.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_a_flow_completes_with_keys_from_blocks_alone(
    prefect: str, database_url: str, sandbox: RunningSandbox, org_id: UUID, block_name: str, kind: str
) -> None:
    await save_blocks(block_name, sandbox.url, database_url, kind)
    summary = await org_evaluation(org_id, run_date=DAY)
    assert (summary.status, summary.answered, summary.evaluated) == ("completed", 12, 12)
    assert sandbox.accounting()["llm"]["calls"] > 0


async def save_blocks(name: str, sandbox_url: str, database_url: str, kind: str) -> None:
    await BrightDataCredentials(api_key=SecretStr("key"), base_url=f"{sandbox_url}/datasets/v3").save(name)
    await ResultsDatabase(url=SecretStr(database_url), pool_size=4).save(name)
    if kind == "azure":
        await AzureOpenAICredentials(endpoint=sandbox_url, api_key=SecretStr("key"), deployment="reader").save(name)
    else:
        await OpenAICredentials(api_key=SecretStr("key"), base_url=f"{sandbox_url}/v1").save(name)


async def test_what_has_no_block_comes_from_the_environment(
    prefect: str, block_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await BrightDataCredentials(api_key=SecretStr("from the block")).save(block_name)
    monkeypatch.setenv("OPENAI_API_KEY", "from the environment")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/visibility")
    settings = await settings_from_blocks()
    assert settings.brightdata.api_key == SecretStr("from the block")
    assert settings.llm.openai_api_key == SecretStr("from the environment")
    assert settings.database_url == "postgresql://somewhere/visibility"


async def test_a_key_in_neither_block_nor_environment_is_one_sentence_that_names_both(
    prefect: str, block_name: str
) -> None:
    await OpenAICredentials(api_key=SecretStr("key")).save(block_name)
    with pytest.raises(ConfigurationError) as refused:
        await settings_from_blocks()
    assert "BRIGHTDATA_API_KEY is not set" in str(refused.value)
    assert f"senso-bright-data-credentials/{block_name}" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_block_of_an_older_version_is_named_with_its_wrong_field(prefect: str, block_name: str) -> None:
    await BrightDataCredentials.aregister_type_and_schema()
    async with get_client() as client:
        kind = await client.read_block_type_by_slug(BrightDataCredentials.get_block_type_slug())
        schema_id = BrightDataCredentials._block_schema_id
        assert schema_id is not None
        await client.create_block_document(
            BlockDocumentCreate(
                name=block_name, block_type_id=kind.id, block_schema_id=schema_id, data={"token": "old"}
            )
        )
    with pytest.raises(ConfigurationError, match=f"{block_name} does not fit any more: api_key"):
        await settings_from_blocks()


async def test_half_an_azure_configuration_names_the_missing_half(
    prefect: str, block_name: str, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    await BrightDataCredentials(api_key=SecretStr("key")).save(block_name)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.example")
    monkeypatch.setenv("DATABASE_URL", database_url)
    with pytest.raises(ConfigurationError, match="partly configured; missing: AZURE_OPENAI_API_KEY"):
        async with resources.opened():
            pass


async def test_name_variations_are_asked_once_for_two_machines_that_share_result_storage(
    prefect: str, settings: Settings, sandbox: RunningSandbox, database: Database, tmp_path: Path
) -> None:
    storage = f"shared-{uuid4().hex[:12]}"
    await LocalFileSystem(basepath=str(tmp_path / "shared")).save(storage)
    with database.transaction() as session:
        org_id = seed_org(session, questions=1, locations=(("US", None, None),), models=("chatgpt",))
    calls = []
    for number, machine in enumerate(("first", "second")):
        homes: dict[Any, Any] = {
            PREFECT_HOME: str(tmp_path / machine),
            PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: f"local-file-system/{storage}",
        }
        with temporary_settings(homes):
            async with resources.opened(settings):
                await org_evaluation(org_id, run_date=date(2026, 11, 23 + number))
        calls.append(sandbox.accounting()["llm"]["calls"])
    assert calls[0] == 2 and calls[1] - calls[0] == 1, "one reading each, the names only once"
    assert not (tmp_path / "second" / "storage").exists()
