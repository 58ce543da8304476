"""RouteTable: from the model a client asks for to the targets that may serve it. Pure.

A name is looked up in this order: a configured route; a model that a provider offers by its own name (the
provider configured first wins, of those that speak the caller's dialect); `provider/model`, which reaches any
model of a configured provider, priced or not; a name that a provider's price list has a price for, though not
as a model's own (a dated one, say).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from routing.order import By, Policy
from routing.outcome import RULES, Next, Outcome
from routing.presets import price_list
from routing.target import Target

FALLBACKS = frozenset(outcome for outcome, rule in RULES.items() if rule.targets is not Next.NONE)


@dataclass(frozen=True, slots=True)
class Route:
    """A model alias, its targets, and how one of them is found for a request.

    `fallback_on`: the outcomes after which another target is asked. `deadline_ms`: how long after a request's
    arrival an attempt may still begin. `others`: of a model's own name, the same at providers configured
    later; one of them serves a caller whose dialect the first does not speak.
    """

    alias: str
    targets: tuple[Target, ...]
    assumed_max_output: int | None = None
    minimum_output: int | None = None
    order: Policy = "listed"
    sticky_by: By = "customer"
    fallback_on: frozenset[Outcome] = FALLBACKS
    deadline_ms: int = 300_000
    others: tuple[Target, ...] = ()
    in_order: bool = field(default=True, init=False)
    """The targets stand as priorities say already."""
    timed: bool = field(default=False, init=False)
    """How fast its targets are matters to it."""

    def __post_init__(self) -> None:
        priorities = [target.priority for target in self.targets]
        object.__setattr__(self, "in_order", priorities == sorted(priorities))
        object.__setattr__(self, "timed", self.order == "fastest")


class RouteTable:
    """All routes of one configuration.

    `routes`: the configured ones. `offered`: provider name -> (price list id, models it offers by name).
    `priced`: (provider, price list id, model) -> whether the provider offers that name for its price.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        offered: Mapping[str, tuple[str, Sequence[str]]],
        priced: Callable[[str, str, str], bool] = lambda *_: False,
    ) -> None:
        self._priced = priced
        self._configured = {route.alias: route for route in routes}
        self._prices = {provider: prices for provider, (prices, _) in offered.items()}
        self._offered: dict[str, Route] = {}
        for provider, (prices, models) in offered.items():
            for model in models:
                target, first = target_of(provider, model, prices), self._offered.get(model)
                self._offered[model] = (
                    Route(model, (target,))
                    if first is None
                    else replace(first, others=(*first.others, target))
                )

    def find(self, name: str) -> Route | None:
        """The route for a model name, None when nothing here serves it."""
        route = self._configured.get(name) or self._offered.get(name)
        if route is not None:
            return route
        provider, slash, model = name.partition("/")
        prices = self._prices.get(provider)
        if slash and model and prices is not None:
            return Route(name, (target_of(provider, model, prices, listed=False),))
        for provider, prices in self._prices.items():
            if self._priced(provider, prices, name):
                return Route(name, (target_of(provider, name, prices, listed=False),))
        return None

    def known(self, name: str) -> bool:
        """True for a configured or offered name."""
        return name in self._configured or name in self._offered

    def names(self) -> list[tuple[str, str]]:
        """(model name, provider of its first target) of every route that `GET /v1/models` lists."""
        listed = {**self._offered, **self._configured}
        return sorted((alias, route.targets[0].provider) for alias, route in listed.items())

    def label_names(self) -> list[str]:
        """Names that may be metric labels, those of an operator first; the same in every worker."""
        return [*sorted(self._configured), *sorted(self._offered.keys() - self._configured.keys())]

    def configured(self) -> list[Route]:
        """The routes that an operator wrote."""
        return list(self._configured.values())


def target_of(
    provider: str,
    model: str,
    prices: str,
    *,
    priced_as: str | None = None,
    weight: int = 1,
    priority: int = 0,
    listed: bool = True,
) -> Target:
    """A target, its price list worked out where the provider's depends on the model."""
    own_list, own_name = price_list(prices, model)
    return Target(provider, model, own_list, priced_as or own_name, weight, priority, listed)
