"""Whether a role's policies allow a call, by action, resource and condition: moto itself allows everything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

TESTS = {
    "StringEquals": str.__eq__,
    "ArnEquals": lambda found, wanted: fnmatchcase(found, wanted),
    "ArnLike": lambda found, wanted: fnmatchcase(found, wanted),
}


@dataclass(frozen=True)
class Asked:
    """One call as IAM judges it: `*` where the service knows no resource for it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def policies(iam: Any, role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's inline policies."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for document in documents for statement in document["Statement"]]


def refused(statements: Sequence[Mapping[str, Any]], asked: Iterable[Asked]) -> list[Asked]:
    """Return the calls that no statement allows, or that one denies; each once."""
    found = {json.dumps([one.action, one.resource, dict(one.context)]): one for one in asked}
    return [one for one in found.values() if not _allowed(statements, one)]


def asked_of_ecs(call: str, request: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield what IAM is asked for one request to ECS, with the roles that it hands on and the tags that it sets."""
    cluster = {"ecs:cluster": str(request["cluster"])} if "cluster" in request else {}
    if call == "RunTask":
        yield Asked("ecs:RunTask", request["taskDefinition"], cluster)
        if request.get("tags"):
            yield Asked("ecs:TagResource", f"{_tasks(request['cluster'])}/new", {"ecs:CreateAction": "RunTask"})
    elif call == "DescribeTasks":
        yield from (Asked("ecs:DescribeTasks", arn, cluster) for arn in request["tasks"])
    elif call == "StopTask":
        yield Asked("ecs:StopTask", request["task"], cluster)
    else:
        yield Asked(f"ecs:{call}", "*")
    given = (request.get(name) for name in ("executionRoleArn", "taskRoleArn"))
    yield from (
        Asked("iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"}) for role in given if role
    )


def _tasks(cluster_arn: str) -> str:
    return cluster_arn.replace(":cluster/", ":task/")


def _allowed(statements: Sequence[Mapping[str, Any]], asked: Asked) -> bool:
    effects = {statement["Effect"] for statement in statements if _speaks_of(statement, asked)}
    return effects == {"Allow"}


def _speaks_of(statement: Mapping[str, Any], asked: Asked) -> bool:
    return (
        any(fnmatchcase(asked.action, pattern) for pattern in _listed(statement["Action"]))
        and any(fnmatchcase(asked.resource, pattern) for pattern in _listed(statement["Resource"]))
        and all(
            _holds(operator, asked.context.get(key), _listed(wanted))
            for operator, conditions in statement.get("Condition", {}).items()
            for key, wanted in conditions.items()
        )
    )


def _holds(operator: str, found: str | None, wanted: Sequence[str]) -> bool:
    return found is not None and any(TESTS[operator](found, one) for one in wanted)


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
