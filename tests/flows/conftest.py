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
def sandbox_url() -> Iterator[str]:
    """Simulated vendors with latencies 150 times shorter than real ones."""
    with serve_in_thread(time_scale=150) as running:
        yield running.url


@pytest.fixture
def settings(database_url: str, sandbox: RunningSandbox) -> Settings:
    """Settings that point every vendor at the sandbox; waits are short, as the sandbox does not wait."""
    return Settings(database_url=database_url, lease_seconds=30).for_sandbox(sandbox.url, time_scale=200)
