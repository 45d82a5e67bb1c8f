"""The client against the sandbox: errors are ours, picklable, and give nothing away."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from sandbox.server import RunningSandbox
from visibility.errors import (
    ConfigurationError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
    VisibilityError,
)
from visibility.providers.brightdata.client import (
    BrightDataClient,
    SnapshotGone,
    SubmissionRefused,
    UnreadableReply,
)
from visibility.settings import BrightDataSettings

KEY = "very-secret-key"
DATASET = "gd_m7aof0k82r803d5bjm"
INPUT = {"url": "https://chatgpt.com/", "prompt": "A secret question?", "country": "US"}


def settings(sandbox: RunningSandbox, **changes: object) -> BrightDataSettings:
    base = {"base_url": f"{sandbox.url}/datasets/v3/", "api_key": SecretStr(KEY), "request_timeout_seconds": 1.2}
    return BrightDataSettings(**{**base, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def client(one_sandbox: RunningSandbox) -> AsyncIterator[BrightDataClient]:
    one_sandbox.reset()
    opened = BrightDataClient(settings(one_sandbox))
    yield opened
    await opened.close()


async def test_a_job_is_submitted_listed_followed_and_fetched(client: BrightDataClient) -> None:
    before = datetime.now(UTC)
    snapshot_id = await client.trigger(DATASET, [{**INPUT, "question_run_id": "7"}])
    assert await client.progress(snapshot_id) == "ready"
    [listed] = await client.snapshots(DATASET, before - timedelta(minutes=1))
    assert (listed.snapshot_id, listed.status) == (snapshot_id, "ready")
    assert listed.created is not None
    assert abs(listed.created - before) < timedelta(seconds=30)
    assert await client.snapshots(DATASET, before + timedelta(hours=1)) == []
    [record] = await client.fetch(snapshot_id) or []
    assert record["input"]["question_run_id"] == "7"
    await client.cancel(snapshot_id)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limited", RateLimited),
        ("server_error", ProviderUnavailable),
        ("connection_reset", ProviderUnavailable),
        ("timeout", ProviderUnavailable),
        ("quota_gone", ProviderRefused),
        ("truncated_json", UnreadableReply),
        ("empty_snapshot_id", UnreadableReply),
        ("refused_country", SubmissionRefused),
    ],
)
async def test_a_fault_becomes_our_error_which_is_picklable_and_tells_no_secret(
    client: BrightDataClient,
    one_sandbox: RunningSandbox,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    error: type[VisibilityError],
) -> None:
    one_sandbox.set_faults(script=[{"on": "trigger", "nth": 1, "fault": fault}])
    with caplog.at_level(logging.DEBUG), pytest.raises(error) as raised:
        await client.trigger(DATASET, [INPUT])
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), copy.message, copy.code) == (error, raised.value.message, raised.value.code)
    told = f"{raised.value!r} {raised.value.__dict__} {caplog.text} {client!r} {vars(client)!r}"
    assert KEY not in told
    assert "secret question" not in told


async def test_retry_after_is_read(client: BrightDataClient, one_sandbox: RunningSandbox) -> None:
    one_sandbox.set_faults(script=[{"on": "progress", "nth": 1, "fault": "rate_limited"}])
    with pytest.raises(RateLimited) as refused:
        await client.progress("s_1")
    assert refused.value.retry_after_seconds == 2


async def test_what_the_vendor_does_not_know_is_gone(client: BrightDataClient) -> None:
    for call in (client.progress, client.fetch, client.cancel):
        with pytest.raises(SnapshotGone):
            await call("s_unknown")


async def test_an_unknown_dataset_is_a_matter_of_configuration(client: BrightDataClient) -> None:
    with pytest.raises(ConfigurationError, match="gd_unknown"):
        await client.trigger("gd_unknown", [INPUT])


async def test_a_vendor_that_is_not_there_was_certainly_not_asked(one_sandbox: RunningSandbox) -> None:
    client = BrightDataClient(settings(one_sandbox, base_url="http://127.0.0.1:9"))
    with pytest.raises(ProviderUnavailable) as unavailable:
        await client.trigger(DATASET, [INPUT])
    assert unavailable.value.sent is False
    await client.close()


async def test_a_wrong_address_is_a_matter_of_configuration(one_sandbox: RunningSandbox) -> None:
    client = BrightDataClient(settings(one_sandbox, base_url="nonsense"))
    with pytest.raises(ConfigurationError, match="BRIGHTDATA_BASE_URL"):
        await client.progress("s_1")
    await client.close()


async def test_a_body_that_arrives_slowly_is_waited_for(client: BrightDataClient, one_sandbox: RunningSandbox) -> None:
    snapshot_id = await client.trigger(DATASET, [INPUT])
    one_sandbox.set_faults(script=[{"on": "snapshot", "nth": 1, "fault": "slow_body"}])
    assert len(await asyncio.wait_for(client.fetch(snapshot_id), 10) or []) == 1
