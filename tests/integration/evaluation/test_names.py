from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.scripted_llm import ScriptedLlm, completion, scripted_llm
from visibility.domain import LlmCall
from visibility.errors import UnusableReply
from visibility.llm.client import LlmClient
from visibility.names import name_variations, org_key
from visibility.settings import LlmSettings

WEBSITES = ("https://www.maplecommunity.example",)


def variations(
    url: str, name: str = "Maple Community Credit Union", websites: tuple[str, ...] = WEBSITES
) -> tuple[list[str], LlmCall]:
    async def run() -> tuple[list[str], LlmCall]:
        async with LlmClient(LlmSettings(openai_api_key="k", openai_base_url=f"{url}/v1")) as client:
            return await name_variations(client, name, websites)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with serve_in_thread(latency=False) as running:
        yield running


def test_the_exact_name_comes_first_and_the_call_is_accounted_for(sandbox: RunningSandbox) -> None:
    names, call = variations(sandbox.url)
    assert names[0] == "Maple Community Credit Union"
    assert {"maplecommunity", "MCCU"} <= set(names)
    assert (call.purpose, call.model) == ("names", "gpt-6-luna")
    assert call.cost_usd > Decimal(0)


def reply(*names: str) -> ScriptedLlm:
    with scripted_llm(completion({"variations": list(names)})) as llm:
        return llm


def test_generic_words_urls_and_repetitions_of_the_llm_are_dropped() -> None:
    llm = reply("community", "Credit Union", "https://x.example", "a@b.example", "M", "", "MAPLE CU", "Maple CU")
    names, _ = variations(llm.url)
    assert "MAPLE CU" in names
    assert not {"community", "Credit Union", "https://x.example", "a@b.example", "M", "", "Maple CU"} & set(names)


def test_at_most_twenty_five_names_of_the_llm_are_used() -> None:
    llm = reply(*(f"Maple Branch {number}" for number in range(40)))
    names, _ = variations(llm.url)
    assert sum(name.startswith("Maple Branch") for name in names) == 25


def test_the_core_is_there_even_when_the_llm_adds_nothing() -> None:
    names, _ = variations(reply().url, "Sun-Life Inc", ("https://sunlife.example",))
    assert {"Sun-Life Inc", "Sun-Life", "Sun Life", "SunLife"} <= set(names)


def test_a_reply_that_breaks_the_schema_is_an_error_with_its_call() -> None:
    with scripted_llm(completion({"names": []})) as llm, pytest.raises(UnusableReply) as caught:
        variations(llm.url)
    assert caught.value.call.purpose == "names"


def test_names_of_the_sandbox_do_not_serve_a_real_evaluation() -> None:
    keys = {org_key("Maple", [], llm) for llm in ("gpt-6-luna", "sandbox gpt-6-luna", "gpt-5.4-nano")}
    assert len(keys) == 3


def test_another_name_or_website_is_another_key() -> None:
    key = org_key("Maple", ["https://a.example", "https://b.example"])
    assert key == org_key("Maple", ["https://b.example", "https://a.example"])
    assert len({key, org_key("Mapel", ["https://a.example", "https://b.example"]), org_key("Maple", [])}) == 3
