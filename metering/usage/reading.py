"""What a provider's answer says of its own cost: usage, tier, model, region, and the bill where it is told.

A reader is a function `read(document, before) -> Reading`. For an answer that comes whole it is called once;
for a stream it is called for each event that may tell something, with what the earlier ones said, and
returns what is known now. Providers report cumulative figures: a later figure replaces an earlier one, an
explicit 0 too, and what an event does not name stays as it was. Nothing is ever added up over events.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from metering.usage.totals import Usage

COUNT_MAX = 10**9
"""A reported count above this is a mistake, and what it costs would be beyond what can be counted."""
_REPORTED_USD_MAX = 10**6
"""No single answer costs a million dollars; such a report is not taken for a bill."""


class Reading(NamedTuple):
    """What is known so far from one answer. A named tuple, because several are made for each request.

    usage: None until something countable was reported.
    service_tier: the tier that served it, in the words of the price lists (`default`, `flex`, `priority`,
        `batch`, `scale`, `fast`, ...); a provider's other words stay, in lower case.
    model: the model that the answer says served it.
    region: where it was served, where that has a price of its own.
    elsewhere: what other models used on behalf of this one, which its own totals leave out.
    reported_nano: what the provider says the request cost, nano-USD.
    raw: the provider's own figures, merged over the events of a stream.
    """

    usage: Usage | None = None
    service_tier: str | None = None
    model: str | None = None
    region: str | None = None
    elsewhere: tuple[tuple[str, Usage], ...] = ()
    reported_nano: int | None = None
    raw: Mapping[str, Any] = MappingProxyType({})


NOTHING = Reading()


class Reader(Protocol):
    """Reads one wire format."""

    def __call__(self, document: Mapping[str, Any], before: Reading = NOTHING) -> Reading:
        """What is known after this answer or event."""
        ...


def count(value: Any) -> int:
    """A count: whole, not negative and not absurd, however it is spelt; else it counts nothing."""
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(min(max(0, value), COUNT_MAX)) if value == value else 0


def part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under that name; an empty one where there is none: a provider may send what it likes."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in an array; none in anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A text that says something, else None."""
    return value if isinstance(value, str) and value else None


def whole(figures: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The counts that are not 0, as `Usage.extra` takes them."""
    return tuple((name, quantity) for name, quantity in figures.items() if quantity)


def usd_nano(value: Any) -> int | None:
    """A reported amount of dollars as nano-USD, to the nearest; None where it is no amount.

    The shortest text that means a float is what the provider wrote, so no digit of it is lost.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value <= _REPORTED_USD_MAX:
        return None
    return int((Decimal(repr(value)) * 10**9).to_integral_value(ROUND_HALF_EVEN))


# The same tiers under other names: Google's traffic types, Anthropic's and Groq's word for the usual one.
_TIERS = {
    "standard": "default",
    "on_demand": "default",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "provisioned_throughput": "provisioned",
}


def tier(value: Any) -> str | None:
    """A provider's word for a service tier in the words of the price lists; None where it says none."""
    if not isinstance(value, str) or not value:
        return None
    name = value.lower().removeprefix("service_tier_").removeprefix("traffic_type_")
    return None if name == "unspecified" else _TIERS.get(name, name)
