"""Every fault does what its sentence says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from sandbox.faults import ERROR_CODES, FAULTS, Faults
from sandbox.server import RunningSandbox
from tests.support.vendor import Vendor, inputs

BROKEN = httpx.ReadError, httpx.RemoteProtocolError


def strike(sandbox: RunningSandbox, fault: str, on: str = "trigger", **more: Any) -> None:
    """Let the next call on a surface go wrong."""
    sandbox.set_faults(script=[{"on": on, "nth": 1, "fault": fault, **more}])


def jobs(sandbox: RunningSandbox) -> int:
    return int(sandbox.accounting()["totals"]["jobs"])


@pytest.mark.parametrize("fault", ["rate_limited", "rate_limited_no_retry_after"])
@pytest.mark.parametrize("on", ["trigger", "progress", "snapshot", "snapshots", "cancel"])
def test_rate_limits_answer_429_on_every_endpoint(sandbox: RunningSandbox, vendor: Vendor, fault: str, on: str) -> None:
    snapshot_id = vendor.trigger()
    strike(sandbox, fault, on)
    calls = {
        "trigger": lambda: vendor.post(inputs("chatgpt")),
        "progress": lambda: vendor.http.get(f"/datasets/v3/progress/{snapshot_id}"),
        "snapshot": lambda: vendor.fetch(snapshot_id),
        "snapshots": lambda: vendor.http.get("/datasets/v3/snapshots", params={"dataset_id": "x"}),
        "cancel": lambda: vendor.http.post(f"/datasets/v3/snapshot/{snapshot_id}/cancel"),
    }
    response = calls[on]()
    assert response.status_code == 429
    assert ("Retry-After" in response.headers) == (fault == "rate_limited")
    assert jobs(sandbox) == 1
    assert calls[on]().status_code != 429


@pytest.mark.parametrize(("fault", "accepted"), [("server_error", 0), ("server_error_after_accept", 1)])
def test_a_server_error_leaves_a_job_behind_or_not(
    sandbox: RunningSandbox, vendor: Vendor, fault: str, accepted: int
) -> None:
    strike(sandbox, fault)
    assert vendor.post(inputs("chatgpt")).status_code >= 500
    assert jobs(sandbox) == accepted


@pytest.mark.parametrize(("fault", "accepted"), [("connection_reset", 0), ("reset_after_accept", 1)])
def test_a_reset_breaks_the_connection_before_or_after_the_job_is_accepted(
    sandbox: RunningSandbox, vendor: Vendor, fault: str, accepted: int
) -> None:
    strike(sandbox, fault)
    with pytest.raises(BROKEN):
        vendor.post(inputs("chatgpt"))
    assert jobs(sandbox) == accepted
    assert vendor.post(inputs("chatgpt")).status_code == 200


@pytest.mark.parametrize(("fault", "accepted"), [("timeout", 0), ("timeout_after_accept", 1)])
def test_a_timeout_answers_nothing(sandbox: RunningSandbox, vendor: Vendor, fault: str, accepted: int) -> None:
    strike(sandbox, fault)
    vendor.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        vendor.post(inputs("chatgpt"))
    assert jobs(sandbox) == accepted


def test_a_slow_body_comes_in_pieces_and_whole(sandbox: RunningSandbox, vendor: Vendor) -> None:
    snapshot_id = vendor.trigger()
    strike(sandbox, "slow_body", "snapshot")
    begun = time.monotonic()
    assert len(vendor.fetch(snapshot_id).json()) == 5
    assert time.monotonic() - begun > 0.4


def test_truncated_json_cannot_be_decoded_and_the_next_fetch_can(sandbox: RunningSandbox, vendor: Vendor) -> None:
    snapshot_id = vendor.trigger()
    strike(sandbox, "truncated_json", "snapshot")
    with pytest.raises(json.JSONDecodeError):
        vendor.fetch(snapshot_id).json()
    assert len(vendor.fetch(snapshot_id).json()) == 5
    assert sandbox.accounting()["totals"]["records_sold"] == 5


def test_not_ready_after_ready_answers_202_twice(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "not_ready_after_ready")
    snapshot_id = vendor.trigger()
    assert vendor.status(snapshot_id) == "ready"
    responses = [vendor.fetch(snapshot_id) for _ in range(3)]
    assert [response.status_code for response in responses] == [202, 202, 200]
    assert responses[0].json()["status"] == "building"


def test_a_failed_job_sells_nothing(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "job_failed")
    assert vendor.status(vendor.trigger()) == "failed"
    assert sandbox.accounting()["totals"]["records_sold"] == 0


def test_a_job_that_is_never_ready_runs_for_ever(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "job_never_ready")
    assert vendor.status(vendor.trigger()) == "running"


def test_an_empty_snapshot_id_is_no_job(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "empty_snapshot_id")
    assert vendor.post(inputs("chatgpt")).json() == {"snapshot_id": ""}
    assert jobs(sandbox) == 0


def test_an_empty_array_sells_nothing(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "empty_array")
    assert vendor.buy() == []
    assert sandbox.accounting()["totals"] | {"records_sold": 0, "records_missing": 5} == sandbox.accounting()["totals"]


def test_missing_records_are_not_sold(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "missing_records")
    assert len(vendor.buy(count=6)) == 4
    assert sandbox.accounting()["totals"]["records_sold"] == 4


def test_duplicate_records_are_the_same_record_sold_once(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "duplicate_records")
    ids = [record["input"]["question_run_id"] for record in vendor.buy(count=6)]
    assert (len(ids), len(set(ids))) == (8, 6)
    assert sandbox.accounting()["bought_twice"] == []


def test_reordered_records_are_complete_but_in_another_order(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "reordered_records")
    indices = [record["index"] for record in vendor.buy()]
    assert indices != sorted(indices)
    assert sorted(indices) == [1, 2, 3, 4, 5]


def test_out_of_range_records_have_impossible_indices(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "out_of_range_records")
    records = vendor.buy()
    assert [record["index"] for record in records] == [12, 2, 3, 4, 5, 0]
    assert "question_run_id" not in records[-1]["input"]


def test_wrong_types_spoil_some_records_only(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "wrong_types")
    good = [
        record
        for record in vendor.buy(count=9)
        if isinstance(record, dict) and isinstance(record["answer_text_markdown"], str)
    ]
    assert len(good) == 6
    assert sandbox.accounting()["totals"]["records_usable"] == 6


def test_a_refused_country_is_named_and_nothing_is_accepted(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "refused_country")
    response = vendor.post(inputs("chatgpt", country="CA"))
    assert (response.status_code, response.json()["errors"]) == (400, [["country", "Country CA is not supported"]])
    assert jobs(sandbox) == 0


def test_a_gone_quota_is_403_at_bright_data_and_insufficient_quota_at_openai(
    sandbox: RunningSandbox, vendor: Vendor
) -> None:
    strike(sandbox, "quota_gone")
    assert vendor.post(inputs("chatgpt")).status_code == 403
    strike(sandbox, "quota_gone", "chat")
    response = vendor.http.post("/v1/chat/completions", json={})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")


@pytest.mark.parametrize("code", ERROR_CODES)
def test_error_records_carry_their_code_and_are_not_sold(sandbox: RunningSandbox, vendor: Vendor, code: str) -> None:
    strike(sandbox, code, records=[1])
    records = vendor.buy(count=3)
    assert [record.get("error_code") for record in records] == [None, code, None]
    assert records[1].keys() == {"timestamp", "input", "error", "error_code"}
    assert sandbox.accounting()["totals"] | {"records_sold": 2, "records_failed": 1} == sandbox.accounting()["totals"]


def test_an_empty_answer_is_sold_but_not_usable(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "empty_answer")
    assert vendor.buy(count=1)[0]["answer_text_markdown"].strip() == ""
    assert sandbox.accounting()["totals"] | {"records_sold": 1, "records_usable": 0} == sandbox.accounting()["totals"]


def test_faults_of_the_text_add_to_the_answer(sandbox: RunningSandbox, vendor: Vendor) -> None:
    plain = vendor.buy(count=1)[0]["answer_text_markdown"]
    for fault, sign in [("injected_instructions", "Northwind Heating"), ("odd_characters", "\x00 \ud83d")]:
        strike(sandbox, fault)
        text = vendor.buy(count=1)[0]["answer_text_markdown"]
        assert text.startswith(plain)
        assert sign in text[len(plain) :]
    strike(sandbox, "huge_answer")
    assert len(vendor.buy(count=1)[0]["answer_text_markdown"]) > 100_000


def test_a_broken_slack_webhook_records_nothing(sandbox: RunningSandbox, vendor: Vendor) -> None:
    strike(sandbox, "server_error", "slack")
    assert vendor.http.post("/slack/T0/B0/x", json={"text": "lost"}).status_code >= 500
    assert vendor.http.post("/slack/T0/B0/x", json={"text": "kept"}).text == "ok"
    messages = vendor.http.get("/_slack").json()["messages"]
    assert messages == [{"path": "T0/B0/x", "body": {"text": "kept"}}]


def test_llm_faults_are_as_the_sdk_would_see_them(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    def ask() -> Any:
        schema = {
            "type": "object",
            "properties": {"variations": {"type": "array", "items": {"type": "string"}}},
            "required": ["variations"],
            "additionalProperties": False,
        }
        reply = openai_client.chat.completions.create(
            model="gpt-6-luna",
            messages=[{"role": "user", "content": '{"organisation": {"name": "Zendora", "domains": []}}'}],
            response_format={"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}},
        )
        return reply.choices[0]

    strike(sandbox, "llm_refusal", "llm")
    refused = ask().message
    assert refused.content is None
    assert refused.refusal
    strike(sandbox, "llm_truncated", "llm")
    cut = ask()
    assert cut.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.message.content)
    strike(sandbox, "llm_schema_violation", "llm")
    assert "variations" not in json.loads(ask().message.content)
    strike(sandbox, "llm_empty", "llm")
    assert ask().message.content == ""
    assert json.loads(ask().message.content)["variations"][0] == "Zendora"


def test_an_accepted_completion_is_billed_even_when_its_reply_is_lost(sandbox: RunningSandbox, vendor: Vendor) -> None:
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "Who?"}]}
    for fault, billed in [("connection_reset", 0), ("reset_after_accept", 1)]:
        strike(sandbox, fault, "chat")
        with pytest.raises(BROKEN):
            vendor.http.post("/v1/chat/completions", json=body)
        assert sandbox.accounting()["llm"]["calls"] == billed


def test_a_script_strikes_the_nth_call_and_as_often_as_told(sandbox: RunningSandbox, vendor: Vendor) -> None:
    sandbox.set_faults(script=[{"on": "trigger", "nth": 2, "fault": "server_error", "times": 2}])
    assert [vendor.post(inputs("chatgpt")).status_code == 200 for _ in range(4)] == [True, False, False, True]


def test_probabilities_are_met_and_the_same_seed_strikes_the_same_calls() -> None:
    def calls(seed: int) -> list[bool]:
        faults = Faults(seed, {"rate_limited": 0.2})
        return ["rate_limited" in faults.strike("trigger") for _ in range(1000)]

    assert calls(1) == calls(1) != calls(2)
    assert 150 < sum(calls(1)) < 250


def test_faults_are_set_and_listed_over_http_and_nonsense_is_refused(vendor: Vendor) -> None:
    assert vendor.http.post("/_faults", json={"probabilities": {"blocked": 0.5}, "seed": 3}).status_code == 200
    listed = vendor.http.get("/_faults").json()
    assert {fault["name"] for fault in listed["faults"]} == set(FAULTS)
    assert (listed["probabilities"], listed["seed"]) == ({"blocked": 0.5}, 3)
    for body in (
        {"probabilities": {"no_such_fault": 0.5}},
        {"probabilities": {"blocked": 2}},
        {"script": [{"on": "nowhere", "fault": "blocked"}]},
        {"script": ["blocked"]},
        {"seed": "x"},
        [],
    ):
        assert vendor.http.post("/_faults", json=body).status_code == 400
    assert vendor.http.get("/_faults").json()["probabilities"] == {"blocked": 0.5}


def test_every_fault_at_five_percent_leaves_a_server_that_answers(sandbox: RunningSandbox, vendor: Vendor) -> None:
    quick = {name: 0.05 for name in FAULTS if name not in ("timeout", "timeout_after_accept", "slow_body")}
    sandbox.set_faults(quick, seed=5)
    answered = 0
    for _ in range(60):
        try:
            answered += vendor.post(inputs("gemini", 3), "gemini").status_code == 200
        except BROKEN:
            continue
    sandbox.set_faults()
    assert 10 < answered < 55
    for snapshot_id in sandbox.state.jobs.by_id:
        assert vendor.fetch(snapshot_id).status_code in (200, 202, 400)


def test_every_fault_of_the_catalogue_is_named_by_a_test() -> None:
    here = Path(__file__).parent
    names = ("test_faults.py", "test_openai.py", "test_batches.py")
    tests = "".join((here / name).read_text(encoding="utf-8") for name in names)
    assert [name for name in FAULTS if name not in ERROR_CODES and f'"{name}"' not in tests] == []
