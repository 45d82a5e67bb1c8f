from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from tests.support.scripted_llm import ScriptedLlm, Step, completion, failure, scripted_llm
from visibility.domain import LlmCall
from visibility.errors import (
    ConfigurationError,
    ItemError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
    UnusableReply,
    VisibilityError,
)
from visibility.llm.client import LlmClient
from visibility.settings import LlmSettings


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid")

    colour: str


BLUE = completion({"colour": "blue"})


def ask(llm: ScriptedLlm, times: int = 1, **settings: Any) -> Any:
    """Parse `times` at once; return the only result, or the list of results and errors."""
    values = {"openai_api_key": "sk-live-1", "openai_base_url": f"{llm.url}/v1", "llm_backoff_seconds": 0.01}

    async def run() -> Any:
        async with LlmClient(LlmSettings(**{**values, **settings})) as connected:
            model = connected.settings.evaluation_model
            calls = [connected.parse("test", model, "S", "U", Colour) for _ in range(times)]
            return await calls[0] if times == 1 else await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run())


def test_a_reply_is_parsed_and_its_call_priced_with_cached_tokens() -> None:
    with scripted_llm(completion({"colour": "blue"}, cached=400)) as llm:
        colour, call = ask(llm)
    assert colour == Colour(colour="blue")
    assert (call.input_tokens, call.cached_tokens, call.output_tokens) == (1000, 400, 100)
    assert call.cost_usd == Decimal("0.000114")
    assert (call.purpose, call.model) == ("test", "gpt-6-luna")


def test_the_request_is_strict_static_part_first_and_writes_only_that_part_to_the_cache() -> None:
    with scripted_llm(BLUE) as llm:
        ask(llm)
    (request,) = llm.requests
    body = request["body"]
    assert request["path"] == "/v1/chat/completions"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert body["prompt_cache_options"] == {"mode": "explicit"}
    assert body["reasoning_effort"] == "low"
    assert "temperature" not in body
    assert body["prompt_cache_key"] == "test"


def test_a_model_without_reasoning_gets_temperature_zero_instead() -> None:
    with scripted_llm(BLUE) as llm:
        ask(llm, evaluation_model="gpt-4.1")
    body = llm.requests[0]["body"]
    assert body["temperature"] == 0
    assert not {"reasoning_effort", "prompt_cache_options"} & set(body)
    assert body["messages"][0]["content"] == "S"


def test_azure_gets_its_path_its_key_header_and_the_deployment_as_model() -> None:
    with scripted_llm(BLUE) as llm:
        _, call = ask(
            llm, azure_openai_endpoint=llm.url, azure_openai_api_key="azure-key", azure_openai_deployment="luna-eu"
        )
    (request,) = llm.requests
    assert request["path"] == "/openai/v1/chat/completions"
    assert request["headers"]["api-key"] == "azure-key"
    assert request["body"]["model"] == "luna-eu"
    assert "prompt_cache_options" not in request["body"]
    assert call.model == "gpt-6-luna"


@pytest.mark.parametrize("step", [failure(429), failure(500), failure(503), failure(408), Step(body="{}", cut=1)])
def test_transient_failures_are_retried_and_the_one_answered_call_is_recorded(step: Step) -> None:
    with scripted_llm(step, step, BLUE) as llm:
        colour, call = ask(llm)
    assert colour.colour == "blue"
    assert isinstance(call, LlmCall)
    assert len(llm.requests) == 3


def test_a_body_that_is_cut_off_is_retried() -> None:
    with scripted_llm(Step(body=BLUE.body, cut=20), BLUE) as llm:
        assert ask(llm)[0].colour == "blue"


@pytest.mark.parametrize(
    ("step", "expected", "code"),
    [
        (failure(429, "insufficient_quota"), ProviderRefused, "llm_quota_gone"),
        (failure(401, "invalid_api_key"), ProviderRefused, "llm_key_refused"),
        (failure(403), ProviderRefused, "llm_key_refused"),
        (failure(404, "model_not_found"), ProviderRefused, "llm_model_refused"),
        (failure(400, "unsupported_parameter"), ProviderRefused, "llm_model_refused"),
        (failure(400, "context_length_exceeded"), ItemError, "llm_bad_request"),
    ],
)
def test_what_cannot_get_better_is_not_retried(step: Step, expected: type[VisibilityError], code: str) -> None:
    with scripted_llm(step, BLUE) as llm, pytest.raises(expected) as caught:
        ask(llm)
    assert caught.value.code == code
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (completion("", refusal="I cannot help"), "llm_refused"),
        (completion("", finish_reason="content_filter"), "llm_refused"),
        (completion('{"colour": "bl', finish_reason="length"), "llm_truncated"),
        (completion({"color": "blue"}), "llm_invalid_reply"),
        (completion({"colour": "blue", "extra": 1}), "llm_invalid_reply"),
        (Step(body={**BLUE.body, "choices": []}), "llm_invalid_reply"),
    ],
)
def test_a_billed_reply_that_cannot_be_used_carries_its_call(step: Step, code: str) -> None:
    with scripted_llm(step) as llm, pytest.raises(UnusableReply) as caught:
        ask(llm)
    assert caught.value.code == code
    assert caught.value.call.cost_usd == Decimal("0.000150")
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    "value",
    [
        lambda: {"retry_after": "0.4"},
        lambda: {"retry_after_ms": "400"},
        lambda: {"retry_after": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)},
    ],
)
def test_retry_after_is_honoured(value: Callable[[], dict[str, str]]) -> None:
    with scripted_llm(failure(429, **value()), BLUE) as llm:
        started = time.monotonic()
        ask(llm)
    assert time.monotonic() - started >= 0.4


