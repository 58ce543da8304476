"""The closed registry of what can be counted and billed, and which count is inside which.

The registry is data (`pricing_data/units.json`, whose `about` says what each field means); this file gives it
names and the few questions that price arithmetic asks. Adding a unit is one row there, and nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

import orjson

Direction = Literal["input", "output"]
# Names come from answers and from those who report usage: a longer one is no unit.
_NAME_MAX = 128


@dataclass(frozen=True, slots=True)
class Fallback:
    """Whose rate stands in for a missing one. `told`: the cost says so. `bounds`: it is never too low."""

    unit: str
    told: bool
    bounds: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing that is counted.

    within: every unit whose count includes this one, nearest and farther.
    per: how many units one price covers.
    media: audio, image and video tokens, which a request made only of text cannot cause.
    optional: costs nothing where no rate is listed, instead of making the cost unknown.
    qualifiers: what it may be told apart by, in the order in which names carry it.
    """

    name: str
    label: str
    family: str
    direction: Direction | None
    within: frozenset[str]
    per: int
    fallback: Fallback | None
    media: bool
    optional: bool
    qualifiers: tuple[str, ...] = ()


def _registry(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for name, row in rows.items():
        # A row stands below those that include it, so their own ancestors are already known.
        parents = row.get("within", ())
        ancestors = frozenset(parents).union(*(units[parent].within for parent in parents))
        fallback = row.get("fallback")
        units[name] = Unit(
            name=name,
            label=row["label"],
            family=row["family"],
            direction=row.get("direction"),
            within=ancestors,
            per=row.get("per", 1),
            fallback=_fallback(fallback) if fallback else None,
            media=row.get("media", False),
            optional=row.get("optional", False),
            qualifiers=tuple(row.get("qualifiers", ())),
        )
    return units


def _fallback(row: Mapping[str, Any]) -> Fallback:
    told = row.get("told", False)
    return Fallback(unit=row["unit"], told=told, bounds=row.get("bounds", not told))


UNITS: Mapping[str, Unit] = MappingProxyType(
    _registry(orjson.loads(files("pricing_data").joinpath("units.json").read_bytes())["units"])
)


@lru_cache(maxsize=1_024)
def unit_of(name: str) -> Unit | None:
    """The unit of that name, with its qualifiers if it has any; None where the registry has no such unit.

    `output_images:1024x1024:high` is inside `output_images:1024x1024`, and that inside `output_images`.
    """
    found = UNITS.get(name)
    if found is not None or len(name) > _NAME_MAX:
        return found
    base, *told = name.split(":")
    plain = UNITS.get(base)
    if plain is None or not all(told) or len(told) > len(plain.qualifiers):
        return None
    parents = frozenset(":".join((base, *told[:count])) for count in range(len(told)))
    return replace(
        plain,
        name=name,
        label=f"{plain.label} {' '.join(told)}",
        within=plain.within | parents,
        fallback=Fallback(":".join((base, *told[:-1])), told=False, bounds=True),
        qualifiers=plain.qualifiers[len(told) :],
    )


def depth(name: str) -> int:
    """How many counts include this one; the most specific unit has the greatest depth. 0: no such unit."""
    unit = unit_of(name)
    return len(unit.within) if unit is not None else 0


def within(first: str, second: str) -> bool:
    """True where the count of the first unit is inside that of the second."""
    unit = unit_of(first)
    return unit is not None and second in unit.within


def join_of(first: str, second: str) -> str | None:
    """The unit that counts what is in both (cached audio for cached and audio), or None."""
    if within(first, second) or within(second, first):
        return None
    for name, unit in UNITS.items():
        if first in unit.within and second in unit.within:
            return name
    return None
