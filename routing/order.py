"""The order in which a route's targets are tried. Pure.

Targets of a smaller `priority` come first whatever the policy says; within one priority:

    listed     as configured
    weighted   drawn for each request, each target's chance to be first being its weight's share
    sticky     the same, but the draw is the hash of the caller's customer, user, trace or feature: each keeps
               its target, and when targets change, only the callers of the changed ones move
    cheapest   by what this request is likely to cost there; without a price last
    fastest    by the measured time to the first byte; one request in twenty tries another one first, so that
               figures stay fresh; what was never measured comes last
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from routing.circuit import State
from routing.target import Target

Policy = Literal["listed", "weighted", "cheapest", "fastest", "sticky"]
By = Literal["customer", "user", "trace", "feature"]
EXPLORED = 0.05
"""The part of the requests of a `fastest` route that begins with another target than the fastest."""
_LAST = math.inf


@dataclass(frozen=True, slots=True)
class Facts:
    """What policies ask about one request.

    draw: a fresh random number in [0, 1). cost_nano: what the request is likely to cost at a target, None
    where no price is known. first_byte_s: how long a target takes, None where it was never measured. sticky:
    whom a sticky route must recognise again; None where the request does not say.
    """

    draw: Callable[[], float]
    cost_nano: Callable[[Target], int | None]
    first_byte_s: Callable[[Target], float | None]
    sticky: str | None = None


def ranks(policy: Policy, targets: Sequence[Target], facts: Facts) -> list[float]:
    """A number for each target; smaller ones go first."""
    if policy == "weighted" or (policy == "sticky" and facts.sticky is None):
        return [_race(facts.draw(), target.weight) for target in targets]
    if policy == "sticky":
        return [_race(_hashed(facts.sticky or "", target.name), target.weight) for target in targets]
    if policy == "cheapest":
        costs = [facts.cost_nano(target) for target in targets]
        return [_LAST if cost is None else float(cost) for cost in costs]
    if policy == "fastest":
        times = [facts.first_byte_s(target) for target in targets]
        found = [_LAST if time is None else time for time in times]
        if facts.draw() < EXPLORED:
            found[int(facts.draw() * len(found))] = -1.0
        return found
    return [0.0] * len(targets)


def arrange(targets: Sequence[Target], ranked: Sequence[float]) -> list[int]:
    """Indices of the targets, first to last; where ranks agree, as configured."""
    return sorted(range(len(targets)), key=lambda n: (targets[n].priority, ranked[n], n))


def healthy_first(arranged: Sequence[int], states: Sequence[State], take: Callable[[int], bool]) -> list[int]:
    """The same, with those that are set aside behind all others.

    One that is on trial keeps its place only where it would be asked first, and the trial can be taken.
    """
    free: list[int] = []
    aside: list[int] = []
    for n in arranged:
        if states[n] is State.FREE or (states[n] is State.TRIAL and not free and take(n)):
            free.append(n)
        else:
            aside.append(n)
    return free + aside


def _race(draw: float, weight: int) -> float:
    """When a target arrives in a race of exponential clocks: the first of all is drawn by weight."""
    return -math.log(1.0 - draw) / weight if weight > 0 else _LAST


def _hashed(key: str, name: str) -> float:
    """A number in [0, 1) that key and target decide, the same in every process."""
    digest = blake2b(f"{key}\0{name}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56
