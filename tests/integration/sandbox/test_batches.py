"""OpenAI's Batch API as the official SDK sees it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from sandbox.server import RunningSandbox, serve_in_thread

LINES = 6


def line(number: int, **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": f"Who repairs furnaces? {number}"}]}
    return {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}


def create(client: OpenAI, lines: list[Any] | None = None, **changes: Any) -> Batch:
    content = "\n".join(json.dumps(one) for one in lines or [line(number) for number in range(LINES)])
    file = client.files.create(file=("requests.jsonl", content.encode()), purpose="batch")
    options = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"ours": "1"}, **changes}
    return client.batches.create(input_file_id=file.id, **options)


def lines_of(client: OpenAI, file_id: str | None) -> list[Any]:
    return [json.loads(row) for row in client.files.content(file_id).text.splitlines()] if file_id else []


def strike(sandbox: RunningSandbox, on: str, fault: str) -> None:
    sandbox.set_faults(script=[{"on": on, "nth": 1, "fault": fault}])


def test_a_batch_is_answered_line_by_line_listed_with_its_metadata_and_sold_once(
    sandbox: RunningSandbox, openai_client: OpenAI
) -> None:
    batch = create(openai_client)
    done = openai_client.batches.retrieve(batch.id)
    openai_client.batches.retrieve(batch.id)
    assert (done.status, done.error_file_id) == ("completed", None)
    rows = lines_of(openai_client, done.output_file_id)
    assert [row["custom_id"] for row in rows] == [str(number) for number in range(LINES)]
    assert all(row["response"]["body"]["choices"][0]["message"]["content"] for row in rows)
    create(openai_client)
    listed = list(openai_client.batches.list(limit=1))
    assert [(one.id == batch.id, one.metadata) for one in listed] == [(False, {"ours": "1"}), (True, {"ours": "1"})]
    llm = sandbox.accounting()["llm"]
    assert (llm["calls"], llm["batched_calls"], llm["repeated_calls"]) == (LINES, LINES, 0)


def test_a_batch_takes_its_time_and_is_sold_as_far_as_it_got_when_it_is_cancelled() -> None:
    with serve_in_thread(time_scale=1.0) as slow, OpenAI(base_url=f"{slow.url}/v1", api_key="k") as client:
        batch = create(client)
        assert client.batches.retrieve(batch.id).status == "validating"
        assert client.batches.cancel(batch.id).status == "cancelled"
        errors = lines_of(client, client.batches.retrieve(batch.id).error_file_id)
        assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
        assert slow.accounting()["llm"]["calls"] == 0


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"custom_id": "0"}, "duplicate_custom_id"),
        ({"custom_id": "x" * 65}, "invalid_custom_id"),
        ({"url": "/v1/responses"}, "invalid_url"),
        ({"body": {"model": "gpt-6-sol", "messages": []}}, "mismatched_model"),
    ],
)
def test_a_file_with_a_wrong_line_fails_the_batch(openai_client: OpenAI, wrong: dict[str, Any], code: str) -> None:
    done = openai_client.batches.retrieve(create(openai_client, [line(0), line(1, **wrong)]).id)
    assert done.status == "failed" and done.errors is not None and done.errors.data is not None
    assert [error.code for error in done.errors.data] == [code]


def test_what_the_endpoints_do_not_serve_is_refused(openai_client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        create(openai_client, completion_window="1h")
    with pytest.raises(openai.BadRequestError):
        openai_client.files.create(file=("x", b"x"), purpose="fine-tune")
    for missing in (openai_client.batches.retrieve, openai_client.files.content):
        with pytest.raises(openai.NotFoundError):
            missing("nothing")


@pytest.mark.parametrize(
    ("fault", "status", "answered", "errors"),
    [
        ("batch_failed", "failed", 0, 0),
        ("batch_expired", "expired", LINES // 2, LINES - LINES // 2),
        ("batch_never_done", "in_progress", 0, 0),
        ("batch_lines_missing", "completed", LINES - 2, 0),
    ],
)
def test_batches_that_go_wrong(
    sandbox: RunningSandbox, openai_client: OpenAI, fault: str, status: str, answered: int, errors: int
) -> None:
    strike(sandbox, "batches", fault)
    done = openai_client.batches.retrieve(create(openai_client).id)
    assert done.status == status
    assert len(lines_of(openai_client, done.output_file_id)) == answered == sandbox.accounting()["llm"]["calls"]
    assert len(lines_of(openai_client, done.error_file_id)) == errors


def test_a_line_is_refused_as_a_single_completion_would_be(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    strike(sandbox, "chat", "server_error")
    done = openai_client.batches.retrieve(create(openai_client).id)
    (row,) = lines_of(openai_client, done.error_file_id)
    assert (row["custom_id"], row["response"]["status_code"]) == ("0", 500)
    assert row["response"]["body"]["error"]["code"] == "server_error"
