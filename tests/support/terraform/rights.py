"""What the policies of a role in moto allow, judged as IAM does: moto itself looks at no resource and no condition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

Statement = dict[str, Any]
Context = Mapping[str, str]


def statements(iam: Any, role: str) -> list[Statement]:
    """Return the statements of a role's own policies."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for document in documents for statement in _read(document)["Statement"]]


def allowed_actions(iam: Any, role: str) -> set[str]:
    """Return the actions that a role may call on anything at all."""
    return {action for one in statements(iam, role) if one["Effect"] == "Allow" for action in _listed(one["Action"])}


def allows(iam: Any, role: str, action: str, resource: str, context: Context | None = None) -> bool:
    """Return whether one call is allowed: action, resource and every condition of one statement fit.

    `context` holds condition keys of the call (`ecs:cluster`); a key that is not there fits no condition. Statements
    that deny, or conditions of a kind that our policies do not have, are an error.
    """
    return any(_fits(one, action, resource, context or {}) for one in statements(iam, role))


def _fits(statement: Statement, action: str, resource: str, context: Context) -> bool:
    assert statement["Effect"] == "Allow", statement
    return (
        action in _listed(statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
        and all(
            context.get(key) in _listed(wanted)
            for kind, keys in statement.get("Condition", {}).items()
            for key, wanted in _exact(kind, keys).items()
        )
    )


def _exact(kind: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the conditions of a kind that compares whole values."""
    assert kind in ("StringEquals", "ArnEquals") and "*" not in json.dumps(keys), kind
    return keys


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _read(document: dict[str, Any] | str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    return read
