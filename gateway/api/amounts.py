"""Amounts of limits in bodies and answers: dollars and nano-USD of money, else whole numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from budgets.limit import check_amount
from gateway.api.fields import Nano, exact, usd
from metering.money import usd_to_nano

MONEY = "money"
CENT_NANO = 10_000_000

Given = Annotated[
    Decimal,
    BeforeValidator(exact),
    WithJsonSchema(
        {"type": "number", "minimum": 0, "description": "US dollars where money is limited, else a count"}
    ),
]
Dollars = Annotated[
    Decimal,
    BeforeValidator(exact),
    WithJsonSchema({"type": "number", "minimum": 0, "description": "US dollars, exactly as written"}),
]
"""A number in a body: nothing of it is rounded."""
NanoGiven = Annotated[
    str, Field(pattern=r"^[0-9]{1,16}$", description="The same in nano-USD (1e-9 US dollars), in its place")
]
Amount = Annotated[
    Decimal | int,
    WithJsonSchema({"type": "number", "description": "US dollars where money is limited, else a count"}),
]
AmountNano = Nano
"""Beside it, of money alone."""


def read_amount(kind: str, value: Decimal | None, value_nano: str | None, what: str) -> int:
    """What was told of a limit's value, as the ledger has it. ValueError says what is wrong."""
    if (value is None) == (value_nano is None):
        raise ValueError(f"{what}: write one of value and value_nano")
    if value_nano is not None:
        if kind != MONEY:
            raise ValueError(f"{what}_nano goes with the kind {MONEY}, not with {kind}")
        return check_amount(int(value_nano), f"{what}_nano")
    assert value is not None
    if kind == MONEY:
        try:
            return check_amount(usd_to_nano(str(value)), what)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    if not value.is_finite() or value.as_tuple().exponent not in range(-30, 31) or value != int(value):
        raise ValueError(f"{what}: a limit of {kind} is a whole number, such as 1000")
    return check_amount(int(value), what)


def amount(kind: str, name: str, found: int | None) -> dict[str, Any]:
    """An amount in an answer, in both forms where it is money."""
    if kind != MONEY:
        return {name: found, f"{name}_nano": None}
    return {name: usd(found), f"{name}_nano": None if found is None else str(found)}
