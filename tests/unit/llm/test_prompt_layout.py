"""What calls share comes first, byte for byte: the vendor caches prefixes."""

from __future__ import annotations

import asyncio
import json
from itertools import takewhile
from typing import Any
from uuid import uuid4

import pytest

from tests.support.scripted_llm import completion, scripted_llm
from visibility.calls import BRANDS, MENTION, READING, CallKind, Reader
from visibility.domain import OrgProfile, StoredAnswer
from visibility.llm.client import LlmClient
from visibility.reading import open_answer
from visibility.settings import LlmSettings

ACORN = OrgProfile(uuid4(), "Acorn Bank", ("Acorn Bank", "Acorn"), ("https://acorn.example",))
BIRCH = OrgProfile(uuid4(), "Birch Bank", ("Birch Bank", "Birch"), ("https://birch.example",))


def sent(kind: CallKind[Any], *asked: tuple[OrgProfile, str, str]) -> list[dict[str, Any]]:
    """The request bodies for these orgs, questions and answers, one call each."""

    async def read(url: str) -> None:
        async with LlmClient(LlmSettings(openai_api_key="k", openai_base_url=f"{url}/v1")) as client:
            for profile, question, text in asked:
                answer = open_answer(StoredAnswer(uuid4(), question, text, None, "chatgpt"), profile)
                reader = Reader(client, kind, uuid4(), None if kind is BRANDS else profile)
                await reader.read([answer], 1, lambda *_: None)

    with scripted_llm(completion("", refusal="no")) as llm:
        asyncio.run(read(llm.url))
        return [request["body"] for request in llm.requests]


def user_text(body: dict[str, Any]) -> str:
    return str(body["messages"][1]["content"])


def shared_start(one: str, other: str) -> str:
    same = (pair[0] == pair[1] for pair in zip(one, other, strict=False))
    return one[: sum(1 for _ in takewhile(bool, same))]


@pytest.mark.parametrize("kind", [READING, BRANDS, MENTION], ids=lambda kind: kind.purpose)
def test_calls_of_different_orgs_share_prompt_and_schema_byte_for_byte(kind: CallKind[Any]) -> None:
    one, other = sent(kind, (ACORN, "Which bank?", "Acorn Bank."), (BIRCH, "Whose loans?", "Birch Bank."))
    assert list(one)[:3] == ["model", "messages", "response_format"]
    for part in (lambda body: body["messages"][0], lambda body: body["response_format"], lambda body: body["model"]):
        assert json.dumps(part(one)) == json.dumps(part(other))
    assert one["messages"][0]["role"] == "system"


@pytest.mark.parametrize("kind", [READING, MENTION], ids=lambda kind: kind.purpose)
def test_what_is_of_the_org_stands_before_what_is_of_the_answer(kind: CallKind[Any]) -> None:
    one, other, stranger = sent(
        kind,
        (ACORN, "Which bank?", "Acorn Bank is fine."),
        (ACORN, "Whose loans?", "Try Acorn Bank."),
        (BIRCH, "Which bank?", "Birch Bank is fine."),
    )
    shared = shared_start(user_text(one), user_text(other))
    assert shared.endswith('"acorn.example"]},"answers":[{"answer":1,"question":"Wh')
    assert shared_start(user_text(one), user_text(stranger)) == '{"organisation":{"name":"'
    assert one["prompt_cache_key"] == other["prompt_cache_key"] != stranger["prompt_cache_key"]
