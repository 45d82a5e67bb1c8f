"""One sandbox for the session of this folder, emptied for every test, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI

from sandbox.server import RunningSandbox, serve_in_thread
from tests.support.vendor import NORTHWIND, Vendor


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[RunningSandbox]:
    with serve_in_thread(seed=7, latency=False, examples=False, hold_seconds=20, slow_seconds=0.5) as running:
        running.learn(NORTHWIND)
        yield running


@pytest.fixture
def sandbox(_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    _sandbox.reset()
    yield _sandbox
    _sandbox.reset()


@pytest.fixture
def http(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers={"Authorization": "Bearer key"}, timeout=5) as client:
        yield client


@pytest.fixture
def vendor(http: httpx.Client) -> Vendor:
    return Vendor(http)


@pytest.fixture
def openai_client(sandbox: RunningSandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{sandbox.url}/v1", api_key="key", max_retries=0, timeout=5) as client:
        yield client
