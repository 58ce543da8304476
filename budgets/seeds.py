"""Who answers first, and what it says of itself and of its cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from hiredis import ReplyError

from budgets.address import Address
from budgets.connection import RedisConnection
from budgets.greeting import Server, open_wire
from budgets.slots import SlotRange, read_slots
from budgets.wire import LedgerUnavailable, packed

FAULTS = (OSError, UnicodeError, LedgerUnavailable, ReplyError)
"""What asking a server may end in."""
T = TypeVar("T")


async def introduce(address: Address, timeout_s: float) -> Server:
    """What this server says of itself."""
    wire, server = await open_wire(address, scripts=(), timeout_s=timeout_s)
    wire.close()
    return server


async def map_from(address: Address, timeout_s: float) -> list[SlotRange]:
    """The map of slots as this server tells it, over a connection of its own."""
    wire, _ = await open_wire(address, scripts=(), timeout_s=timeout_s)
    try:
        return _ranges(await wire.send(packed("CLUSTER", "SLOTS")), address)
    finally:
        wire.close()


async def ask_map(node: RedisConnection) -> list[SlotRange]:
    """The map of slots as this node tells it."""
    return _ranges(await node.command("CLUSTER", "SLOTS"), node.addresses[0])


async def first_of(attempts: Iterable[Awaitable[T]]) -> T:
    """The first of these to succeed, all under way at once; the last one's fault when none does."""
    tasks = [asyncio.ensure_future(attempt) for attempt in attempts]
    try:
        for place, done in enumerate(asyncio.as_completed(tasks), 1):
            try:
                return await done
            except FAULTS:
                if place == len(tasks):
                    raise
        raise LedgerUnavailable("there is nobody to ask", sent=False)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ranges(reply: Any, asked: Address) -> list[SlotRange]:
    ranges = read_slots(reply, asked.host or "localhost")
    if not ranges:
        raise LedgerUnavailable(f"the node at {asked.shown} knows no slots", sent=False)
    return ranges
