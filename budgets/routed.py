"""A command on its way through a cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from budgets.connection import RedisConnection
from budgets.scripts import Script
from budgets.slots import NodeAddress
from budgets.wire import Pending

PAUSE_FIRST_S = 0.005
PAUSE_MAX_S = 0.1
"""Between repetitions of what a node cannot take just now (TRYAGAIN, CLUSTERDOWN)."""


class Routed(Pending):
    """A command that may have to go elsewhere. Keeps all that is needed to send it again."""

    __slots__ = ("asks", "called", "give_up", "hops", "node", "pause_s", "run_id", "slot")

    def __init__(
        self, future: asyncio.Future[Any], script: Script | None, packed: bytes, deadline: float, slot: int
    ) -> None:
        super().__init__(future, script, packed, deadline)
        self.called = script  # `script` is cleared once the server was taught it
        self.give_up = deadline
        self.slot = slot
        self.hops = 0
        self.pause_s = PAUSE_FIRST_S
        self.asks: NodeAddress | None = None  # where ASK sent it, this once
        self.node: RedisConnection | None = None
        self.run_id = ""
