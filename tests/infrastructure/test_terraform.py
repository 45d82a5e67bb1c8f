"""The Terraform module: valid, tested, applied to moto, with no more rights than the worker's calls need."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deployments.ecs.outputs import Outputs, read_outputs
from tests.support.aws.network import default_network, forget_everything
from tests.support.moto_server import serving_moto
from tests.support.terraform.run import MODULE, apply, available, copied, outputs_json, terraform

pytestmark = pytest.mark.skipif((why := available()) is not None, reason=str(why))

# What prefect-aws's worker and observer call for runs that start, end, crash and are stopped (recorded in test_ecs.py)
CALLS_OF_THE_WORKER = {
    "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask",
    "ec2:DescribeVpcs", "ec2:DescribeSubnets", "logs:GetLogEvents",
    "sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
}  # fmt: skip
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


def test_what_is_applied_is_what_bootstrap_reads_and_applying_again_changes_nothing(tmp_path: Path):
    with serving_moto() as moto:
        forget_everything(moto.url)
        vpc, subnets = default_network(moto.client("ec2"))
        folder = tmp_path / "module"
        variables = {
            "vpc_id": vpc,
            "subnet_ids": subnets,
            "prefect_api_url": "http://10.0.0.5:4200/api",
            "image": "example.com/senso:0.1.0",
            "alert_emails": ["operations@example.com"],
        }
        apply(folder, moto.url, variables)
        again = terraform(folder, "plan", "-input=false", "-detailed-exitcode", "-no-color", aws_url=moto.url)
        assert again.returncode == 0, again.stdout[-2000:]  # 2 would be changes
        file = tmp_path / "outputs.json"
        file.write_text(outputs_json(folder))
        outputs = read_outputs(file, {})
        assert isinstance(outputs, Outputs)
        assert outputs.subnet_ids == subnets and outputs.flow_family == "senso-flow"
        assert allowed_actions(moto.client("iam"), "senso-worker") == CALLS_OF_THE_WORKER | GIVEN_WITH_THEM


def allowed_actions(iam: object, role: str) -> set[str]:
    """Return the actions that the policies of a role in moto allow."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]  # type: ignore[attr-defined]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]  # type: ignore[attr-defined]
    statements = [one for document in documents for one in document["Statement"] if one["Effect"] == "Allow"]
    return {
        action
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def test_the_committed_schema_is_of_the_resources_that_are_used():
    schema = json.loads((Path(__file__).parents[1] / "support/terraform/aws-6.25.0.json").read_text())
    used = set(re.findall(r'^resource "(\w+)"', "".join(p.read_text() for p in MODULE.glob("*.tf")), re.M))
    assert set(schema["resource"]) == used
