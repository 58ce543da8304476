"""Price simulation: what recorded requests would have cost at other prices or other models. Pure.

Each attempt that a change meets is priced anew from the usage that was recorded for it, at the moment at
which it began; everything else stays as it was. Nothing is guessed: what cannot be priced anew is counted and
left out of both sides of the comparison. A price that is what the list has for a unit anyway changes nothing:
at the same prices an attempt costs what was recorded for it, whatever context, tier or region it had. One
that is not says nothing of contexts for which the list charges otherwise, unless it is given for any length.

Two things cannot be known from the record, and are stated with every answer: another model would have counted
the same text as another number of tokens, and the service tier of an attempt is not recorded, so it is priced
at the default tier. `not_reproduced` counts attempts whose recorded cost is not what their usage costs there
at today's knowledge of the prices of their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from metering.event import Attempt, CostEvent
from metering.price import ModelPrice
from metering.pricebook import PriceBook
from metering.usage import Usage

NO_USAGE = "no_usage"
UNPRICED = "unpriced"
LONG_CONTEXT = "long_context"

RevenueOf = Callable[[CostEvent, int | None, str | None], tuple[int | None, bool]]
"""Of an event with its recorded revenue and that one's source: its revenue in the scenario (None: not known),
and whether that can be said."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Attempts of this route, provider and model (None: any) go to another model instead."""

    to_provider: str
    to_model: str
    route: str | None = None
    provider: str | None = None
    model: str | None = None

    def meets(self, event: CostEvent, attempt: Attempt) -> bool:
        """Whether the attempt would have gone there."""
        return (
            self.route in (None, event.route_final)
            and self.provider in (None, attempt.provider)
            and self.model in (None, attempt.model)
        )


@dataclass(frozen=True, slots=True)
class Laid:
    """Other prices of one model: pico-USD per `Unit.per` by unit. `book`: the price book with those of these
    units laid over. `any_length`: they hold for contexts of any length."""

    rates_pico: Mapping[str, int]
    book: Callable[[frozenset[str]], PriceBook]
    any_length: bool = False

    def otherwise(self, price: ModelPrice | None, input_tokens: int) -> frozenset[str] | None:
        """The units that cost something else in a request of this many input tokens than by `price`; None
        where that cannot be said, since the list has another price for contexts that are so long."""
        short = price.default.band(0).rates if price is not None else {}
        here = price.default.band(input_tokens).rates if price is not None else {}
        known = here if self.any_length else short
        found = frozenset(
            unit for unit, pico in self.rates_pico.items() if unit not in known or known[unit][0] != pico
        )
        if not self.any_length and any(here[unit][0] != short[unit][0] for unit in found & short.keys()):
            return None
        return found


