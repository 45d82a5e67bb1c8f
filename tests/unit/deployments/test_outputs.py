"""Terraform's outputs: read from its file or the environment; what is missing or wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.ecs.outputs import Outputs, read_outputs
from visibility.errors import ConfigurationError

GIVEN: dict[str, Any] = {
    "region": "eu-west-1",
    "project": "senso",
    "environment": "production",
    "cluster_arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/senso",
    "cluster_name": "senso",
    "vpc_id": "vpc-1",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "security_group_id": "sg-1",
    "assign_public_ip": False,
    "execution_role_arn": "arn:aws:iam::123456789012:role/senso-execution",
    "flow_role_arn": "arn:aws:iam::123456789012:role/senso-flow",
    "image": "example.com/senso:1.0.0",
    "cpu": 1024,
    "memory": 2048,
    "cpu_architecture": "ARM64",
    "launch_type": "FARGATE",
    "flow_log_group": "/senso/flows",
    "flow_family": "senso-flow",
    "secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:senso/app-AbCdEf",
    "secret_keys": ["DATABASE_URL", "OPENAI_API_KEY"],
    "prefect_auth_string_key": None,
    "prefect_api_url": "https://prefect.example.com/api",
    "results_bucket": "senso-results",
    "events_queue_name": "senso-task-events",
    "alerts_topic_arn": "arn:aws:sns:eu-west-1:123456789012:senso-alerts",
    "worker_service_name": "senso-worker",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What `terraform output -json` writes, with an output that is for people."""
    path = tmp_path / "outputs.json"
    given = {**GIVEN, "repository_url": None}
    path.write_text(json.dumps({name: {"sensitive": False, "value": value} for name, value in given.items()}))
    return path


def test_the_file_of_terraform_is_read_and_so_is_one_of_bare_values(file: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(GIVEN))
    found = read_outputs(file, {})
    assert found == read_outputs(bare, {}) == Outputs(**GIVEN)
    assert (found.work_pool, found.prefect_auth_string_key, found.flow_environment) == ("ecs", None, {})


def test_each_output_can_be_overridden_and_all_can_come_from_the_environment(file: Path) -> None:
    changed = {
        "VISIBILITY_AWS_IMAGE": "example.com/senso:1.0.1",
        "VISIBILITY_AWS_MEMORY": "4096",
        "VISIBILITY_AWS_SUBNET_IDS": '["subnet-3"]',
        "VISIBILITY_AWS_FLOW_ENVIRONMENT": '{"SHARDS": "2"}',
    }
    found = read_outputs(file, changed)
    assert (found.image, found.memory, found.subnet_ids) == ("example.com/senso:1.0.1", 4096, ["subnet-3"])
    assert found.flow_environment == {"SHARDS": "2"} and found.vpc_id == "vpc-1"
    environ = {
        f"VISIBILITY_AWS_{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
        for name, value in GIVEN.items()
        if value is not None
    }
    assert read_outputs(None, environ) == Outputs(**GIVEN)


def test_everything_that_is_missing_or_wrong_is_named_at_once(file: Path) -> None:
    content = json.loads(file.read_text())
    del content["vpc_id"], content["image"]
    content["launch_type"]["value"] = "EC2"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError) as refused:
        read_outputs(file, {})
    assert f"missing in {file}: vpc_id, image; launch_type: Input should be" in refused.value.message
    with pytest.raises(ConfigurationError, match="missing in the environment \\(VISIBILITY_AWS_…\\): region, project"):
        read_outputs(None, {})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("IMAGE", "", "image: String should have at least 1 character"),
        ("CPU", "-1", "cpu: Input should be greater than 0"),
        ("WORK_POOL", "a/b c", "work_pool: String should match pattern"),
        ("FLOW_ENVIRONMENT", '{"OPENAI_API_KEY": "sk-1"}', "OPENAI_API_KEY would be readable at every task"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(file: Path, name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_outputs(file, {f"VISIBILITY_AWS_{name}": value})
    assert sentence in refused.value.message and "sk-1" not in refused.value.message


def test_a_file_that_a_windows_shell_has_written_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_outputs(file, {}) == Outputs(**GIVEN)


@pytest.mark.parametrize("text", ["", "Outputs:", "[]"])
def test_a_file_of_something_else_is_refused_with_the_command_that_writes_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="write it with `terraform output -json`"):
        read_outputs(path, {})


def test_a_file_that_is_not_there_and_a_list_that_is_no_json_are_refused(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*No such file"):
        read_outputs(file.with_name("nowhere.json"), {})
    with pytest.raises(ConfigurationError, match="VISIBILITY_AWS_SUBNET_IDS is not JSON: \\[subnet-1\\]"):
        read_outputs(file, {"VISIBILITY_AWS_SUBNET_IDS": "[subnet-1]"})
