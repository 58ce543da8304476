"""Between an event and its JSON: functions that are written out from the fields of a dataclass, once.

A loop over the names of fields takes two to three times as long, and this runs for every event: on the hot
path one way, in the recorder and for each page of events the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

AMOUNT_MAX = 2**53 - 1
"""Largest magnitude of any integer in an event: what the ledger can count, about $9.0 M in nano-USD."""
GATEWAY = "gateway"
"""The source of events that the gateway itself made, which do not say so."""


class EventError(ValueError):
    """The document is not a cost event; the text says which field and what was found."""


def document_of(kind: type) -> Callable[[Any], dict[str, Any]]:
    """A function from an instance to its document, with one line of code for each field.

    Written out like dataclasses write `__init__`: a loop over names costs three times as much, on the hot
    path. Fields whose default is None are kept when they are not None, all others when they are not empty;
    no default other than None differs from empty but for words and the version, which are never empty. Of the
    words only the source goes without saying.
    """
    lines = ["def document(item):", " made = dict(item.unknown)"]
    for each in fields(kind):
        if each.name not in ("attempts", "unknown"):
            condition = "value is not None" if each.default is None else "value"
            if each.name == "source":
                condition = f"value != {GATEWAY!r}"
            lines += [f" value = item.{each.name}", f" if {condition}: made[{each.name!r}] = value"]
    namespace: dict[str, Any] = {}
    exec("\n".join([*lines, " return made"]), namespace)  # noqa: S102 - text made of our own field names
    function: Callable[[Any], dict[str, Any]] = namespace["document"]
    return function


def reader_of(kind: type) -> Callable[..., Any]:
    """A function from a document to its instance, with a few lines of code for each field, as below.

    Each field is proved to have its type, where it is not absent or None; what it does not know is kept.
    """
    hints = get_type_hints(kind)
    lines = [
        "def read(document, where, number=None):",
        " if type(document) is not dict: raise misfit(document, where, number)",
        " get, item, seen = document.get, new(kind), 0",
    ]
    names = []
    for each in fields(kind):
        if each.name == "unknown":
            continue
        names.append(each.name)
        expected = _type_of(hints[each.name]).__name__
        test = f"type(value) is {expected}"
        if expected == "int":
            test += f" and {-AMOUNT_MAX} <= value <= {AMOUNT_MAX}"
        default = (
            {"dict": "{}", "list": "[]"}.get(expected) if each.default is MISSING else repr(each.default)
        )
        lines += [
            f" value = get({each.name!r})",
            f" if value is None: item.{each.name} = {default}",
            f" elif {test}: item.{each.name} = value; seen += 1",
            f" else: raise wrong(where, number, {each.name!r}, {expected!r}, value)",
        ]
    lines += [
        " if item.usage: check_usage(item.usage, where, number)",
        " if seen == len(document): item.unknown = {}",
        " else: item.unknown = {name: value for name, value in document.items() if name not in names}",
        " return item",
    ]
    namespace: dict[str, Any] = {
        "kind": kind,
        "new": object.__new__,
        "names": frozenset(names),
        "misfit": _misfit,
        "wrong": _wrong,
        "check_usage": _check_usage,
    }
    exec("\n".join(lines), namespace)  # noqa: S102 - text made of our own field names
    function: Callable[..., Any] = namespace["read"]
    return function


def _type_of(hint: Any) -> type:
    """The type of a field's values, None apart: `dict[str, int] | None` gives dict."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    (found,) = (get_origin(part) or part for part in parts if part is not type(None))
    kind: type = found
    return kind


def _place(where: str, number: int | None) -> str:
    return where if number is None else f"{where}[{number}]"


def _misfit(document: Any, where: str, number: int | None) -> EventError:
    return EventError(f"{_place(where, number)}: expected an object, found {type(document).__name__}")


def _wrong(where: str, number: int | None, name: str, expected: str, value: Any) -> EventError:
    place = f"{_place(where, number)}.{name}"
    if type(value) is int and expected == "int":
        return EventError(f"{place}: {value} is beyond what an event can hold ({AMOUNT_MAX})")
    return EventError(f"{place}: expected {expected}, found {value!r:.80}")


def _check_usage(usage: dict[str, Any], where: str, number: int | None) -> None:
    for unit, quantity in usage.items():
        if type(quantity) is not int or not -AMOUNT_MAX <= quantity <= AMOUNT_MAX:
            place = f"{_place(where, number)}.usage.{unit}"
            raise EventError(f"{place}: expected a whole number, found {quantity!r:.80}")
