"""One provider's price list as it is shipped: models, how their names are matched, and dated prices.

`pricing_data/schema.json` says what a list may contain. A list is read once per process, when its provider is
first asked for; the entries keep the order of the file, in which the last active one wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import orjson

from metering.plan import Terms
from metering.price import NO_UPLIFTS, Rate, Uplifts

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WEEKDAY = _EPOCH.weekday()
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A model name of a request is matched against many rules, some of them patterns: no name is this long.
_NAME_MAX = 256

Match = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """One dated price, complete (variant None) or laid over the complete one for a variant.

    from_ms, until_ms: in force from (inclusive) until (exclusive); None is open.
    hours: the daily UTC window in ms since midnight, [start, end), across midnight where end < start.
    weekdays: on which days (Monday is 0), UTC; a window across midnight belongs to the day it starts on.
    variant: "flex" for what a service tier or processing mode selects, "key=value" for other conditions.
    """

    id: str
    variant: str | None
    from_ms: int | None
    until_ms: int | None
    hours: tuple[int, int] | None
    rates: Mapping[str, Rate]
    minimums: Mapping[str, int]
    source: str
    checked: str
    weekdays: frozenset[int] | None = None

    def active(self, at_ms: int) -> bool:
        """True when a call that started at this moment is charged by this entry."""
        if self.from_ms is not None and at_ms < self.from_ms:
            return False
        if self.until_ms is not None and at_ms >= self.until_ms:
            return False
        day, clock = divmod(at_ms, DAY_MS)
        if self.hours is not None:
            start, end = self.hours
            if start <= end:
                if not start <= clock < end:
                    return False
            elif clock < end:
                day -= 1
            elif clock < start:
                return False
        return self.weekdays is None or (day + _EPOCH_WEEKDAY) % 7 in self.weekdays


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a list, with every price it has had."""

    id: str
    context_window: int | None
    max_output_tokens: int | None
    reasoning: bool
    terms: Terms
    uplifts: Uplifts
    prices: tuple[Entry, ...]
    variants: tuple[Entry, ...]


class PriceList:
    """The models of one provider. `find` takes the first whose rule matches a name, in the file's order."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.provider: str = document["provider"]
        self.name: str = document["name"]
        self.by_report: bool = document.get("bills", "list") == "reported"
        self.fallback_providers: tuple[str, ...] = tuple(document.get("fallback_providers", ()))
        defaults = (document["source"], document["checked"])
        self.models = tuple(_model(row, defaults) for row in document["models"])
        # Most rules are plain names: those are looked up, and only rules before a hit are still tried.
        self._names: dict[str, int] = {}
        self._rules: list[tuple[int, Match]] = []
        for position, row in enumerate(document["models"]):
            plain = _plain_names(row["match"])
            if plain is None:
                self._rules.append((position, _matcher(row["match"])))
            for name in plain or ():
                self._names.setdefault(name, position)

    def find(self, name: str) -> Model | None:
        """The model that `name` means, or None. Case does not matter; a date may be written compactly."""
        if len(name) > _NAME_MAX:
            return None
        name = name.lower()
        return self._matched(name) or self._matched(_dashed_date(name))

    def _matched(self, name: str) -> Model | None:
        position = self._names.get(name, len(self.models))
        for index, matches in self._rules:
            if index > position:
                break
            if matches(name):
                return self.models[index]
        return self.models[position] if position < len(self.models) else None


def read_list(provider: str) -> PriceList | None:
    """The shipped list of a provider, or None where there is none."""
    if not re.fullmatch(r"[a-z0-9_-]+", provider):
        return None
    resource = files("pricing_data").joinpath("providers", f"{provider}.json")
    if not resource.is_file():
        return None
    return PriceList(orjson.loads(resource.read_bytes()))


def listed_providers() -> list[str]:
    """Ids of all providers with a shipped list, sorted."""
    names = (resource.name for resource in files("pricing_data").joinpath("providers").iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def day_ms(text: str) -> int:
    """The start of a day written 2026-11-21, or a moment 2026-11-21T16:00, in ms since the epoch, UTC."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def _model(row: Mapping[str, Any], defaults: tuple[str, str]) -> Model:
    return Model(
        id=row["id"],
        context_window=row.get("context_window"),
        max_output_tokens=row.get("max_output_tokens"),
        reasoning=row.get("reasoning", False),
        terms=Terms(row.get("billed_as", {}), frozenset(row.get("billed_once", ()))),
        uplifts=_uplifts(row.get("uplifts")),
        prices=tuple(_entry(price, None, defaults) for price in row["prices"]),
        variants=tuple(_entry(price, price["when"], defaults) for price in row.get("variants", ())),
    )


def _uplifts(row: Mapping[str, Any] | None) -> Uplifts:
    return Uplifts(row["per_mille"], row["told_by"] == "answer") if row else NO_UPLIFTS


def _entry(row: Mapping[str, Any], when: Mapping[str, str] | None, defaults: tuple[str, str]) -> Entry:
    start, end = row.get("effective_from"), row.get("effective_to")
    hours = row.get("hours_utc")
    steps = {unit: [(-1, pico)] for unit, pico in row["rates"].items()}
    for tier in row.get("context_tiers", ()):
        for unit, pico in tier["rates"].items():
            steps[unit].append((tier["above"], pico))
    return Entry(
        id=row["id"],
        variant=_variant(when) if when else None,
        from_ms=day_ms(start) if start else None,
        until_ms=day_ms(end) if end else None,
        hours=(_clock_ms(hours[0]), _clock_ms(hours[1])) if hours else None,
        rates={
            unit: Rate(tuple(each), row["id"], graduated=len(each) > 1 and row.get("graduated", False))
            for unit, each in steps.items()
        },
        minimums=row.get("minimums", {}),
        source=row.get("source", defaults[0]),
        checked=row.get("checked", defaults[1]),
        weekdays=frozenset(map(_WEEKDAYS.index, days)) if (days := row.get("weekdays")) else None,
    )


def _variant(when: Mapping[str, str]) -> str:
    """What selects the variant, as callers name it: the tier alone, or key=value for anything else."""
    ((key, value),) = when.items()
    return value if key in ("service_tier", "processing", "speed") else f"{key}={value}"


def _clock_ms(text: str) -> int:
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000


def _plain_names(rule: Mapping[str, Any]) -> list[str] | None:
    """The names that a rule lists, where it does nothing but list names."""
    clauses: Sequence[Mapping[str, Any]] = rule.get("or", (rule,))
    if all("equals" in clause for clause in clauses):
        return [clause["equals"].lower() for clause in clauses]
    return None


def _matcher(rule: Mapping[str, Any]) -> Match:
    """A rule as a function of the lower-case name."""
    ((kind, value),) = rule.items()
    if kind in ("or", "and"):
        parts = [_matcher(part) for part in value]
        if kind == "or":
            return lambda name: any(part(name) for part in parts)
        return lambda name: all(part(name) for part in parts)
    if kind == "regex":
        pattern = re.compile(value)
        return lambda name: pattern.search(name) is not None
    text = value.lower()
    if kind == "equals":
        return lambda name: name == text
    if kind == "prefix":
        return lambda name: name.startswith(text)
    if kind == "suffix":
        return lambda name: name.endswith(text)
    if kind == "contains":
        return lambda name: text in name
    raise ValueError(f"unknown match rule {kind!r}")


_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def _dashed_date(name: str) -> str:
    """`gpt-5.2-20251211`, as routers write it, in the form of the lists: `gpt-5.2-2025-12-11`."""
    return _COMPACT_DATE.sub(r"-\1-\2-\3", name)
