"""The Terraform module: valid, tested, applied to moto, with no more rights than the worker's calls need."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect_aws.observers import ecs as ecs_observer

from deployments.ecs.outputs import Outputs, read_outputs
from tasks import alert
from tests.support.aws.network import default_network, forget_everything
from tests.support.moto_server import Moto, serving_moto
from tests.support.terraform.rights import allowed_actions, allows
from tests.support.terraform.run import MODULE, apply, available, copied, outputs, outputs_json, terraform

pytestmark = pytest.mark.skipif((why := available()) is not None, reason=str(why))

# What prefect-aws's worker and observer call for runs that start, end, crash and are stopped (recorded in test_ecs.py)
CALLS_OF_THE_WORKER = {
    "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask",
    "ec2:DescribeVpcs", "ec2:DescribeSubnets", "logs:GetLogEvents",
    "sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
}  # fmt: skip
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ECS = "arn:aws:ecs:us-east-1:123456789012"
ROLES = ["senso-execution", "senso-flow", "senso-worker"]
RULE = "senso-task-state"
GIVEN_WITH_THEM = {"iam:PassRole", "ecs:TagResource"}  # asked of the caller by RunTask and RegisterTaskDefinition


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("terraform") / "module")
    done = terraform(folder, "init", "-backend=false", "-no-color")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_module_is_formatted_and_fits_the_schema_of_the_provider(module: Path):
    assert terraform(MODULE, "fmt", "-check", "-recursive", "-diff").stdout == ""
    done = terraform(module, "validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_attribute_would_be_found(module: Path, tmp_path: Path):
    broken = copied(tmp_path / "broken")
    (broken / "secrets.tf").write_text(
        (broken / "secrets.tf").read_text().replace("recovery_window_in_days", "recovery")
    )
    terraform(broken, "init", "-backend=false")
    done = terraform(broken, "validate", "-no-color")
    assert done.returncode == 1 and 'An argument named "recovery" is not expected here' in done.stderr


def test_terraforms_own_tests_pass_and_cover_every_validation(module: Path):
    done = terraform(module, "test", "-no-color")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    variables = (MODULE / "variables.tf").read_text()
    validated = {
        name
        for name, body in re.findall(r'^variable "(\w+)" \{(.*?)^\}', variables, re.S | re.M)
        if "validation" in body
    }
    tested = set(re.findall(r"expect_failures = \[var\.(\w+)\]", (MODULE / "tests/variables.tftest.hcl").read_text()))
    assert tested == validated


def test_every_variable_and_output_is_explained():
    readme = (MODULE / "README.md").read_text()
    names = re.findall(r'^(?:variable|output) "(\w+)"', "".join(p.read_text() for p in MODULE.glob("*.tf")), re.M)
    assert [name for name in names if f"`{name}`" not in readme] == []


@dataclass(frozen=True)
class Applied:
    folder: Path
    moto: Moto
    variables: dict[str, object]
    outputs: Outputs

    def may(self, role: str, action: str, resource: str, **context: str) -> bool:
        """Return whether a role may call an action; `ecs_cluster=…` is the condition key `ecs:cluster`."""
        keys = {name.replace("_", ":", 1): value for name, value in context.items()}
        return allows(self.moto.client("iam"), role, action, resource, keys)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    folder = tmp_path_factory.mktemp("applied") / "module"
    with serving_moto() as moto:
        forget_everything(moto.url)
        vpc, subnets = default_network(moto.client("ec2"))
        variables = {
            "vpc_id": vpc,
            "subnet_ids": subnets,
            "prefect_api_url": "http://10.0.0.5:4200/api",
            "image": f"{ECR}/senso:0.1.0",
            "alert_emails": ["operations@example.com"],
        }
        apply(folder, moto.url, variables)
        file = folder / "outputs.json"
        file.write_text(outputs_json(folder))
        yield Applied(folder, moto, variables, read_outputs(file, {}))


def test_what_is_applied_is_what_bootstrap_reads(applied: Applied):
    assert set(Outputs.model_fields) <= set(outputs(applied.folder))
    assert applied.outputs.subnet_ids == applied.variables["subnet_ids"]
    assert applied.outputs.flow_family == "senso-flow" and applied.outputs.memory == 2048


def test_applying_again_changes_nothing(applied: Applied):
    again = terraform(
        applied.folder, "plan", "-input=false", "-detailed-exitcode", "-no-color", aws_url=applied.moto.url
    )
    assert again.returncode == 0, again.stdout[-2000:]  # 2 would be changes


def test_a_new_image_changes_the_worker_and_nothing_else(applied: Applied):
    plan = ["plan", "-input=false", "-out=upgrade.tfplan", "-var", f"image={ECR}/senso:0.2.0", "-var", "worker_count=2"]
    assert terraform(applied.folder, *plan, aws_url=applied.moto.url).returncode == 0
    shown = json.loads(terraform(applied.folder, "show", "-json", "upgrade.tfplan").stdout)
    changed = [one["address"] for one in shown["resource_changes"] if one["change"]["actions"] != ["no-op"]]
    assert changed == ["aws_ecs_service.worker", "aws_ecs_task_definition.worker"]


def test_the_state_holds_no_value_of_a_secret(applied: Applied):
    kinds = {one["type"] for one in json.loads((applied.folder / "terraform.tfstate").read_text())["resources"]}
    assert "aws_secretsmanager_secret" in kinds
    assert kinds & {"aws_secretsmanager_secret_version", "random_password"} == set()


def test_the_workers_role_allows_the_calls_that_it_makes_and_no_others(applied: Applied):
    assert allowed_actions(applied.moto.client("iam"), "senso-worker") == CALLS_OF_THE_WORKER | GIVEN_WITH_THEM


def test_the_worker_starts_tasks_of_its_family_in_its_cluster_only(applied: Applied):
    cluster, definition = applied.outputs.cluster_arn, f"{ECS}:task-definition/senso-flow:7"
    assert applied.may("senso-worker", "ecs:RunTask", definition, ecs_cluster=cluster)
    assert not applied.may("senso-worker", "ecs:RunTask", definition, ecs_cluster=f"{ECS}:cluster/other")
    assert not applied.may("senso-worker", "ecs:RunTask", f"{ECS}:task-definition/other:1", ecs_cluster=cluster)
    task = f"{ECS}:task/senso/0123456789abcdef"
    assert applied.may("senso-worker", "ecs:StopTask", task, ecs_cluster=cluster)
    assert not applied.may("senso-worker", "ecs:StopTask", f"{ECS}:task/other/0123456789abcdef", ecs_cluster=cluster)


def test_the_worker_passes_two_roles_to_tasks_and_none_to_anything_else(applied: Applied):
    both = [applied.outputs.execution_role_arn, applied.outputs.flow_role_arn]
    tasks = {"iam_PassedToService": "ecs-tasks.amazonaws.com"}
    assert [applied.may("senso-worker", "iam:PassRole", role, **tasks) for role in both] == [True, True]
    assert not applied.may("senso-worker", "iam:PassRole", both[0], iam_PassedToService="lambda.amazonaws.com")
    assert not applied.may("senso-worker", "iam:PassRole", "arn:aws:iam::123456789012:role/senso-worker", **tasks)


def test_each_role_reads_what_is_its_own(applied: Applied):
    secret, bucket = applied.outputs.secret_arn, f"arn:aws:s3:::{applied.outputs.results_bucket}"
    reading = "secretsmanager:GetSecretValue"
    readers = [role for role in ROLES if applied.may(role, reading, secret)]
    assert readers == ["senso-execution", "senso-flow"]
    assert not any(applied.may(role, reading, secret.replace("senso/app", "other")) for role in ROLES)
    assert [role for role in ROLES if applied.may(role, "s3:PutObject", f"{bucket}/results/x")] == ["senso-flow"]
    assert not any(applied.may(role, "s3:GetObject", "arn:aws:s3:::other/x") for role in ROLES)
    assert not any(applied.may(role, "s3:DeleteObject", f"{bucket}/results/x") for role in ROLES)


def test_the_image_is_pulled_from_its_own_repository_only(applied: Applied):
    repositories = "arn:aws:ecr:us-east-1:123456789012:repository"
    assert applied.may("senso-execution", "ecr:BatchGetImage", f"{repositories}/senso")
    assert not applied.may("senso-execution", "ecr:BatchGetImage", f"{repositories}/other")


def test_the_queue_takes_messages_of_its_rule_only(applied: Applied):
    sqs, events = applied.moto.client("sqs"), applied.moto.client("events")
    url = sqs.get_queue_url(QueueName=applied.outputs.events_queue_name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": events.describe_rule(Name=RULE)["Arn"]}}
    assert [one["Arn"] for one in events.list_targets_by_rule(Rule=RULE)["Targets"]] == [attributes["QueueArn"]]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith("senso-task-events-dlq")


def test_the_words_that_the_alarm_counts_are_written():
    alarms = (MODULE / "alarms.tf").read_text()
    written = {"flows": inspect.getsource(alert), "worker": inspect.getsource(ecs_observer)}
    counted = dict(re.findall(r'^    (flows|worker) += "(.+)"$', alarms, re.M))
    assert set(counted) == set(written)
    assert all(counted[log] in source for log, source in written.items())


def test_the_committed_schema_is_of_the_resources_that_are_used():
    schema = json.loads((Path(__file__).parents[1] / "support/terraform/aws-6.25.0.json").read_text())
    used = set(re.findall(r'^resource "(\w+)"', "".join(p.read_text() for p in MODULE.glob("*.tf")), re.M))
    assert set(schema["resource"]) == used
