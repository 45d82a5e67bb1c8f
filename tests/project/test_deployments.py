"""prefect.yaml: every deployment's flow loads, takes the parameters that it is given, and has a known pool."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.settings.models.root import Settings

from deployments.local.worker import POOL
from visibility.settings import Settings as ProductSettings

ROOT = Path(__file__).parents[2]
DECLARED: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = DECLARED["deployments"]


@pytest.fixture(params=DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_an_entrypoint_is_a_module_path(deployment: dict[str, Any]):
    assert re.fullmatch(r"flows(\.[a-z_]+){2}", deployment["entrypoint"])


def test_an_entrypoint_loads_the_flow_of_the_deployments_name(deployment: dict[str, Any]):
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == deployment["name"]


def test_the_parameters_are_those_of_the_flow(deployment: dict[str, Any]):
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert set(deployment["parameters"]) <= set(inspect.signature(flow.fn).parameters)


def test_schedules_are_in_utc_and_off_unless_they_are_switched_on(deployment: dict[str, Any]):
    for schedule in deployment.get("schedules", ()):
        assert (schedule["timezone"], schedule["active"]) == ("UTC", "{{ schedules.stdout }}")
        assert deployment["build"] == DECLARED["definitions"]["schedules_active"]


def test_as_many_shards_run_at_a_time_as_processes_share_the_vendors_limits():
    (shards,) = (one for one in DEPLOYMENTS if one["name"] == "evaluate-orgs")
    assert shards["concurrency_limit"] == ProductSettings.model_fields["shards"].default


def test_the_pool_is_prefects_default_pool(deployment: dict[str, Any]):
    assert "name" not in deployment["work_pool"]


def test_the_default_pool_is_the_one_of_make_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    assert Settings().deployments.default_work_pool_name == POOL
    monkeypatch.setenv("PREFECT_DEFAULT_WORK_POOL_NAME", "ecs")
    assert Settings().deployments.default_work_pool_name == "ecs"


def test_no_code_is_fetched_when_a_flow_runs():
    # not an empty list: Prefect would then copy the whole working directory before each run
    assert DECLARED["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
