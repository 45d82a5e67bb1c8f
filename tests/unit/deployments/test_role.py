"""The judge of recorded AWS calls: action, resource and condition must all fit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws.role import Asked, asked_of_ecs, refused

CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/senso"
FAMILY = "arn:aws:ecs:us-east-1:123456789012:task-definition/senso-flow"
STATEMENTS: list[dict[str, Any]] = [
    {"Effect": "Allow", "Action": ["ecs:RegisterTaskDefinition", "ec2:DescribeVpcs"], "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "ecs:RunTask",
        "Resource": f"{FAMILY}:*",
        "Condition": {"ArnEquals": {"ecs:cluster": CLUSTER}},
    },
    {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": ["arn:aws:iam::123456789012:role/senso-flow"],
        "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    },
    {"Effect": "Deny", "Action": "ecs:RunTask", "Resource": f"{FAMILY}:13"},
]


@pytest.mark.parametrize(
    ("asked", "is_allowed"),
    [
        (Asked("ecs:RunTask", f"{FAMILY}:1", {"ecs:cluster": CLUSTER}), True),
        (Asked("ecs:RunTask", f"{FAMILY}:13", {"ecs:cluster": CLUSTER}), False),
        (Asked("ecs:RunTask", f"{FAMILY}-other:1", {"ecs:cluster": CLUSTER}), False),
        (Asked("ecs:RunTask", f"{FAMILY}:1", {"ecs:cluster": f"{CLUSTER}-2"}), False),
        (Asked("ecs:RunTask", f"{FAMILY}:1"), False),
        (Asked("ecs:StopTask", "*"), False),
        (Asked("ec2:DescribeVpcs", "*"), True),
    ],
)
def test_a_call_is_allowed_only_as_the_policy_says(asked: Asked, is_allowed: bool) -> None:
    assert refused(STATEMENTS, [asked, asked]) == ([] if is_allowed else [asked])


def test_a_task_definition_hands_on_its_roles() -> None:
    request = {"family": "senso-flow", "taskRoleArn": "arn:aws:iam::123456789012:role/senso-flow"}
    assert refused(STATEMENTS, asked_of_ecs("RegisterTaskDefinition", request)) == []
    (found,) = refused(STATEMENTS, asked_of_ecs("RegisterTaskDefinition", {**request, "executionRoleArn": "admin"}))
    assert (found.action, found.resource) == ("iam:PassRole", "admin")


def test_a_task_is_run_described_and_stopped_in_its_cluster() -> None:
    run = {"cluster": CLUSTER, "taskDefinition": f"{FAMILY}:1", "tags": [{"key": "a", "value": "b"}]}
    task = "arn:aws:ecs:us-east-1:123456789012:task/senso/1"
    calls = [
        *asked_of_ecs("RunTask", run),
        *asked_of_ecs("DescribeTasks", {"cluster": CLUSTER, "tasks": [task]}),
        *asked_of_ecs("StopTask", {"cluster": CLUSTER, "task": task}),
    ]
    assert [(one.action, one.resource, dict(one.context)) for one in calls] == [
        ("ecs:RunTask", f"{FAMILY}:1", {"ecs:cluster": CLUSTER}),
        (
            "ecs:TagResource",
            "arn:aws:ecs:us-east-1:123456789012:task/senso/new",
            {"ecs:CreateAction": "RunTask"},
        ),
        ("ecs:DescribeTasks", task, {"ecs:cluster": CLUSTER}),
        ("ecs:StopTask", task, {"ecs:cluster": CLUSTER}),
    ]
