"""The quick check of a completion never passes what the full validation refuses."""

from __future__ import annotations

import itertools

import pytest
from jsonschema import Draft202012Validator

from sandbox.structured import SchemaRefused, _surely_fits, check_schema

SCHEMAS = [
    {"type": "string"},
    {"type": "string", "minLength": 3},
    {"type": "integer"},
    {"type": "number"},
    {"type": ["string", "null"]},
    {"enum": ["a", None]},
    {"type": "string", "enum": ["a", "b"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "boolean"}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
]
VALUES = [None, True, 0, 1, 1.5, "", "a", "abc", [], ["a"], [True], [1], {}, {"a": "a"}, {"a": 1}, {"a": "a", "b": 1}]


def test_what_surely_fits_fits() -> None:
    passed = 0
    for schema, value in itertools.product(SCHEMAS, VALUES):
        if _surely_fits(value, schema, schema):
            passed += 1
            assert Draft202012Validator(schema).is_valid(value), (schema, value)
    assert passed > 10


def test_examples_fit_their_schemas() -> None:
    for schema in [*SCHEMAS, {"type": "integer", "minimum": 4}, {"type": "array", "items": {}, "minItems": 2}]:
        checked = check_schema("x", schema, strict=False)
        assert checked.fits(checked.example()), schema


def test_a_refusal_names_the_place() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
    outer = {"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": False}
    with pytest.raises(SchemaRefused, match=r"context=\('properties', 'a'\), 'additionalProperties'"):
        check_schema("x", outer, strict=True)
