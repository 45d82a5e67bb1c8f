"""What fails while the keys are in AWS, logged with everything on DEBUG; and a result storage that does not serve."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_HOME,
    temporary_settings,
)
from sqlalchemy.engine import make_url

from blocks.aws import results_block, role_credentials, secret_block
from deployments.local import sandbox_environment
from flows.org_evaluation import org_evaluation
from sandbox.server import RunningSandbox
from tasks import resources
from tests.support.broken_statements import break_statement
from tests.support.end_state import end_state, undisturbed
from tests.support.gate import Gate, gate_before
from tests.support.moto_server import REGION, SECRET_KEY, Moto
from tests.support.prefect_rows import rows_since, wait_for_last_event
from tests.support.secrets import assert_nothing_secret
from tests.support.seed import seed_org
from visibility.settings import Settings
from visibility.store.database import Database

VENDOR_KEY, LLM_KEY, PASSWORD = "bd-live-7f3a/91c0+asker", "sk-live-5be2/d8aa+reader", "p4ss/w0rd+analytics"
PASSWORD_END = "of-analytics"  # what stands behind an @ that should be %40
WRONG_URLS = {
    "database cannot be reached": f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:1/visibility",
    "password is not encoded": f"postgresql://u:p4ss@{PASSWORD_END}@db.example/visibility",
}


@pytest.fixture
def org_id(database: Database) -> UUID:
    with database.transaction() as session:
        return seed_org(session, questions=1, locations=(("US", None, None),), models=("chatgpt",))


@pytest.fixture
async def secret(prefect: str, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty secret, which the settings of this test are read from."""
    name = f"senso-{uuid4().hex[:12]}"
    moto.client("secretsmanager").create_secret(Name=name)
    await secret_block(name, REGION).save(name)
    monkeypatch.setenv("VISIBILITY_SECRET_BLOCK", name)
    return name


@pytest.fixture
def gate(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Vendors that refuse the LLM's key, where the environment leads to, with keys that are not the secret's."""
    with gate_before(sandbox.url) as gate:
        gate.revoked.add(LLM_KEY)
        for variable, value in sandbox_environment(Settings(), gate.url, 200).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.delenv("VISIBILITY_SANDBOX")
        yield gate


async def test_no_failure_writes_a_secret_into_logs_states_events_or_results(
    moto: Moto, secret: str, gate: Gate, database: Database, database_url: str, org_id: UUID, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ours = make_url(database_url)
    with_password = ours.set(password=ours.password or PASSWORD).render_as_string(hide_password=False)
    monkeypatch.setenv("PREFECT_LOGGING_ROOT_LEVEL", "DEBUG")  # each flow run sets the levels again
    started, states = datetime.now(UTC), {}
    for failure, url in {"LLM refuses": with_password, "statement fails": with_password, **WRONG_URLS}.items():
        if failure == "statement fails":
            gate.revoked.clear()
            break_statement(database, "org_evals", "INSERT")
        held = {"BRIGHTDATA_API_KEY": VENDOR_KEY, "OPENAI_API_KEY": LLM_KEY, "DATABASE_URL": url}
        moto.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=json.dumps(held))
        homes: dict[Any, Any] = {PREFECT_HOME: str(tmp_path)}
        with caplog.at_level(logging.DEBUG), temporary_settings(homes):
            states[failure] = await org_evaluation(org_id, run_date=date(2026, 11, 23), return_state=True)
        assert states[failure].name != "Completed", failure
    assert VENDOR_KEY in gate.keys and LLM_KEY in gate.keys, "the keys of the secret were used"
    wait_for_last_event(states["statement fails"].state_details.flow_run_id)
    files = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    texts = {"console": caplog.text, "states": repr(states), **rows_since(started), **files}
    assert all(str(state.state_details.flow_run_id) in texts["flow_run"] for state in states.values())
    assert files and f"settings from the secret {secret}" in texts["log"] and "botocore" in texts["console"], "all"
    assert_nothing_secret(texts, (VENDOR_KEY, LLM_KEY, PASSWORD, PASSWORD_END, SECRET_KEY))


@pytest.fixture
async def storage(prefect: str, moto: Moto) -> str:
    """The name of a result storage of this test, a bucket of the same name."""
    name = f"results-{uuid4().hex[:12]}"
    moto.client("s3").create_bucket(Bucket=name)
    await results_block(name, REGION).save(name)
    return name


async def evaluate(org_id: UUID, settings: Settings, storage: str, day: int, home: Path) -> str:
    """Evaluate on a host of its own with the result storage; return the flow run's state."""
    homes: dict[Any, Any] = {
        PREFECT_HOME: str(home / str(day)),
        PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: f"s3-bucket/{storage}",
    }
    with temporary_settings(homes):
        async with resources.opened(settings):
            state = await org_evaluation(org_id, run_date=date(2026, 11, day), return_state=True)
    return str(state.name)


async def test_a_bucket_that_refuses_or_breaks_costs_one_more_question_and_nothing_else(
    moto: Moto, storage: str, settings: Settings, sandbox: RunningSandbox, org_id: UUID, tmp_path: Path
) -> None:
    asked = []

    async def names_asked(day: int) -> int:
        before = sum(asked)
        assert await evaluate(org_id, settings, storage, day, tmp_path) == "Completed"
        asked.append(sandbox.accounting()["llm"]["purposes"].get("names", 0) - before)
        return asked[-1]

    moto.refuses = lambda call: "AccessDenied" if storage in call else None
    assert await names_asked(20) == 1, "neither read nor kept"
    moto.refuses = lambda call: None
    assert await names_asked(21) == 1 and await names_asked(22) == 0, "kept, then found"
    reads = iter(range(100))
    moto.refuses = lambda call: "AccessDenied" if call.startswith("GET") and next(reads) > 0 else None
    assert await names_asked(23) == 1, "found, but not to be read the second time"


async def test_a_bucket_that_cannot_be_reached_loses_nothing_that_was_paid_for(
    prefect: str, settings: Settings, sandbox: RunningSandbox, database: Database, org_id: UUID, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    credentials = role_credentials(REGION)
    credentials.aws_client_parameters.endpoint_url = "http://127.0.0.1:1"
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "x")
    block = results_block("no-such-host").model_copy(update={"credentials": credentials})
    await block.save(name := f"away-{uuid4().hex[:12]}")
    assert await evaluate(org_id, settings, name, 23, tmp_path) == "Completed"
    assert end_state(database) == undisturbed(1)
    assert sandbox.accounting()["llm"]["purposes"] == {"names": 1, "reading": 1}
