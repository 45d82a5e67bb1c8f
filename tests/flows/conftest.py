"""A Prefect server shared by the whole test run, and a sandbox per test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.server import RunningSandbox, serve_in_thread
from visibility.settings import Settings


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The API address of the run's Prefect server on the run's Postgres; ended by the controller."""
    from prefect.logging.handlers import APILogHandler

    from deployments.local import ensure_prefect_server

    yield ensure_prefect_server(
        Path(os.environ["TEST_RUN_FOLDER"]) / "data", database_url=os.environ.get("TEST_SERVER_URL")
    )
    asyncio.run(APILogHandler.aflush())  # at exit the server may be gone, and the client would try for a minute


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[str]:
    """Flows called in this test report to the run's Prefect server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield prefect_api


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """Simulated vendors that answer at once."""
    with serve_in_thread(latency=False, hold_seconds=30) as running:
        yield running


@pytest.fixture
async def slack(prefect: str, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    """The sandbox, playing Slack for this test's alerts."""
    from tests.support.slack import save_webhook

    monkeypatch.setenv("SLACK_WEBHOOK_BLOCK", await save_webhook(f"{sandbox.url}/slack/services/T1/B2"))
    return sandbox


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """Requests that hang are given up after a second."""
    bright_data = settings.brightdata.model_copy(update={"request_timeout_seconds": 1.0, "deadline_seconds": 4.0})
    llm = settings.llm.model_copy(update={"llm_timeout_seconds": 1.0})
    return settings.model_copy(update={"brightdata": bright_data, "llm": llm})


@pytest.fixture
def settings(database_url: str, sandbox: RunningSandbox) -> Settings:
    """Settings that point every vendor at the sandbox; waits are short, as the sandbox does not wait."""
    return Settings(database_url=database_url, lease_seconds=30).for_sandbox(sandbox.url, time_scale=200)
