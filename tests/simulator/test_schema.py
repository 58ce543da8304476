from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from simulator.schema import example


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["city"],
        },
        {"type": "object", "additionalProperties": False},
        {"type": "array", "items": {"type": "number", "minimum": 3}, "minItems": 2},
        {"type": "string", "enum": ["yes", "no"]},
        {"type": "string", "minLength": 30, "maxLength": 40},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5},
        {"type": "integer", "maximum": -2},
        {"type": "number", "exclusiveMaximum": 0},
        {"type": ["null", "string"]},
        {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}], "$defs": {"tree": {"type": "object"}}},
        {"const": {"a": 1}},
        {
            "allOf": [
                {"$ref": "#/$defs/base"},
                {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
            ],
            "$defs": {"base": {"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"]}},
        },
        {
            "type": "object",
            "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["value", "next"],
        },
        {"type": "string", "format": "date-time"},
        True,
    ],
)
def test_the_example_satisfies_its_schema(schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(example(schema))


def test_a_schema_that_never_ends_is_still_answered() -> None:
    assert example({"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]})
