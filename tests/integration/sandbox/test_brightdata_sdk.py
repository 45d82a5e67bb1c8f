"""The official brightdata-sdk against the sandbox; only its addresses are replaced."""

from __future__ import annotations

import pytest
from brightdata.core.engine import AsyncEngine
from brightdata.scrapers.api_client import DatasetAPIClient
from brightdata.scrapers.chatgpt import ChatGPTScraper
from brightdata.scrapers.perplexity import PerplexityScraper

from sandbox.server import RunningSandbox
from tests.support.vendor import DATASETS, NORTHWIND, inputs

KEY = "sandbox-key-0123456789"
QUESTIONS = NORTHWIND["questions"]


@pytest.fixture(autouse=True)
def _point_the_sdk_at_the_sandbox(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    base = f"{sandbox.url}/datasets/v3"
    for name, path in (("TRIGGER_URL", "trigger"), ("STATUS_URL", "progress"), ("RESULT_URL", "snapshot")):
        monkeypatch.setattr(DatasetAPIClient, name, f"{base}/{path}")


async def test_the_chatgpt_scraper_gets_an_answer_for_every_prompt() -> None:
    async with AsyncEngine(KEY) as engine:
        result = await ChatGPTScraper(bearer_token=KEY, engine=engine).prompts(
            QUESTIONS[:3], countries=["us", "ca", "de"], web_searches=[True, True, True]
        )
    assert result.success, result.error
    assert [record["country"] for record in result.data] == ["US", "CA", "DE"]
    assert all("answer_text_markdown" in record for record in result.data)


async def test_the_perplexity_scraper_gets_its_answers() -> None:
    async with AsyncEngine(KEY) as engine:
        result = await PerplexityScraper(bearer_token=KEY, engine=engine).search(
            prompt=QUESTIONS[:2], country=["US", "GB"]
        )
    assert result.success, result.error
    assert all(record["answer_html"] for record in result.data)


async def test_gemini_which_the_sdk_has_no_scraper_for_works_through_its_client() -> None:
    async with AsyncEngine(KEY) as engine:
        client = DatasetAPIClient(engine)
        snapshot_id = await client.trigger(inputs("gemini", 2), DATASETS["gemini"])
        assert snapshot_id is not None
        assert await client.get_status(snapshot_id) == "ready"
        assert len(await client.fetch_result(snapshot_id)) == 2


async def test_a_refused_country_reaches_the_caller_of_the_sdk_by_name() -> None:
    async with AsyncEngine(KEY) as engine:
        result = await ChatGPTScraper(bearer_token=KEY, engine=engine).prompt(QUESTIONS[0], country="xx")
    assert not result.success
    assert "Country XX is not supported" in str(result.error)
