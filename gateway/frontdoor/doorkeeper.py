"""Doorkeeper: all client connections of one worker, their number, and one sweep for all their deadlines."""

from __future__ import annotations

import asyncio
import ipaddress
from functools import partial
from math import inf
from typing import Any

from gateway.errors import Unavailable
from gateway.frontdoor.limits import DoorLimits
from gateway.frontdoor.metrics import DoorMetrics
from gateway.frontdoor.protocol import ANSWER, BODY, CLOSING, FRESH, HEAD, IDLE, FrontDoor

SWEEP_S = 1.0
LAST_SWEEPS_S = 0.1
LINGER_S = 1.0
"""At the worker's end: how long a connection without a request is kept for one that is on its way."""
LAST_WORD_S = 1.0
"""How long a client may take to hear that its connection ends."""


class Doorkeeper:
    """Lets connections in and ends those that take too long.

    `now` is the loop's time as of the last sweep: good enough for deadlines of seconds, and free to read.
    """

    def __init__(self, limits: DoorLimits) -> None:
        self.limits = limits
        self.metrics = DoorMetrics()
        self.now = 0.0
        self.doors: set[FrontDoor] = set()
        self._by_address: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._every_s = SWEEP_S
        self._patience = [inf] * 6
        self._patience[FRESH] = self._patience[HEAD] = limits.head_s
        self._patience[BODY] = limits.body_s
        self._patience[ANSWER] = inf
        self._patience[IDLE] = limits.keep_alive_s
        self._patience[CLOSING] = LAST_WORD_S

    @property
    def protocol(self) -> Any:
        """What uvicorn calls for each new connection."""
        return partial(FrontDoor, self)

    def enter(self, door: FrontDoor, host: str) -> Unavailable | None:
        """Count a connection in; an error where it is one too many (it is counted until it leaves)."""
        if self._timer is None:
            self._begin()
            door.since = self.now
        address = door.address = _network(host)
        self.doors.add(door)
        number = self._by_address[address] = self._by_address.get(address, 0) + 1
        if len(self.doors) > self.limits.connections_max:
            return Unavailable("This gateway has too many connections.", code="too_many_connections")
        if number > self.limits.connections_per_address:
            return Unavailable("Your address has too many connections here.", code="too_many_connections")
        return None

    def leave(self, door: FrontDoor) -> None:
        """Count it out."""
        if door in self.doors:
            self.doors.discard(door)
            left = self._by_address[door.address] - 1
            if left:
                self._by_address[door.address] = left
            else:
                del self._by_address[door.address]

    def drain(self) -> None:
        """The worker ends: connections without a request are closed soon."""
        self._every_s = LAST_SWEEPS_S
        self._patience[FRESH] = self._patience[IDLE] = LINGER_S
        if self._loop is None or self._timer is None:
            return
        now = self._loop.time()
        for door in self.doors:
            if door.phase in (FRESH, IDLE):
                door.since = now
        self._timer.cancel()
        self._sweep()

    def cut(self) -> None:
        """The running requests were cut: who has not taken the word by now never will."""
        for door in list(self.doors):
            if door.paused or door.phase != ANSWER:
                door.transport.abort()

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        self._timer = self._loop.call_later(self._every_s, self._sweep)

    def _sweep(self) -> None:
        assert self._loop is not None
        now = self.now = self._loop.time()
        patience = self._patience
        for door in list(self.doors):
            if door.paused:
                door.check_reader(now)
            if now - door.since > patience[door.phase]:
                door.overdue(now)
        self.metrics.open(len(self.doors))
        self._timer = self._loop.call_later(self._every_s, self._sweep) if self.doors else None


def _network(host: str) -> str:
    """Whom an address is counted for: itself, or the /64 of an IPv6 address, which is one customer's line."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
