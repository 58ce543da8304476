"""Why the targets of a route stand in the order they do, in sentences: by the same steps as on a request's
way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import time

from accounts.key import KeyRecord
from accounts.keyring import ACCOUNT
from gateway.admission import may_serve
from gateway.dialects import SURFACES, Exchange
from gateway.forwarding.candidates import Candidate, place, speaking, worked_out
from gateway.forwarding.questions import ASKABLE, Asked, question
from gateway.forwarding.upstream import Upstream
from metering.money import nano_to_usd
from metering.pricebook import PriceBook
from routing.circuit import State
from routing.table import Route
from routing.target import Target


@dataclass(frozen=True, slots=True)
class Explained:
    """One target: its place (None: it is passed over), and every reason for that."""

    position: int | None
    target: str
    priority: int
    weight: int
    circuit: str
    price: str
    context_window: int | None
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """The request that is imagined: its prompt's size in bytes, its maximum, whether it streams, and the
    surface where it is made; None: the first that some target speaks."""

    prompt_bytes: int = 1_000
    maximum: int | None = None
    stream: bool = False
    surface: str | None = None

    def calls(self, model: str) -> list[Exchange]:
        """The request as each of the surfaces that come into question takes it, in their order."""
        asked = Asked(model, "x" * self.prompt_bytes, self.maximum, self.stream)
        names = ASKABLE if self.surface is None else (self.surface,)
        return [question(SURFACES[name], asked) for name in names]


def explain(
    route: Route,
    upstreams: dict[str, Upstream],
    prices: PriceBook,
    sample: Sample,
    *,
    sticky: str | None,
    bounds_money: bool,
    key: KeyRecord | None = None,
) -> tuple[str, list[Explained]]:
    """The surface, and every target of the route in the order in which such a request would try them.

    `bounds_money`: a hard limit on money applies. `key`: whose list of models counts. Nothing is claimed:
    trials are left to real requests.
    BadRequest where no target speaks the sample's dialect.
    """
    call = _spoken(sample.calls(route.alias), route, upstreams)
    whole, route = route, speaking(call, route, upstreams)
    found = worked_out(call, route, upstreams, prices, int(time() * 1_000), ACCOUNT)
    placing = place(call, route, found, sticky, claim=False)
    lines: list[Explained] = []
    position = 0
    for n in placing.placed:
        candidate = found[n]
        barred = key is not None and not may_serve(key, candidate.target)
        unpriced = bounds_money and candidate.ceiling is None
        over = barred or unpriced
        position += not over
        reasons = [_rank(route, candidate, placing.ranks[n], sticky, stream=call.stream)]
        reasons += _standing(candidate, placing.states[n])
        if barred:
            reasons.append("passed over: the key may not use it")
        if unpriced:
            reasons.append("passed over: its price is not known, and a hard budget applies")
        lines.append(
            Explained(
                None if over else position,
                f"{candidate.target.provider}/{candidate.target.model}",
                candidate.target.priority,
                candidate.target.weight,
                _circuits(candidate),
                _price(candidate, sample),
                candidate.price.context_window if candidate.price else None,
                reasons,
            )
        )
    lines += [_silent(each, call) for each in whole.targets if each not in route.targets]
    return call.surface, lines


def _spoken(calls: list[Exchange], route: Route, upstreams: dict[str, Upstream]) -> Exchange:
    """The first request that some target's provider takes; else the first."""
    served = [upstreams[target.provider].operations for target in route.targets]
    spoken = (call for call in calls if any(call.fitted(each) is not None for each in served))
    return next(spoken, calls[0])


def _silent(target: Target, call: Exchange) -> Explained:
    """A target whose provider does not speak the dialect."""
    reason = f"passed over: its provider does not speak {call.operation}"
    name = f"{target.provider}/{target.model}"
    return Explained(None, name, target.priority, target.weight, "-", "-", None, [reason])


def _rank(route: Route, candidate: Candidate, rank: float, sticky: str | None, *, stream: bool) -> str:
    target = candidate.target
    if len(route.targets) == 1:
        return "the only target"
    first = f"priority {target.priority}, then " if not _one_priority(route) else ""
    if route.order == "listed":
        return f"{first}as listed"
    if route.order == "cheapest":
        likely = candidate.likely_nano
        return first + (
            "no price, so last" if likely is None else f"likely ${nano_to_usd(likely)} for such a request"
        )
    if route.order == "fastest":
        if rank < 0:
            return f"{first}tried first this time, to keep its figure fresh (1 request in 20)"
        return first + ("not measured yet, so last" if rank == math.inf else f"first byte after {rank:.3f} s")
    if target.weight == 0:
        return f"{first}weight 0: only when others fail"
    if route.order == "sticky" and sticky is None:
        return f"{first}drawn by weight {target.weight}: the request names no {route.sticky_by}"
    if route.order == "sticky":
        return f"{first}by the hash of {route.sticky_by} {sticky!r}, weight {target.weight}"
    return f"{first}drawn by weight {target.weight} this time"


def _one_priority(route: Route) -> bool:
    return len({target.priority for target in route.targets}) == 1


def _standing(candidate: Candidate, state: State) -> list[str]:
    """What is known against the target, endpoint by endpoint."""
    upstream, found = candidate.upstream, []
    for endpoint in upstream.endpoints:
        where = f" at {endpoint.label}" if endpoint.label else ""
        place_of = upstream.place(endpoint, candidate.target)
        word = upstream.board.word(place_of)
        if word != "closed":
            found.append(f"its circuit{where} is {word}")
        if aside := upstream.board.aside_ms(place_of):
            found.append(f"its provider{where} asked to be left alone for {aside / 1_000:.1f} s more")
        if aside := upstream.board.aside_ms(endpoint.credential):
            found.append(f"its credential{where} was refused; left alone for {aside / 1_000:.1f} s more")
    if state is State.ASIDE:
        found.append("set aside: behind all that are not")
    elif state is State.TRIAL:
        found.append("one request may try it now")
    return found


def _circuits(candidate: Candidate) -> str:
    upstream = candidate.upstream
    words = [upstream.board.word(upstream.place(each, candidate.target)) for each in upstream.endpoints]
    return ", ".join(dict.fromkeys(words))


def _price(candidate: Candidate, sample: Sample) -> str:
    """The likely cost, and the most that would be held."""
    likely = candidate.likely_nano
    if likely is None or candidate.ceiling is None:
        return "unknown"
    maximum = candidate.ceiling.maximum if sample.maximum is not None else candidate.ceiling.assumed
    return f"${nano_to_usd(likely)}, at most ${nano_to_usd(candidate.ceiling.at(maximum))}"
