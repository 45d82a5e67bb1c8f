"""The Bright Data surface, called as the vendor's documentation says."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.vendor import DATASETS, NORTHWIND, Vendor, inputs


@pytest.mark.parametrize("engine", DATASETS)
def test_a_job_delivers_a_record_for_every_input_with_the_input_echoed(vendor: Vendor, engine: str) -> None:
    records = vendor.buy(engine, 6)

    assert [record["input"] for record in records] == inputs(engine, 6)
    assert all(record.get("answer_text_markdown") or record.get("answer_text") for record in records)


def test_the_wrapped_body_is_taken_like_the_bare_array(vendor: Vendor) -> None:
    assert vendor.post({"input": inputs("gemini", 2)}, "gemini").json()["snapshot_id"].startswith("s_")


def test_each_engine_has_its_own_fields(vendor: Vendor) -> None:
    assert all("search_sources" in record and "web_search_triggered" in record for record in vendor.buy("chatgpt"))
    perplexity = vendor.buy("perplexity", 12)
    assert all("answer_html" in record and "answer_text" not in record for record in perplexity)
    assert {"sources" in record for record in perplexity} == {True, False}
    gemini = vendor.buy("gemini", 12)
    assert {"answer_text" in record for record in gemini} == {True, False}


def test_citations_come_in_all_forms_that_the_vendor_uses(vendor: Vendor) -> None:
    citations = [record["citations"] for record in vendor.buy("chatgpt", 40)]

    assert None in citations
    assert any(found and isinstance(found[0], str) for found in citations)
    objects = [entry for found in citations if found for entry in found if isinstance(entry, dict)]
    assert {type(entry.get("cited")) for entry in objects} == {bool, str, type(None)}


def test_a_snapshot_passes_through_the_stages_and_is_202_until_ready() -> None:
    with (
        serve_in_thread(time_scale=60, examples=False) as running,
        httpx.Client(base_url=running.url, headers={"Authorization": "Bearer key"}) as http,
    ):
        vendor = Vendor(http)
        snapshot_id = vendor.trigger()
        assert vendor.status(snapshot_id) == "starting"
        assert vendor.fetch(snapshot_id).status_code == 202
        running.state.jobs.by_id[snapshot_id].seconds = 0
        assert vendor.status(snapshot_id) == "ready"


def test_a_country_that_is_not_supported_refuses_the_job_and_is_named(vendor: Vendor) -> None:
    for country in ("XX", "UK", "KP"):
        response = vendor.post(inputs("chatgpt", 2, country=country))
        assert response.status_code == 400
        assert response.json()["code"] == "validation_error"
        assert response.json()["errors"] == [["country", f"Country {country} is not supported"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "input"),
        ([{"url": "https://chatgpt.com/"}], "prompt"),
        ([{"url": "https://elsewhere.example/", "prompt": "Who?"}], "url"),
        ([{"url": "https://chatgpt.com/", "prompt": "x" * 4097}], "prompt"),
    ],
)
def test_an_input_that_breaks_the_rules_is_named_by_its_field(vendor: Vendor, body: list[object], field: str) -> None:
    response = vendor.post(body)
    assert response.status_code == 400
    assert [problem[0] for problem in response.json()["errors"]] == [field]


def test_a_body_that_is_not_json_is_a_parse_error(http: httpx.Client) -> None:
    query = {"dataset_id": DATASETS["chatgpt"]}
    for content in (b"{not json", b'"text"', b"[1, 2]"):
        response = http.post("/datasets/v3/trigger", params=query, content=content)
        assert (response.status_code, response.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer bad"}])
def test_a_missing_or_wrong_key_is_refused(vendor: Vendor, headers: dict[str, str]) -> None:
    vendor.http.headers.update(headers)
    assert vendor.post(inputs("chatgpt")).status_code == 401
    assert vendor.http.get("/datasets/v3/progress/s_x").status_code == 401


def test_what_does_not_exist_is_404(vendor: Vendor) -> None:
    assert vendor.fetch("s_unknown").status_code == 404
    assert vendor.http.get("/datasets/v3/progress/s_unknown").status_code == 404
    assert vendor.http.post("/datasets/v3/trigger", params={"dataset_id": "gd_x"}, json=[]).status_code == 404
    assert vendor.http.get("/nothing/here").status_code == 404


def test_the_list_of_snapshots_filters_by_dataset_status_and_date(vendor: Vendor) -> None:
    first, second = vendor.trigger("chatgpt"), vendor.trigger("chatgpt")
    vendor.trigger("gemini")

    def listed(**query: str) -> list[str]:
        query["dataset_id"] = DATASETS["chatgpt"]
        return [row["id"] for row in vendor.http.get("/datasets/v3/snapshots", params=query).json()]

    assert listed() == [first, second]
    assert listed(status="ready", from_date="2020-01-01") == [first, second]
    assert listed(status="running") == []
    assert listed(from_date="2999-01-01T00:00:00Z") == []
    assert listed(skip="1", limit="1") == [second]


def test_a_cancelled_job_sells_nothing(sandbox: RunningSandbox, vendor: Vendor) -> None:
    sandbox.set_faults(script=[{"on": "trigger", "fault": "job_never_ready"}])
    snapshot_id = vendor.trigger()

    assert vendor.http.post(f"/datasets/v3/snapshot/{snapshot_id}/cancel").text == "OK"
    assert vendor.status(snapshot_id) == "cancelled"
    assert vendor.fetch(snapshot_id).status_code == 400
    assert sandbox.accounting()["totals"]["records_sold"] == 0
    assert sandbox.accounting()["totals"]["jobs_cancelled"] == 1


def test_a_ready_job_cannot_be_cancelled(vendor: Vendor) -> None:
    assert vendor.http.post(f"/datasets/v3/snapshot/{vendor.trigger()}/cancel").status_code == 400


def test_running_jobs_and_submissions_are_limited_when_told_so() -> None:
    headers = {"Authorization": "Bearer key"}
    with serve_in_thread(max_running_jobs=1, examples=False) as running:
        with httpx.Client(base_url=running.url, headers=headers) as http:
            Vendor(http).trigger()
            refused = Vendor(http).post(inputs("chatgpt"))
        assert (refused.status_code, refused.json()["error"]) == (429, "too many running jobs")
        assert int(refused.headers["Retry-After"]) >= 1
        assert running.accounting()["totals"]["rate_limited"] == {"brightdata": 1}
    with serve_in_thread(submissions_per_minute=2, latency=False, examples=False) as running:
        with httpx.Client(base_url=running.url, headers=headers) as http:
            statuses = [Vendor(http).post(inputs("chatgpt")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_the_accounting_tells_what_was_bought_twice(sandbox: RunningSandbox, vendor: Vendor) -> None:
    vendor.buy("chatgpt", 3)
    assert sandbox.accounting()["bought_twice"] == []
    vendor.buy("chatgpt", 1)

    report = vendor.http.get("/_accounting").json()
    assert report["totals"]["records_sold"] == 4
    assert report["totals"]["records_cost_usd"] == pytest.approx(0.006)
    assert [(row["prompt"], row["id"], row["usable"]) for row in report["bought_twice"]] == [
        (NORTHWIND["questions"][0], "chatgpt-0", 2)
    ]
    assert [job["sold"] for job in report["jobs"]] == [3, 1]
    assert "jobs" not in vendor.http.get("/_accounting", params={"detail": "false"}).json()


def test_odd_requests_are_refused_and_the_server_goes_on(vendor: Vendor, http: httpx.Client) -> None:
    odd = [{"url": "https://chatgpt.com/", "prompt": "Who? \ud83d", "country": ["US"], "index": {"a": 1}}]
    assert (
        vendor.http.post(
            "/datasets/v3/trigger",
            params={"dataset_id": DATASETS["chatgpt"]},
            content=json.dumps(odd),
            headers={"Content-Type": "application/json"},
        ).status_code
        == 400
    )
    body = {"model": "gpt-5", "input": [None, "x"], "tools": ["web_search", None]}
    assert http.post("/v1/responses", json=body).status_code in (200, 400)
    for path in ("/v1/chat/completions", "/v1/responses", "/_world", "/_faults"):
        for content in (b"", b"null", b"[]", b"\xff\xfe"):
            assert http.post(path, content=content).status_code == 400
    with socket.create_connection((http.base_url.host, http.base_url.port or 80)) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        assert b"400" in raw.recv(100)
    assert http.get("/").status_code == 200
