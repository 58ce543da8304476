"""What the models of the API have in common: exact money, moments, names; unknown fields are faults."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from accounts.naming import NAME, NAME_EXPECTED
from metering.money import nano_to_usd

LIST_MAX = 200
LIST_USUAL = 50


class Asked(BaseModel):
    """A query or a body, in snake_case: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AskedCamel(BaseModel):
    """A body of the platform paths: the same in camelCase."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class Told(BaseModel):
    """An answer, in snake_case."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToldCamel(BaseModel):
    """An answer of the platform paths, in camelCase."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True)


Usd = Annotated[
    Decimal,
    WithJsonSchema({"type": "number", "description": "US dollars, as exact as written", "examples": [0.5]}),
]
"""Dollars in an answer: a JSON number with all its digits."""
Nano = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": "^-?[0-9]+$", "description": "nano-USD (1e-9 US dollars), whole"}
    ),
]
"""The same amount for readers whose numbers are not exact."""


def usd(nano: int | None) -> Decimal | None:
    """An amount as `Usd`; None stays unknown."""
    return None if nano is None else Decimal(nano_to_usd(nano))


def money(**amounts: int | None) -> dict[str, Any]:
    """`cost=12_500_000` -> {"cost": 0.0125 dollars, "cost_nano": "12500000"}: both forms of each amount."""
    found: dict[str, Any] = {}
    for name, nano in amounts.items():
        found[name] = usd(nano)
        found[f"{name}_nano"] = None if nano is None else str(nano)
    return found


def kind_of(value: Any) -> str:
    """What a value of a body is, in the words of an error."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Decimal):
        return "a number with a point"
    return {int: "a number", list: "a list"}.get(type(value), "an object")


def exact(value: Any) -> Decimal:
    """A number of a body, with all its digits. ValueError where it is none: a text is not read as one."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError(f"write a number, such as 0.5, not {kind_of(value)}")
    return Decimal(value)


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?\Z")


def moment_ms(text: Any) -> int:
    """A date (its midnight) or a date and time of ISO 8601, UTC where it names no offset, as milliseconds.

    ValueError where it is none, or before 1970.
    """
    if not isinstance(text, str):
        raise ValueError("write a date or a moment as text, such as 2026-11-21 or 2026-11-21T08:30:00Z")
    text = text.upper()  # RFC 3339 has its letters small, too
    if not (_DAY.match(text) or _MOMENT.match(text)):
        raise ValueError("write a date or a moment, such as 2026-11-21 or 2026-11-21T08:30:00Z")
    whole, _, fraction = text.partition(".")
    digits = re.match(r"\d*", fraction)
    millis = int((digits[0] if digits else "")[:3].ljust(3, "0"))
    offset = fraction[digits.end() :] if digits else ""
    try:
        found = datetime.fromisoformat(whole + offset)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no moment of the calendar") from None
    seconds = int((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if seconds < 0:
        raise ValueError("moments before 1970 are not known")
    return seconds * 1_000 + millis


def moment_text(at_ms: int | None) -> str | None:
    """Milliseconds since the epoch as ISO 8601, UTC; None stays None."""
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    # A page of events has hundreds, and strftime takes five times as long.
    return f"{at.isoformat()[:19]}.{at_ms % 1_000:03d}Z"


Moment = Annotated[
    int,
    BeforeValidator(moment_ms),
    WithJsonSchema(
        {
            "type": "string",
            "description": "A date (its midnight) or a moment of ISO 8601; UTC where it names no offset",
            "examples": ["2026-11-21", "2026-11-21T08:30:00Z"],
        }
    ),
]
"""A moment in a query or body; milliseconds since the epoch once read."""
MomentText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in an answer."""


def _own(name: str) -> str:
    if not NAME.match(name):
        raise ValueError(f"write {NAME_EXPECTED}")
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
"""A name or an id: visible ASCII characters."""
OwnName = Annotated[
    Name,
    AfterValidator(_own),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^([!-)+-~]|[!-~]{2,128})$"}
    ),
]
"""A name that something is given, or is asked for by: `*` alone stands for each."""
Label = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of what people call something; may be empty."""


class Paged(Asked):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = LIST_USUAL
    cursor: Annotated[
        str | None,
        Field(max_length=1_024, description="`next_cursor` of the page before; with the same filters"),
    ] = None


Ratio = Annotated[
    Decimal,
    WithJsonSchema({"type": "number", "description": "A share: 0.625 is 62.5 %", "examples": [0.625]}),
]
"""A part of something in an answer, with four places."""