@dataclass(frozen=True, slots=True)
class Scenario:
    """What would be otherwise. `now`: prices as they are. `laid`: other ones by (provider, canonical model).
    `list_of`: whose price list holds for a provider. `revenue` None: as recorded."""

    now: PriceBook
    account_id: str
    list_of: Callable[[str], str] = str
    swaps: tuple[Swap, ...] = ()
    laid: Mapping[tuple[str, str], Laid] = field(default_factory=dict)
    revenue: RevenueOf | None = None

    def price(self, provider: str, model: str, at_ms: int) -> ModelPrice | None:
        """The price as it is."""
        return self.now.find(self.list_of(provider), model, at_ms, self.account_id)

    def laid_on(self, provider: str, model: str, price: ModelPrice | None) -> Laid | None:
        """What is laid over the model's `price`, under each of its names."""
        owner = self.list_of(provider).lower()
        names = (model.lower(), price.model.lower() if price is not None else model.lower())
        return next((self.laid[owner, name] for name in names if (owner, name) in self.laid), None)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its corrected cost (the known part where `unpriced`) and its revenue."""

    event: CostEvent
    known_nano: int
    unpriced: bool
    revenue_nano: int | None
    revenue_source: str | None


@dataclass(slots=True)
class Outcome:
    """Sums of one group: before and after, over the events for which both are known.

    `events`: all. `changed`: those of which an attempt was priced anew. `not_computable`: those that are in
    neither `before_nano` nor `after_nano`. `revenue_events`: those whose revenue is in both sums of it.
    """

    key: str | None = None
    events: int = 0
    changed: int = 0
    not_computable: int = 0
    before_nano: int = 0
    after_nano: int = 0
    revenue_events: int = 0
    revenue_before_nano: int = 0
    revenue_after_nano: int = 0
    revenue_not_computable: int = 0
    not_reproduced: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Count the other's too."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


_SUMMED = (
    *("events", "changed", "not_computable", "before_nano", "after_nano", "revenue_events"),
    *("revenue_before_nano", "revenue_after_nano", "revenue_not_computable", "not_reproduced"),
)


def simulate(
    scenario: Scenario, recorded: Iterable[Recorded], key_of: Callable[[CostEvent], str | None]
) -> tuple[list[Outcome], Outcome]:
    """Groups by `key_of`, the largest change of cost first, and their exact total."""
    groups: dict[str | None, Outcome] = {}
    total = Outcome()
    for each in recorded:
        one = _of_event(scenario, each)
        key = key_of(each.event)
        groups.setdefault(key, Outcome(key)).add(one)
        total.add(one)
    rows = sorted(
        groups.values(),
        key=lambda row: (-abs(row.after_nano - row.before_nano), -row.before_nano, row.key or ""),
    )
    return rows, total


def _of_event(scenario: Scenario, recorded: Recorded) -> Outcome:
    event = recorded.event
    found = Outcome(events=1)
    costs: list[int | None] = []
    for attempt in event.attempts:
        target = _target(scenario, event, attempt)
        if target is None:
            costs.append(attempt.cost_nano)
            continue
        found.changed = 1
        if _same(scenario, event, attempt, target):
            costs.append(attempt.cost_nano)
            continue
        nano, reason = _priced(scenario, event, attempt, target)
        costs.append(nano)
        if reason is not None:
            found.reasons[reason] = 1
        if not _reproduced(scenario, event, attempt):
            found.not_reproduced += 1
    after = _sum(costs) if found.changed else None if recorded.unpriced else recorded.known_nano
    if found.changed and after is not None:
        # What is not a cost of an attempt stays: corrections, and what was reported beside attempts.
        after += recorded.known_nano - sum(each.cost_nano or 0 for each in event.attempts)
    if recorded.unpriced or after is None:
        found.not_computable = 1
        if recorded.unpriced and not found.reasons:
            found.reasons[UNPRICED] = 1
    else:
        found.before_nano, found.after_nano = recorded.known_nano, after
    _revenue(scenario, recorded, found)
    return found


def _revenue(scenario: Scenario, recorded: Recorded, found: Outcome) -> None:
    before = after = recorded.revenue_nano
    computable = True
    if scenario.revenue is not None:
        after, computable = scenario.revenue(recorded.event, before, recorded.revenue_source)
    if not computable:
        found.revenue_not_computable = 1
    elif before is not None or after is not None:
        found.revenue_events = 1
        found.revenue_before_nano, found.revenue_after_nano = before or 0, after or 0


def _target(scenario: Scenario, event: CostEvent, attempt: Attempt) -> tuple[str, str] | None:
    """(provider, model) at whose price the attempt is priced anew; None where it stays as it is."""
    for swap in scenario.swaps:
        if swap.meets(event, attempt):
            return swap.to_provider, swap.to_model
    if attempt.provider is None or attempt.model is None or not scenario.laid:
        return None
    mine = (attempt.provider, attempt.model)
    price = scenario.price(*mine, _moment(event, attempt))
    return None if scenario.laid_on(*mine, price) is None else mine


def _same(scenario: Scenario, event: CostEvent, attempt: Attempt, target: tuple[str, str]) -> bool:
    """Whether the attempt would have gone where it went, at the price that it had there."""
    if attempt.cost_nano is None or target[0] != attempt.provider or attempt.model is None:
        return False
    at_ms = _moment(event, attempt)
    went, goes = scenario.price(attempt.provider, attempt.model, at_ms), scenario.price(*target, at_ms)
    if went is None or goes is None or went.model != goes.model:
        return False
    laid = scenario.laid_on(*target, goes)
    return laid is None or laid.otherwise(goes, _input_tokens(attempt)) == frozenset()


def _priced(
    scenario: Scenario, event: CostEvent, attempt: Attempt, target: tuple[str, str]
) -> tuple[int | None, str | None]:
    if attempt.usage is None:
        # An attempt that was refused or never sent has no usage and costs nothing anywhere.
        return (0, None) if attempt.cost_nano == 0 else (None, NO_USAGE)
    at_ms = _moment(event, attempt)
    price = scenario.price(*target, at_ms)
    laid = scenario.laid_on(*target, price)
    if laid is not None:
        units = laid.otherwise(price, _input_tokens(attempt))
        if units is None:
            return None, LONG_CONTEXT
        owner = scenario.list_of(target[0])
        price = laid.book(units).find(owner, target[1], at_ms, scenario.account_id)
    nano = None if price is None else price.cost_of(Usage.from_document(attempt.usage)).nano
    return nano, None if nano is not None else UNPRICED


def _reproduced(scenario: Scenario, event: CostEvent, attempt: Attempt) -> bool:
    """Whether the recorded cost is what the recorded usage costs by the price book at the default tier."""
    if attempt.usage is None or attempt.provider is None or attempt.model is None:
        return attempt.cost_nano == 0
    price = scenario.price(attempt.provider, attempt.model, _moment(event, attempt))
    return price is not None and price.cost_of(Usage.from_document(attempt.usage)).nano == attempt.cost_nano


def _input_tokens(attempt: Attempt) -> int:
    return 0 if attempt.usage is None else Usage.from_document(attempt.usage).input_tokens


def _moment(event: CostEvent, attempt: Attempt) -> int:
    return attempt.started_ms or event.started_ms


def _sum(costs: Sequence[int | None]) -> int | None:
    known = [nano for nano in costs if nano is not None]
    return sum(known) if len(known) == len(costs) else None
