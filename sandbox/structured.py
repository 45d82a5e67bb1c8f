"""Strict structured outputs: refuse schemas that OpenAI refuses, make a value that fits one, break one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

MAX_DEPTH = 10
JSON_TYPES = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean", type(None): "null"}
UNDERSTOOD = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "$defs"}
    | {"title", "description", "default"}
)


class SchemaRefused(ValueError):
    """The schema cannot be used with strict structured outputs; the message says where and why."""


class StrictSchema:
    """A checked schema with a validator that was built once."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        self.name = name
        self.schema = schema
        self._validator = Draft202012Validator(schema)
        self.property_names = frozenset(_property_names(schema))

    def fits(self, value: Any) -> bool:
        return _surely_fits(value, self.schema, self.schema) or bool(self._validator.is_valid(value))

    def example(self) -> Any:
        """Return the smallest value that fits the schema."""
        return _example(self.schema, self.schema)


@lru_cache(maxsize=256)
def _checked(name: str, encoded: bytes, strict: bool) -> StrictSchema:
    schema = orjson.loads(encoded)
    if strict:
        if schema.get("type") != "object":
            raise SchemaRefused("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.")
        for path, problem in _problems(schema, ()):
            raise SchemaRefused(f"In context=({', '.join(map(repr, path))}), {problem}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaRefused(error.message) from error
    return StrictSchema(name, schema)


def check_schema(name: str, schema: Any, *, strict: bool) -> StrictSchema:
    """Return the schema ready for use; equal schemas are checked once. Raises SchemaRefused."""
    if not isinstance(schema, dict):
        raise SchemaRefused("schema must be an object.")
    return _checked(name, orjson.dumps(schema, option=orjson.OPT_SORT_KEYS), strict)


def _surely_fits(value: Any, node: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Return True only when the value fits; False also when the schema says more than is understood here.

    It spares most values the full validation, which costs more than everything else in a call.
    """
    if "$ref" in node:
        return _surely_fits(value, _resolved(str(node["$ref"]), root), root)
    if not node.keys() <= UNDERSTOOD:
        return False
    if "anyOf" in node:
        return any(_surely_fits(value, branch, root) for branch in node["anyOf"])
    kind = JSON_TYPES.get(type(value))
    if kind is None or node.get("type") != kind or value not in node.get("enum", (value,)):
        return False
    if kind == "array":
        return all(_surely_fits(entry, node["items"], root) for entry in value)
    if kind != "object":
        return True
    properties = node.get("properties") or {}
    return value.keys() == properties.keys() >= set(node.get("required") or ()) and all(
        _surely_fits(value[name], child, root) for name, child in properties.items()
    )


def _problems(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield where the schema is not of the strict subset."""
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" or "properties" in node:
        yield from _object_problems(node, path)
    if node.get("type") == "array" and "items" not in node:
        yield path, "array schema missing items."
    for key in ("properties", "$defs", "definitions"):
        for name, child in (node.get(key) or {}).items():
            yield from _problems(child, (*path, key, name))
    for number, child in enumerate(node.get("anyOf") or ()):
        yield from _problems(child, (*path, "anyOf", str(number)))
    for key in ("oneOf", "allOf", "not", "patternProperties"):
        if key in node:
            yield path, f"'{key}' is not permitted."
    yield from _problems(node.get("items"), (*path, "items"))


def _object_problems(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if node.get("additionalProperties") is not False:
        yield path, "'additionalProperties' is required to be supplied and to be false."
    properties = node.get("properties") or {}
    missing = [name for name in properties if name not in (node.get("required") or ())]
    if missing:
        yield (
            path,
            (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'."
            ),
        )


def _property_names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items():
            if key == "properties" and isinstance(child, dict):
                yield from child
            yield from _property_names(child)
    elif isinstance(node, list):
        for child in node:
            yield from _property_names(child)


def _example(node: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value for a schema node; recursion ends in the first branch that allows it."""
    if "$ref" in node:
        return _example(_resolved(str(node["$ref"]), root), root, depth + 1)
    if "const" in node:
        return node["const"]
    if node.get("enum"):
        return node["enum"][0]
    branches = node.get("anyOf") or ()
    if branches:
        null = next((branch for branch in branches if branch.get("type") == "null"), None)
        return None if null is not None and depth > MAX_DEPTH else _example(branches[0], root, depth + 1)
    kind = node.get("type")
    if isinstance(kind, list):
        kind = "null" if "null" in kind and depth > MAX_DEPTH else kind[0]
    return _example_of(kind, node, root, depth)


def _example_of(kind: Any, node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        return {name: _example(child, root, depth + 1) for name, child in (node.get("properties") or {}).items()}
    if kind == "array":
        return [_example(node["items"], root, depth + 1) for _ in range(int(node.get("minItems", 0)))]
    if kind in ("integer", "number"):
        least = node.get("minimum", node.get("exclusiveMinimum", 0))
        return least + 1 if "exclusiveMinimum" in node else least
    if kind == "string":
        return "sandbox".ljust(int(node.get("minLength", 0)), "x")[: node.get("maxLength")]
    return False if kind == "boolean" else None


def _resolved(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        node = node[part] if part else node
    return cast("Mapping[str, Any]", node)


def broken(value: Any) -> Any:
    """Return the value with its first property renamed and given another type."""
    if isinstance(value, dict) and value:
        name, *rest = value
        return {f"{name}_": {"unexpected": True}, **{key: value[key] for key in rest}}
    return {"unexpected": value}
