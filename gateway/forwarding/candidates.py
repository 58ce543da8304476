"""Candidates: the targets that may serve one request, in order, each with its price, ceiling and body."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from budgets.hold import Extra, Hold
from budgets.limit import AMOUNT_MAX
from gateway.ceiling import NO_COST, Ceiling, ceiling, without_price
from gateway.dialects import Exchange
from gateway.errors import BadRequest
from gateway.forwarding.metrics import PASSED_OVER
from gateway.forwarding.upstream import Endpoint, Upstream
from metering.pricebook import ModelPrice, PriceBook
from metering.usage import Usage
from routing.circuit import State
from routing.order import Facts, arrange, healthy_first, ranks
from routing.table import Route
from routing.target import Target

BYTES_A_TOKEN = 4
LIKELY_OUTPUT = 512
"""What a rate of tokens is charged until an answer's own count is known."""


@dataclass(slots=True)
class Candidate:
    """One target for one request. `call`: the request as its provider takes it. `ceiling` is None where no
    price is known."""

    target: Target
    upstream: Upstream
    call: Exchange
    body: bytes
    ask_usage: bool
    price: ModelPrice | None
    ceiling: Ceiling | None
    streams: bool = False
    timed: bool = False
    """Its route asks how fast its targets are."""
    maximum: tuple[str, int] | None = None
    pinned: Endpoint | None = None
    """The only endpoint that has what the request goes on from."""

    @property
    def likely_nano(self) -> int | None:
        """What an answer of usual length is likely to cost here, in nano-USD; None without a price."""
        if self.price is None:
            return None
        output = LIKELY_OUTPUT if self.ceiling is None else min(LIKELY_OUTPUT, self.ceiling.maximum)
        usage = Usage(input_tokens=len(self.body) // BYTES_A_TOKEN, output_tokens=output)
        return self.price.cost_of(usage).nano


def candidates(
    call: Exchange,
    route: Route,
    upstreams: Mapping[str, Upstream],
    prices: PriceBook,
    at_ms: int,
    sticky: str | None = None,
    account: str | None = None,
) -> list[Candidate]:
    """The targets of a route that speaks the request's dialect (`speaking`), in the order in which they are
    tried, worked out for it.

    `sticky`: whom a sticky route must recognise again. `account`: whose own prices apply.
    """
    targets = route.targets
    if len(targets) == 1:
        return [_candidate(call, route, targets[0], upstreams[targets[0].provider], prices, at_ms, account)]
    found = worked_out(call, route, upstreams, prices, at_ms, account)
    placing = place(call, route, found, sticky)
    first = placing.arranged[0]
    if placing.placed[0] != first:
        PASSED_OVER.labels(targets[first].provider, "circuit").inc()
    return [found[n] for n in placing.placed]


def speaking(call: Exchange, route: Route, upstreams: Mapping[str, Upstream]) -> Route:
    """The route with those of its targets whose providers speak the caller's dialect; BadRequest without."""
    targets = route.targets
    if len(targets) == 1 and call.fitted(upstreams[targets[0].provider].operations) is not None:
        return route
    found = spoken(call, route, upstreams)
    if found == targets:
        return route
    if not found:
        names = ", ".join(sorted({target.provider for target in targets}))
        raise BadRequest(
            f"The model `{call.model}` is served by {names}, which does not speak this dialect "
            f"({call.surface}).",
            param="model",
            code="surface_not_supported",
        )
    return replace(route, targets=found)


def spoken(call: Exchange, route: Route, upstreams: Mapping[str, Upstream]) -> tuple[Target, ...]:
    """The route's targets that can be asked this; where there are none, the first of its others that can."""
    return _speaking(call, route.targets, upstreams) or _speaking(call, route.others, upstreams)[:1]


def reachable(route: Route, upstreams: Mapping[str, Upstream]) -> tuple[Target, ...]:
    """The targets that some request or other can go to: of the others those that can be asked what none
    before them can."""
    if not route.others:
        return route.targets
    found = list(route.targets)
    known = frozenset[str]().union(*(upstreams[each.provider].operations for each in found))
    for other in route.others:
        operations = upstreams[other.provider].operations
        if not operations <= known:
            found.append(other)
            known |= operations
    return tuple(found)


def _speaking(
    call: Exchange, targets: tuple[Target, ...], upstreams: Mapping[str, Upstream]
) -> tuple[Target, ...]:
    return tuple(each for each in targets if call.fitted(upstreams[each.provider].operations) is not None)


def _candidate(
    call: Exchange,
    route: Route,
    target: Target,
    upstream: Upstream,
    prices: PriceBook,
    at_ms: int,
    account: str | None,
) -> Candidate:
    call = call.fitted(upstream.operations) or call
    ask_usage = call.stream and call.asks_usage and not call.include_usage and upstream.include_usage
    adapts = upstream.adapts and call.has_habits
    changes = upstream.habits.changes(call, target.priced_as) if adapts else None
    body = call.forwarded(target.model, maximum=None, ask_usage=ask_usage, changes=changes)
    price = prices.find(target.prices, target.priced_as, at_ms, account)
    bound = NO_COST if call.free else None
    if price is not None and bound is None:
        bound = ceiling(
            call,
            body,
            price,
            assumed_output=route.assumed_max_output,
            least_output=route.minimum_output,
            region=upstream.price_region,
        )
    return Candidate(target, upstream, call, body, ask_usage, price, bound, call.stream, route.timed)


def facts_of(
    call: Exchange, found: list[Candidate], sticky: str | None, draw: Callable[[], float] = random.random
) -> Facts:
    """What policies ask about this request."""
    by_name = {candidate.target: candidate for candidate in found}
    return Facts(
        draw=draw,
        cost_nano=lambda target: by_name[target].likely_nano,
        first_byte_s=lambda target: by_name[target].upstream.first_byte_s(target, stream=call.stream),
        sticky=sticky,
    )


@dataclass(frozen=True, slots=True)
class Placing:
    """How the order of several targets came about, for whoever wants to know: indices of the route's targets.

    `ranks`: what the policy said of each, smaller first. `placed`: the order in force.
    """

    ranks: list[float]
    states: list[State]
    arranged: list[int]
    placed: list[int]


def place(
    call: Exchange, route: Route, found: list[Candidate], sticky: str | None, *, claim: bool = True
) -> Placing:
    """Put the candidates in order. `claim` False only looks: no trial of an open circuit is taken."""
    targets = route.targets
    if route.order == "listed":
        ranked = [0.0] * len(targets)
        arranged = list(range(len(targets))) if route.in_order else arrange(targets, ranked)
    else:
        ranked = ranks(route.order, targets, facts_of(call, found, sticky))
        arranged = arrange(targets, ranked)
    states = [candidate.upstream.state(candidate.target) for candidate in found]
    if all(state is State.FREE for state in states):
        return Placing(ranked, states, arranged, arranged)
    placed = healthy_first(arranged, states, lambda n: not claim or found[n].upstream.try_it(targets[n]))
    return Placing(ranked, states, arranged, placed)


def worked_out(
    call: Exchange,
    route: Route,
    upstreams: Mapping[str, Upstream],
    prices: PriceBook,
    at_ms: int,
    account: str | None = None,
) -> list[Candidate]:
    """The route's targets as configured, each with its price, ceiling and body."""
    return [
        _candidate(call, route, each, upstreams[each.provider], prices, at_ms, account)
        for each in route.targets
    ]


def require_bounds(call: Exchange) -> None:
    """BadRequest when what the request can use has no bound, which a hard limit demands."""
    if call.unbounded is not None:
        raise BadRequest(
            f"{call.unbounded}: what this costs has no upper bound, and a hard budget applies to it.",
            param=call.unbounded,
            code="unbounded_request",
        )


def priced(call: Exchange, found: list[Candidate]) -> list[Candidate]:
    """The candidates whose cost has a ceiling, as a hard money limit demands; BadRequest when none has."""
    usable = [candidate for candidate in found if candidate.ceiling is not None]
    if not usable:
        raise BadRequest(
            f"The price of model {call.model!r} is not known, and a hard budget applies. "
            "An operator can configure its price under `prices`.",
            param="model",
            code="model_not_priced",
        )
    return usable


def recount(call: Exchange, route: Route, found: list[Candidate], input_tokens: int) -> None:
    """Replace the free input bound by a counted one."""
    for candidate in found:
        if candidate.price is not None:
            candidate.ceiling = ceiling(
                call,
                candidate.body,
                candidate.price,
                input_tokens=input_tokens,
                assumed_output=route.assumed_max_output,
                least_output=route.minimum_output,
                region=candidate.upstream.price_region,
            )


class Need(NamedTuple):
    """What one attempt at a candidate can take: nano-USD and tokens."""

    nano: int
    input_tokens: int
    output_tokens: int

    def beyond(self, room: Need) -> Extra:
        """What is missing where there is room for `room`."""
        return Extra(
            max(0, self.nano - room.nano),
            max(0, self.input_tokens - room.input_tokens),
            max(0, self.output_tokens - room.output_tokens),
        )

    def joined(self, other: Need) -> Need:
        """Room for either."""
        return Need(
            max(self.nano, other.nano),
            max(self.input_tokens, other.input_tokens),
            max(self.output_tokens, other.output_tokens),
        )

    def held(self) -> dict[str, int]:
        """The same by the ledger's meters."""
        return {
            "m": self.nano,
            "o": self.output_tokens,
            "t": self.input_tokens + self.output_tokens,
        }


NOTHING_NEEDED = Need(0, 0, 0)


def need(bound: Ceiling, maximum: int) -> Need:
    """What an attempt under this output maximum can take."""
    return Need(min(bound.at(maximum), AMOUNT_MAX), bound.tokens.given, bound.tokens.output(maximum))


def bound_of(call: Exchange, route: Route, candidate: Candidate) -> Ceiling:
    """The candidate's ceiling; in tokens alone where its price is not known."""
    if candidate.ceiling is not None:
        return candidate.ceiling
    return without_price(
        call, candidate.body, assumed_output=route.assumed_max_output, least_output=route.minimum_output
    )


def hold_for(call: Exchange, route: Route, first: Candidate, *, counts_tokens: bool) -> Hold:
    """What the ledger is asked to hold for the candidate that is tried first; a dearer one extends it.

    A ceiling beyond what the ledger can count is beyond every limit as well: the refusal is the same.
    """
    if first.ceiling is None and not counts_tokens:
        return Hold(full=0, assumed=0, least=0)
    bound = bound_of(call, route, first)
    if not counts_tokens:
        full_nano = min(bound.at(bound.maximum), AMOUNT_MAX)
        if bound.maximum == bound.least:
            return Hold(full_nano, full_nano, full_nano)
        return Hold(
            full_nano, min(bound.at(bound.assumed), AMOUNT_MAX), min(bound.at(bound.least), AMOUNT_MAX)
        )
    full, assumed, least = (need(bound, maximum) for maximum in (bound.maximum, bound.assumed, bound.least))
    return Hold(
        full=full.nano,
        assumed=assumed.nano,
        least=least.nano,
        input_tokens=bound.tokens.given,
        output_tokens=(full.output_tokens, assumed.output_tokens, least.output_tokens),
        likely_tokens=bound.tokens.given // BYTES_A_TOKEN + min(bound.assumed, LIKELY_OUTPUT),
    )


def maximum_within(bound: Ceiling, held: Mapping[str, int]) -> int:
    """The largest output maximum that what is held leaves room for, at most the assumed one."""
    fitting = [bound.assumed, bound.output_within(held["m"])]
    if "o" in held:
        fitting.append(bound.tokens.maximum_within(held["o"]))
    if "t" in held:
        fitting.append(bound.tokens.maximum_within(held["t"] - bound.tokens.given))
    return min(fitting)


def write_maximum(candidate: Candidate, output: int) -> None:
    """Make the candidate's body ask for at most this many output tokens."""
    habits, target, call = candidate.upstream.habits, candidate.target, candidate.call
    candidate.maximum = (call.only_maximum_field or habits.writes(target.priced_as), output)
    adapts = candidate.upstream.adapts and call.has_habits
    changes = habits.changes(call, target.priced_as) if adapts else None
    candidate.body = call.forwarded(
        target.model, maximum=candidate.maximum, ask_usage=candidate.ask_usage, changes=changes
    )
