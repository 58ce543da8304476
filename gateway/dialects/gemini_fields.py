"""How Google reads JSON: names in camelCase or snake_case, and one object where a list of them may stand.

Both spellings of a name in one object are refused: which of them a server obeys is its own affair.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

from gateway.dialects.exchange import MAXIMUM_TOKENS
from gateway.errors import BadRequest

_SHOWN = 80


@lru_cache(maxsize=256)
def snake(name: str) -> str:
    """The name as it stands in the protocol's definition."""
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def wrong(path: str, expected: str, value: Any) -> BadRequest:
    """The complaint about a value of the wrong type, in the words Google uses."""
    shown = orjson.dumps(value).decode()
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    return BadRequest(f"Invalid value at '{path}' ({expected}), {shown}", param=path, code="invalid_type")


def read(found: dict[str, Any], name: str, path: str = "") -> Any:
    """The field of that name, given in camelCase; None where it is absent or null."""
    value, other = found.get(name), snake(name)
    if other == name:
        return value
    again = found.get(other)
    if again is None:
        return value
    if value is not None:
        raise BadRequest(
            f"Invalid JSON payload received. '{path}{other}' is given twice, also as '{name}'.",
            param=f"{path}{other}",
            code="invalid_value",
        )
    return again


def read_object(found: dict[str, Any], name: str, path: str = "") -> dict[str, Any] | None:
    """The object of that name, None where there is none."""
    value = read(found, name, path)
    if value is not None and not isinstance(value, dict):
        raise wrong(path + snake(name), "an object", value)
    return value


def read_objects(found: dict[str, Any], name: str, path: str = "") -> list[dict[str, Any]]:
    """The objects of that name; one alone may stand without its list."""
    value = read(found, name, path)
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    for number, each in enumerate(listed):
        if not isinstance(each, dict):
            raise wrong(f"{path}{snake(name)}[{number}]", "an object", each)
    return listed


def read_text(found: dict[str, Any], name: str, path: str = "") -> str | None:
    """The text of that name, None where there is none."""
    value = read(found, name, path)
    if value is not None and not isinstance(value, str):
        raise wrong(path + snake(name), "TYPE_STRING", value)
    return value


def read_words(found: dict[str, Any], name: str, path: str = "") -> list[str]:
    """The words of that name in capitals; one alone may stand without its list."""
    value = read(found, name, path)
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    for each in listed:
        if not isinstance(each, str):
            raise wrong(path + snake(name), "a list of words", value)
    return [each.upper() for each in listed]


def read_count(found: dict[str, Any], name: str, path: str, *, most: int = MAXIMUM_TOKENS) -> int | None:
    """A whole number from 1 on, however it is spelt; None where there is none."""
    value = read(found, name, path)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(path + snake(name), "TYPE_INT32", value)
    if not 1 <= value <= most:
        raise BadRequest(
            f"Unable to submit request: '{path}{snake(name)}' is {value}, and 1 to {most} is supported.",
            param=path + snake(name),
            code="invalid_value",
        )
    return value
