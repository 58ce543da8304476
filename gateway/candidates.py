"""Candidates: the targets that may serve one request, each with its price, its ceiling and its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from budgets.ledger import Hold, Opened
from budgets.limit import AMOUNT_MAX
from gateway.ceiling import Ceiling, ceiling, dearest
from gateway.dialects import Exchange
from gateway.errors import BadRequest
from gateway.upstream import Upstream
from metering.pricebook import ModelPrice, PriceBook
from routing.table import Route
from routing.target import Target


@dataclass(slots=True)
class Candidate:
    """One target for one request. `ceiling` is None where no price is known."""

    target: Target
    upstream: Upstream
    body: bytes
    ask_usage: bool
    price: ModelPrice | None
    ceiling: Ceiling | None
    maximum: tuple[str, int] | None = None


def candidates(
    call: Exchange, route: Route, upstreams: Mapping[str, Upstream], prices: PriceBook, at_ms: int
) -> list[Candidate]:
    """The route's targets in order, worked out for this request."""
    found: list[Candidate] = []
    for target in route.targets:
        upstream = upstreams[target.provider]
        ask_usage = call.stream and not call.include_usage and upstream.include_usage
        body = call.forwarded(target.model, maximum=None, ask_usage=ask_usage)
        price = prices.find(target.prices, target.model, at_ms)
        bound = None
        if price is not None:
            bound = ceiling(
                call,
                body,
                price,
                assumed_output=route.assumed_max_output,
                least_output=route.minimum_output,
            )
        found.append(Candidate(target, upstream, body, ask_usage, price, bound))
    return found


def bounded(call: Exchange, found: list[Candidate]) -> list[Candidate]:
    """The candidates whose cost has a ceiling, as a hard money limit demands; BadRequest when none has."""
    if call.unbounded is not None:
        raise BadRequest(
            f"{call.unbounded}: what this costs has no upper bound, and the key has a hard budget.",
            param=call.unbounded,
            code="unbounded_request",
        )
    usable = [candidate for candidate in found if candidate.ceiling is not None]
    if not usable:
        raise BadRequest(
            f"The price of model {call.model!r} is not known, and the key has a hard budget. "
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
            )


def hold_for(found: list[Candidate]) -> Hold:
    """What the ledger is asked to hold: enough for whichever candidate serves."""
    bounds = [candidate.ceiling for candidate in found if candidate.ceiling is not None]
    if not bounds:
        return Hold(full=0, assumed=0, least=0)
    # A ceiling beyond what the ledger can count is beyond every limit as well: the refusal is the same.
    full, assumed, least = (min(amount, AMOUNT_MAX) for amount in dearest(bounds))
    return Hold(full=full, assumed=assumed, least=least)


def write_maximum(call: Exchange, found: list[Candidate], opened: Opened) -> list[Candidate]:
    """The candidates that fit into what was held, each with the output bound it needs written.

    Nothing is written where the client set its own maximum, or where the whole maximum was held.
    """
    if call.maximum is not None or not call.produces_tokens or opened.step == "full":
        return found
    fitting: list[Candidate] = []
    for candidate in found:
        bound = candidate.ceiling
        if bound is None:
            continue
        output = min(bound.assumed, bound.output_within(opened.lease.held_nano))
        if output < bound.least:
            continue
        candidate.maximum = (candidate.upstream.maximum_field, output)
        candidate.body = call.forwarded(
            candidate.target.model, maximum=candidate.maximum, ask_usage=candidate.ask_usage
        )
        fitting.append(candidate)
    return fitting
