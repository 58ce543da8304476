"""A small JSON value that satisfies a JSON schema: what the simulator answers when structure is asked for.

It covers what structured outputs allow (objects, arrays, strings, numbers, enums, anyOf, allOf, local $ref,
bounds and lengths). Patterns are not solved: a string with a `pattern` is answered like any other.
"""

from __future__ import annotations

from typing import Any

DEEPEST = 32
LONGEST = 10_000
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT5M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any) -> Any:
    """The least value that `schema` accepts; `{}` for what is no schema."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEEPEST:
        return {}
    if "$ref" in schema:
        return _value(_resolved(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return _value(_simplest(schema[choice], root), root, depth + 1)
    if schema.get("allOf"):
        return _value(_merged(schema, root), root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "array" if "items" in schema else "object"
    if kind == "object":
        wanted = schema.get("properties") or {}
        return {name: _value(wanted.get(name, {}), root, depth + 1) for name in schema.get("required") or ()}
    if kind == "array":
        number = min(int(schema.get("minItems", 0)), LONGEST)
        return [_value(schema.get("items", {}), root, depth + 1) for _ in range(number)]
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format")), "simulated")
        text = text.ljust(min(int(schema.get("minLength", 0)), LONGEST), "x")
        longest = schema.get("maxLength")
        return text if longest is None else text[: int(longest)]
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    least = schema.get("minimum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        least = above + 1 if whole else above + 0.5
    most = schema.get("maximum")
    if (below := schema.get("exclusiveMaximum")) is not None:
        most = below - 1 if whole else below - 0.5
    value: int | float = 0
    if least is not None and value < least:
        value = least
    if most is not None and value > most:
        value = most
    if step := schema.get("multipleOf"):
        value = -(-value // step) * step
    return int(value) if whole else value


def _resolved(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _simplest(choices: list[Any], root: Any) -> Any:
    """The branch that ends soonest: one without a reference, or else the first."""
    return next(
        (choice for choice in choices if isinstance(choice, dict) and "$ref" not in choice), choices[0]
    )


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    whole = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        part = _resolved(str(part["$ref"]), root) if "$ref" in part else part
        for name, value in (part or {}).items():
            if name == "properties":
                whole[name] = {**whole.get(name, {}), **value}
            elif name == "required":
                whole[name] = [*whole.get(name, ()), *value]
            else:
                whole.setdefault(name, value)
    return whole