def test_a_wait_beyond_a_minute_is_reported_instead_of_waited_for() -> None:
    with scripted_llm(failure(429, retry_after="3600"), BLUE) as llm, pytest.raises(RateLimited) as caught:
        ask(llm)
    assert caught.value.retry_after_seconds == 3600


def test_attempts_are_limited_and_the_last_error_is_raised() -> None:
    with scripted_llm(failure(503)) as llm, pytest.raises(ProviderUnavailable):
        ask(llm, llm_max_attempts=3)
    assert len(llm.requests) == 3


def test_a_vendor_that_keeps_failing_is_left_alone_and_tried_again_later() -> None:
    async def run(llm: ScriptedLlm) -> list[str]:
        settings = LlmSettings(openai_api_key="k", openai_base_url=llm.url, llm_max_attempts=1)
        outcomes = []
        async with LlmClient(settings, breaker_failures=3, breaker_seconds=0.2) as client:
            parse: Callable[[], Coroutine[Any, Any, Any]]
            parse = lambda: client.parse("test", "gpt-6-luna", "S", "U", Colour)  # noqa: E731
            for _ in range(5):
                try:
                    await parse()
                except VisibilityError as error:
                    outcomes.append(error.code)
            await asyncio.sleep(0.3)
            outcomes.append((await parse())[0].colour)
        return outcomes

    with scripted_llm(failure(503), failure(503), failure(503), BLUE) as llm:
        outcomes = asyncio.run(run(llm))
    assert outcomes == ["llm_unavailable"] * 3 + ["llm_circuit_open"] * 2 + ["blue"]
    assert len(llm.requests) == 4


def test_a_refused_key_is_not_tried_again_by_everybody_who_waits() -> None:
    with scripted_llm(failure(401)) as llm:
        errors = ask(llm, times=40, llm_concurrency=2)
    assert {error.code for error in errors} == {"llm_key_refused"}
    assert len(llm.requests) <= 2


def test_no_more_calls_than_slots_are_under_way() -> None:
    slow = Step(body=BLUE.body, delay_seconds=0.1)
    with scripted_llm(slow) as llm:
        started = time.monotonic()
        ask(llm, times=6, llm_concurrency=2)
    assert time.monotonic() - started >= 0.3


def test_a_vendor_that_does_not_answer_in_time_is_a_timeout() -> None:
    with scripted_llm(Step(body=BLUE.body, delay_seconds=0.5)) as llm, pytest.raises(ProviderUnavailable) as caught:
        ask(llm, llm_timeout_seconds=0.1, llm_max_attempts=1)
    assert caught.value.code == "llm_timeout"


def test_an_address_where_nobody_listens_is_one_sentence() -> None:
    with pytest.raises(ProviderUnavailable, match=r"^The LLM cannot be reached \(\w+\)\.$"):
        ask(ScriptedLlm(url="http://127.0.0.1:9"), llm_max_attempts=2)


@pytest.mark.parametrize("step", [failure(401), failure(429, "insufficient_quota"), failure(500), failure(400)])
def test_errors_are_picklable_and_hold_neither_key_nor_body(step: Step) -> None:
    with scripted_llm(step) as llm, pytest.raises(VisibilityError) as caught:
        ask(llm, llm_max_attempts=1)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (type(error), error.code, str(error)) == (type(caught.value), caught.value.code, str(caught.value))
    assert "sk-live-1" not in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("role", ["evaluation_model", "brands_model", "names_model"])
def test_the_model_of_every_role_is_checked_before_anything_is_sent(role: str) -> None:
    with pytest.raises(ConfigurationError, match="'gpt-9' is not known"):
        LlmClient(LlmSettings(openai_api_key="k", **{role: "gpt-9"}))
