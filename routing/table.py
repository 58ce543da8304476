"""RouteTable: from the model a client asks for to the targets that may serve it. Pure.

A name is looked up in this order: a configured route; a model that a provider offers by its own name (the
provider configured first wins); `provider/model`, which reaches any model of a configured provider, priced
or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routing.target import Target


@dataclass(frozen=True, slots=True)
class Route:
    """A model alias and its targets in the order in which they are tried."""

    alias: str
    targets: tuple[Target, ...]
    assumed_max_output: int | None = None
    minimum_output: int | None = None


class RouteTable:
    """All routes of one configuration.

    `routes`: the configured ones. `offered`: provider name -> (price list id, models it offers by name).
    """

    def __init__(self, routes: Sequence[Route], offered: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        self._configured = {route.alias: route for route in routes}
        self._prices = {provider: prices for provider, (prices, _) in offered.items()}
        self._offered: dict[str, Route] = {}
        for provider, (prices, models) in offered.items():
            for model in models:
                self._offered.setdefault(model, Route(model, (Target(provider, model, prices),)))

    def find(self, name: str) -> Route | None:
        """The route for a model name, None when nothing here serves it."""
        route = self._configured.get(name) or self._offered.get(name)
        if route is not None:
            return route
        provider, slash, model = name.partition("/")
        prices = self._prices.get(provider)
        if not slash or not model or prices is None:
            return None
        return Route(name, (Target(provider, model, prices),))

    def known(self, name: str) -> bool:
        """True for a configured or offered name: the closed set that may be a metric label."""
        return name in self._configured or name in self._offered

    def names(self) -> list[tuple[str, str]]:
        """(model name, provider of its first target) of every route that `GET /v1/models` lists."""
        listed = {**self._offered, **self._configured}
        return sorted((alias, route.targets[0].provider) for alias, route in listed.items())
