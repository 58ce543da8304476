"""What a request used and cost, attempt by attempt, and the event and figures that close it.

A cost is known when the provider reported usage and a price applies; it is estimated when bytes came but no
usage; it is unpriced when no price is known. On a hard limit the part of the hold that an unknown cost may
still claim stays held as doubt, so that the provider's bill never exceeds spent + doubted.
"""

from __future__ import annotations

from time import time

from budgets.hold import Settled
from gateway.forwarding.candidates import Candidate
from gateway.request import Request
from metering.bill import bill
from metering.event import Attempt
from metering.price import Cost
from metering.pricebook import PriceBook
from metering.usage import Usage
from metering.usage.reading import Reading


def price_attempt(
    attempt: Attempt,
    candidate: Candidate,
    reading: Reading,
    prices: PriceBook,
    *,
    source: str,
    most_nano: int,
    account: str | None = None,
    service_tier: str | None = None,
    region: str | None = None,
) -> None:
    """Put what was read of an answer on its attempt, and what that cost.

    `account`: whose own prices apply. `service_tier`, `region`: what was asked for, where the answer names
    none. `most_nano`: what it can have cost where its price names no upper figure, such as its hold.
    """
    target = candidate.target
    attempt.usage = (reading.usage or Usage()).document()
    attempt.usage_source = source
    if reading.model:
        attempt.model = reading.model
    if reading.model == target.model != target.priced_as:
        # The answer repeats the name that was asked for, which is not the one in the price book.
        reading = reading._replace(model=None)
    cost = bill(
        prices,
        target.prices,
        target.priced_as,
        reading,
        attempt.started_ms,
        account=account,
        service_tier=service_tier,
        region=region,
    )
    _note_cost(attempt, cost, source)
    if cost.nano is not None and cost.upper_nano != cost.nano:
        attempt.cost_upper_nano = (
            cost.upper_nano if cost.upper_nano is not None else max(cost.nano, most_nano)
        )


def _note_cost(attempt: Attempt, cost: Cost, source: str) -> None:
    attempt.cost_nano = cost.nano
    attempt.cost_status = _status(cost, source)
    attempt.breakdown = [
        {
            "unit": line.unit,
            "quantity": line.quantity,
            "price_pico": line.price_pico,
            "cost_nano": line.cost_nano,
        }
        for line in cost.lines
    ]
    attempt.price_entries = list(cost.entry_ids)


def _status(cost: Cost, source: str) -> str:
    if cost.status != "priced":
        return cost.status
    if source == "estimated":
        return "estimated"
    for entry in cost.entry_ids:
        if entry.startswith("override:"):
            return "override"
    return "priced"


def close_free(attempt: Attempt) -> None:
    """An attempt that was refused or never sent: it cost nothing, and that is known."""
    attempt.cost_nano, attempt.cost_status = 0, "free"
    attempt.usage_source = "none"


def settle(request: Request, winner: Attempt | None) -> Settled:
    """Total the attempts into the event; returns what the ledger is told.

    `winner`: the attempt that produced the answer, None when none did.
    """
    event = request.event
    spent, wasted, all_known = 0, 0, True
    for attempt in request.attempts:
        if attempt.status == "failed" and attempt.cost_nano is None:
            close_free(attempt)
        if attempt.cost_nano is None:
            all_known = False
        else:
            spent += attempt.cost_nano
            wasted += 0 if attempt is winner else attempt.cost_nano
    event.cost_nano, event.wasted_nano = spent if all_known else None, wasted
    event.cost_status = _total_status(request.attempts)
    final = winner or (request.attempts[-1] if request.attempts else None)
    if final is not None:
        event.provider, event.model = final.provider, final.model
        event.usage, event.usage_source = final.usage, final.usage_source
        event.breakdown, event.price_entries = final.breakdown, final.price_entries
    if len(request.attempts) > 1:
        event.breakdown = [row for attempt in request.attempts for row in attempt.breakdown]
        event.price_entries = sorted(
            {entry for attempt in request.attempts for entry in attempt.price_entries}
        )
    event.ended_ms = int(time() * 1_000)
    doubted, upper = _doubt(request)
    event.doubted_nano = doubted
    event.held_nano = request.lease.held_nano
    event.cost_upper_nano = None if event.cost_nano is None else max(spent, upper)
    if request.lease.rows.meters == "m":
        return Settled(spent, doubted)
    return _with_tokens(request, spent, doubted)


def _with_tokens(request: Request, spent: int, doubted: int) -> Settled:
    """The same for limits that count tokens: those of the answer, as its event tells them.

    Where they are estimated, the rest of what is held stays in doubt on hard limits.
    """
    usage, lease = request.event.usage or {}, request.lease
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    if request.event.usage_source == "provider" or lease.rows.hard_meters.isdisjoint("tio"):
        return Settled(spent, doubted, given, made)
    if not any(
        attempt.status in ("succeeded", "cut", "cancelled", "unknown") for attempt in request.attempts
    ):
        return Settled(spent, doubted, given, made)
    room = request.room
    return Settled(
        spent,
        doubted,
        given,
        made,
        doubted_input_tokens=max(0, room.input_tokens - given),
        doubted_output_tokens=max(0, room.output_tokens - made),
    )


_STATUSES = ("unpriced", "estimated", "override", "provider_reported", "priced")
"""Of several attempts, what is said of the total: the first that one of them has."""


def _total_status(attempts: list[Attempt]) -> str:
    if len(attempts) == 1:
        return attempts[0].cost_status if attempts[0].cost_status in _STATUSES else "free"
    statuses = {attempt.cost_status for attempt in attempts}
    for status in _STATUSES:
        if status in statuses:
            return status
    return "free"


def _doubt(request: Request) -> tuple[int, int]:
    """(what stays held as doubt, the most the request can have cost). Nano-USD.

    Each attempt of unknown cost may have cost up to one whole hold; its estimate is already in spent.
    """
    doubted, upper = 0, 0
    for attempt in request.attempts:
        cost, most = attempt.cost_nano or 0, request.most_nano(attempt)
        if attempt.cost_status in ("estimated", "unpriced"):
            upper += max(cost, most)
            doubted += max(0, most - cost)
        else:
            most_priced = cost if attempt.cost_upper_nano is None else attempt.cost_upper_nano
            upper += most_priced
            doubted += max(0, min(most_priced, most) - cost)
    return (doubted if request.hard else 0), upper
