"""The run's Prefect server, the simulated vendors, and AWS as moto plays it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect_aws.credentials import _get_client_cached

from tests.flows.conftest import prefect, prefect_api, sandbox, settings
from tests.support.moto_server import Moto, serving_moto

__all__ = ["prefect", "prefect_api", "sandbox", "settings"]


@pytest.fixture(scope="module")
def moto_server() -> Iterator[Moto]:
    """moto for the tests of one file; what is in it stays, so that names must be a test's own."""
    with serving_moto() as moto:
        yield moto


@pytest.fixture
def moto(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    """The AWS of this process: calls are remembered from here on, none is refused."""
    for name, value in moto_server.environment.items():
        monkeypatch.setenv(name, value)
    _get_client_cached.cache_clear()  # prefect-aws keeps clients by credentials, not by the address they are for
    moto_server.calls.clear()
    yield moto_server
    moto_server.refuses = lambda call: None
    _get_client_cached.cache_clear()
