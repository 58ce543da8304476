"""Queries and bodies as their models: exact numbers, and every fault named with its field. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from gateway.api.fields import kind_of
from gateway.errors import BadRequest

Model = TypeVar("Model", bound=BaseModel)
FAULTS_TOLD = 5
FIELDS_MAX = 50
SHOWN_MAX = 60
_KINDS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
"""What is wrong with a value's kind, as pydantic calls it -> what would be right."""


def read_query(model: type[Model] | None, query: bytes) -> Model | None:
    """The query string as the model. BadRequest names what is unknown, repeated or not understood."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise BadRequest("The query cannot be read; write name=value&name=value, percent-encoded.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise BadRequest(f"{_shown(name)} is given twice.", param=_shown(name))
        if "\0" in value:
            raise BadRequest(f"{_shown(name)} has a NUL character.", param=_shown(name))
        fields[name] = value
    if model is None:
        if fields:
            _unknown(fields, "query field", ())
        return None
    return _validated(model, fields, "query field", "query", strict=False)


def read_body(model: type[Model] | None, body: bytes) -> Model | None:
    """The body's JSON object as the model; numbers with a point are Decimals. BadRequest as above.

    A value is of the kind that is declared: "yes" is not true, and "3" no number, unless a field says that it
    may be told as text.
    """
    if model is None:
        if body.strip() not in (b"", b"{}"):
            raise BadRequest("This endpoint takes no body.")
        return None
    document = json_of(body)
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return _validated(model, document, "field", "body", strict=True)


def json_of(body: bytes) -> Any:
    """The JSON in a body: no NaN, no half characters, no number that is rounded. BadRequest otherwise."""
    try:
        text = body.decode("utf-8")
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_each_once)
        if "\\u" in text:
            # Half a pair of surrogates is no character that could be stored.
            json.dumps(found, ensure_ascii=False, default=str).encode()
    except UnicodeError:
        raise BadRequest("The body is not UTF-8 text, or has half of a character.") from None
    except json.JSONDecodeError as error:
        said = "it is empty" if not body.strip() else error
        raise BadRequest(f"The body is not JSON: {said}.") from None
    except _Odd as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    except (ValueError, ArithmeticError):
        raise BadRequest("The body is not JSON: a number has more digits than can be read.") from None
    except RecursionError:
        raise BadRequest("The body's JSON is nested too deeply.") from None
    return found


class _Odd(ValueError):
    """What some read as JSON and others do not."""


def _no_number(word: str) -> NoReturn:
    raise _Odd(f"{word} is no number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A name that is there twice says two things, and whichever was taken would be wrong."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise _Odd(f"{_shown(twice)} is there twice")
    return found


def _validated(model: type[Model], fields: dict[str, Any], noun: str, whole: str, *, strict: bool) -> Model:
    try:
        return model.model_validate(fields, strict=strict)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    except RecursionError:
        raise BadRequest("The body's JSON is nested too deeply.") from None
    unknown = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden"]
    if unknown and len(unknown) == len(faults):
        _unknown(unknown, noun, _names(model))
    told = [f"{_place(fault['loc'], whole)}: {_sentence(fault)}" for fault in faults[:FAULTS_TOLD]]
    if len(faults) > FAULTS_TOLD:
        told.append(f"and {len(faults) - FAULTS_TOLD} more")
    raise BadRequest("; ".join(told) + ".", param=_place(faults[0]["loc"], whole))


def _unknown(names: Iterable[str], noun: str, known: tuple[str, ...]) -> NoReturn:
    shown = [_shown(name) for name in names]
    told = f"; known: {', '.join(known)}" if known else ""
    plural = "s" if len(shown) > 1 else ""
    raise BadRequest(
        f"Unknown {noun}{plural}: {', '.join(shown[:FAULTS_TOLD])}{told}.",
        code="unknown_field",
        param=shown[0],
    )


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _sentence(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown"
    if fault["type"] in _KINDS:
        return f"write {_KINDS[fault['type']]}, not {kind_of(fault['input'])}"
    return str(fault["msg"]).removeprefix("Value error, ").rstrip(".")


def _place(loc: Iterable[str | int], whole: str) -> str:
    """The field at fault; `whole` where it is no single one."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" if path else _shown(part)
    return path or whole


def _shown(name: str) -> str:
    """A name that a client sent, so short and plain that it can be told back."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name[:SHOWN_MAX])
    return plain.encode("ascii", "replace").decode() + ("..." if len(name) > SHOWN_MAX else "")
