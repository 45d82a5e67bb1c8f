"""The base job template of the ECS pool: what prefect-aws makes of it is what Fargate is to run."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect_aws.workers.ecs_worker import ECSJobConfiguration, ECSWorker

from blocks.aws import RESULTS_DOCUMENT
from deployments.bootstrap.documents import ALERTS_DOCUMENT
from deployments.ecs.job_template import ENVIRONMENT, base_job_template
from deployments.ecs.outputs import Outputs
from tests.unit.deployments.test_outputs import GIVEN

SECRET = GIVEN["secret_arn"]


def prepared(variables: dict[str, Any], **changes: Any) -> ECSJobConfiguration:
    """Return what the worker makes of the template for a run with job variables, without asking the server."""
    template = base_job_template(Outputs(**{**GIVEN, **changes}))
    defaults = ECSJobConfiguration._get_base_config_defaults(template["variables"]["properties"])
    configuration = ECSJobConfiguration(**apply_values(template["job_configuration"], defaults | variables))
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="brave-fox"))
    return configuration


def container(configuration: ECSJobConfiguration) -> dict[str, Any]:
    [found] = configuration.task_definition["containerDefinitions"]
    return dict(found)


def test_a_task_runs_where_and_as_terraform_says() -> None:
    found = prepared({})
    assert found.cluster == GIVEN["cluster_arn"] and found.vpc_id == "vpc-1"
    assert found.network_configuration == {
        "subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED",
    }  # fmt: skip
    definition = found.task_definition
    assert (definition["cpu"], definition["memory"], definition["family"]) == (1024, 2048, "senso-flow")
    assert definition["runtimePlatform"] == {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    assert definition["executionRoleArn"] == GIVEN["execution_role_arn"]
    assert definition["taskRoleArn"] == GIVEN["flow_role_arn"]
    assert (found.task_run_request["launchType"], found.match_latest_revision_in_family) == ("FARGATE", True)
    assert found.cloudwatch_logs_options == {"awslogs-group": "/senso/flows", "awslogs-create-group": "false"}


def test_a_container_gets_secrets_by_reference_and_everything_else_in_clear() -> None:
    found = container(prepared({}))
    assert found["secrets"] == [
        {"name": "DATABASE_URL", "valueFrom": f"{SECRET}:DATABASE_URL::"},
        {"name": "OPENAI_API_KEY", "valueFrom": f"{SECRET}:OPENAI_API_KEY::"},
    ]
    environment = {one["name"]: one["value"] for one in found["environment"]}
    assert environment["PREFECT_API_URL"] == "https://prefect.example.com/api"
    assert environment["PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"] == f"s3-bucket/{RESULTS_DOCUMENT}"
    assert environment["SLACK_WEBHOOK_BLOCK"] == ALERTS_DOCUMENT
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule" and found["stopTimeout"] == 120
    assert environment.keys() & {"DATABASE_URL", "OPENAI_API_KEY"} == set()
    assert found["memoryReservation"] == 256 and found["essential"] is True
    assert found["name"] == "prefect", "else the observer takes the end of any sidecar for that of the flow"
    assert found["healthCheck"]["command"] == ["CMD-SHELL", "kill -0 1"]


def test_settings_in_clear_come_from_the_outputs_and_win() -> None:
    found = container(prepared({}, flow_environment={"SHARDS": "2", "SLACK_WEBHOOK_BLOCK": "night-watch"}))
    environment = {one["name"]: one["value"] for one in found["environment"]}
    assert (environment["SHARDS"], environment["SLACK_WEBHOOK_BLOCK"]) == ("2", "night-watch")
    assert environment.keys() > ENVIRONMENT.keys()


def test_the_password_of_the_prefect_server_is_a_reference_where_there_is_one() -> None:
    assert prepared({}).prefect_api_auth_string_secret_arn is None
    guarded = prepared({}, prefect_auth_string_key="PREFECT_API_AUTH_STRING")
    assert guarded.prefect_api_auth_string_secret_arn == f"{SECRET}:PREFECT_API_AUTH_STRING::"


@pytest.mark.parametrize("public", [True, False])
def test_a_deployment_may_ask_for_more_memory_and_another_image_on_spot(public: bool) -> None:
    variables = {"cpu": 2048, "memory": 8192, "image": "example.com/senso:next", "launch_type": "FARGATE_SPOT"}
    found = prepared(variables, assign_public_ip=public)
    assert (found.task_definition["cpu"], found.task_definition["memory"]) == (2048, 8192)
    assert (
        container(found)["image"] == "example.com/senso:next" and found.task_run_request["launchType"] == "FARGATE_SPOT"
    )
    assert found.network_configuration["assignPublicIp"] == ("ENABLED" if public else "DISABLED")


def test_the_same_outputs_give_the_same_template_and_prefects_own_stays_as_it_is() -> None:
    before = json.dumps(ECSWorker.get_default_base_job_template())
    once, again = (json.dumps(base_job_template(Outputs(**GIVEN))) for _ in range(2))
    assert once == again and json.dumps(ECSWorker.get_default_base_job_template()) == before
