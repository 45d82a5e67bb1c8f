"""A clean, offline, deterministic environment, and a database for every test that asks for one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import URL

from deployments.local import environment
from tests.support import postgres
from tests.support.environment import clean_environment, network_attempts, refuse_network
from visibility.settings import BrightDataSettings, LlmSettings, Settings
from visibility.store.database import Database

RUN_FOLDER = "TEST_RUN_FOLDER"
SERVER_URL = "TEST_SERVER_URL"

settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("deterministic")

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:  # before anything of the product or Prefect is imported; workers inherit it
    postgres.remove_stale_run_folders()
    os.environ.pop(SERVER_URL, None)
    if given := os.environ.get("DATABASE_URL"):
        os.environ[SERVER_URL] = given
    os.environ[RUN_FOLDER] = str(postgres.create_run_folder())
clean_environment(Path(os.environ[RUN_FOLDER]) / f"home-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
NETWORK_LOG = Path(os.environ[RUN_FOLDER]) / "network-attempts.log"
refuse_network(NETWORK_LOG, os.environ.get(SERVER_URL))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `make chaos` runs; begin with what takes longest, or all workers but one wait at the end."""
    if "CHAOS_ROUNDS" not in os.environ:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    minutes = {item.path for item in items if (own := item.get_closest_marker("timeout")) and own.args[0] > 60}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in minutes, item.path not in slow))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which any process tried to leave this machine has failed, whatever its tests say."""
    if not IS_WORKER and network_attempts(NETWORK_LOG):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name who tried, and where to."""
    if attempts := network_attempts(NETWORK_LOG):
        terminalreporter.section("attempts to leave this machine (refused)", red=True)
        terminalreporter.write_line("\n".join(attempts))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller ends what the run has started."""
    if not IS_WORKER:
        postgres.remove_run_folder(Path(os.environ[RUN_FOLDER]), os.environ.get(SERVER_URL))


@pytest.fixture(scope="session", autouse=True)
def _no_dotenv() -> None:
    """A developer's `.env` in the working directory is not part of a test."""
    environment.DOTENV = Path(os.devnull)
    for settings_class in (BrightDataSettings, LlmSettings, Settings):
        settings_class.model_config["env_file"] = None


@pytest.fixture(autouse=True)
def _seeded_randomness() -> None:
    """Each test draws the same numbers, alone and in any order."""
    random.seed(0)


@pytest.fixture(scope="session")
def database_template() -> tuple[URL, str]:
    """The server's URL and the name of the migrated template database."""
    folder = Path(os.environ[RUN_FOLDER])
    return postgres.server(folder, os.environ.get(SERVER_URL)), postgres.template_name(folder)


@pytest.fixture
def database_url(database_template: tuple[URL, str]) -> Iterator[str]:
    """The URL of this test's own migrated, empty database."""
    with postgres.clone(*database_template) as url:
        yield url


@pytest.fixture
def empty_database_url(database_template: tuple[URL, str]) -> Iterator[str]:
    """The URL of this test's own database without any table."""
    with postgres.clone(database_template[0], None) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A `Database` on this test's own migrated, empty database."""
    opened = Database(database_url)
    yield opened
    opened.close()
