"""The ledger's connection to a Redis Cluster: one pipelined connection for each primary.

Everything of a shard is in one slot and goes over one connection. The map from slots to nodes is read at the
start, and again, once for many, whenever a node says that a slot has moved or a connection is lost. What a
node turns away (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) was not executed there, and is sent again where it belongs
or a little later, within the patience of the call; the caller sees an answer or LedgerUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from budgets.address import Address
from budgets.connection import BACKOFF_FIRST_S, BACKOFF_MAX_S, DEMOTED, RedisConnection
from budgets.greeting import shown
from budgets.keeping import KeptConnection
from budgets.routed import PAUSE_FIRST_S, PAUSE_MAX_S, Routed
from budgets.scripts import OPEN, Script
from budgets.seeds import FAULTS, ask_map, first_of, map_from
from budgets.slots import (
    SHARD_SLOTS,
    SLOTS,
    NodeAddress,
    SlotRange,
    key_of,
    read_redirection,
    slot_of,
)
from budgets.wire import Argument, Pending, ShardMoved, Wire, fail, packed

REDIRECTIONS_MAX = 5
HOPS_AT_ONCE = 2
"""Beyond, the nodes do not agree yet, and are given a moment."""
SPACING_S = 0.05
"""From a sign of change to reading the map: while slots move one by one, one reading serves many."""
HINT_S = 0.25
"""How long the node that spoke of a change is awaited before any other is asked."""
ASKING = packed("ASKING")
BOUND = frozenset({OPEN.sha})
"""Scripts that carry the run id of the server they were meant for: never sent to another one's memory."""
CLOSED = "the connection to the cluster was closed"


class ClusterConnection(KeptConnection):
    """Connections that keep themselves and their map. Its URL may name any of the cluster's servers.

    `redirections` counts MOVED, ASK, TRYAGAIN and CLUSTERDOWN answers.
    """

    def __init__(self, seeds: Sequence[Address], *, scripts: Sequence[Script], timeout_s: float) -> None:
        super().__init__(seeds, scripts=scripts, timeout_s=timeout_s)
        self._loop = asyncio.get_running_loop()
        self._nodes: dict[NodeAddress, RedisConnection] = {}
        self._owners: list[RedisConnection | None] = [None] * SLOTS
        self._known: set[NodeAddress] = set()  # every node of the last map, replicas too
        self._held: list[Routed] = []  # until the node they belong to is connected
        self._hint: RedisConnection | None = None
        self._stale = asyncio.Event()
        self._fault = "not connected to the cluster yet"
        self.redirections: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        """True while commands can be sent for every shard."""
        owners = self._owners
        return all((owner := owners[slot]) is not None and owner.connected for slot in SHARD_SLOTS)

    @property
    def fault(self) -> str:
        """Why some shard cannot be asked, in words."""
        faults = [node.fault for node in self._nodes.values() if not node.connected]
        return "; ".join(faults) or self._fault

    def run_id_for(self, key: str) -> str:
        """Which run of which server this key's commands go to now; empty without a connection to it."""
        owner = self._owners[slot_of(key)]
        return "" if owner is None else owner.run_id

    def command(self, *args: Argument) -> asyncio.Future[Any]:
        """Send one command to the node of its key, or without one to any. As `RedisConnection.command`."""
        key = key_of(args)
        slot = self._any_slot() if key is None else slot_of(key)
        return self._send(slot, None, packed(*args))

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        """Run a script on the node of its first key. As `RedisConnection.script`; also raises ShardMoved."""
        key = keys[0]
        slot = slot_of(key) if isinstance(key, str) else slot_of(key_of(("GET", key)) or "")
        return self._send(slot, script, packed("EVALSHA", script.sha, len(keys), *keys, *args))

    async def close(self) -> None:
        """Drop all connections; what waits to be sent again fails."""
        await self._stop()
        nodes, self._nodes = self._nodes, {}
        self._owners = [None] * SLOTS
        await asyncio.gather(*(node.close() for node in nodes.values()))
        held, self._held = self._held, []
        for pending in held:
            fail(pending, CLOSED)

    def _send(self, slot: int, script: Script | None, command: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        pending = Routed(future, script, command, self._loop.time() + self._timeout_s, slot)
        node = self._owners[slot]
        if node is None or (wire := node.wire) is None:
            fail(pending, self._fault if node is None else node.fault)
            return future
        pending.node, pending.run_id = node, node.run_id
        wire.put(pending, command)
        return future

    def _any_slot(self) -> int:
        owners = self._owners
        return next(
            (slot for slot in SHARD_SLOTS if (owner := owners[slot]) is not None and owner.connected), 0
        )

    def _turned_away(self, wire: Wire, pending: Pending, word: str, error: ReplyError) -> bool:
        """An error reply on any node's wire. True: it is dealt with here."""
        if word in DEMOTED:
            wire.retire(f"Redis is no longer the primary: {error}")
        if not isinstance(pending, Routed):
            return False
        if word == "NOSCRIPT" and pending.script is not None and pending.asks is not None:
            # ASKING holds for one command only: the repetition needs it as well.
            pending.script, pending.deadline = None, self._loop.time() + self._timeout_s
            self._aside(wire, packed("SCRIPT", "LOAD", pending.called.source if pending.called else ""))
            self._aside(wire, ASKING)
            wire.put(pending, pending.packed)
            return True
        if word not in ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"):
            return False
        self.redirections[word] += 1
        pending.asks, pending.script = None, pending.called
        if word in ("TRYAGAIN", "CLUSTERDOWN"):
            pending.hops = 0  # it found its way; time alone bounds the rest
            if word == "CLUSTERDOWN":
                self._stale.set()
            self._later(pending, error)
            return True
        pending.hops += 1
        if pending.hops > REDIRECTIONS_MAX:
            fail(pending, f"the cluster does not agree on who serves slot {pending.slot}: {error}")
            return True
        assert pending.node is not None
        answering = pending.node.addresses[0].host or ""
        redirection = read_redirection(str(error))
        address = redirection.address(answering)
        if word == "ASK":
            pending.asks = address
        else:
            self._hint = pending.node
            self._stale.set()
            target = self._nodes.get(address)
            if target is not None and target.connected:
                self._owners[redirection.slot] = target
            else:
                self._hold(pending)
                return True
        if pending.hops > HOPS_AT_ONCE:
            self._later(pending, error)
        else:
            self._again(pending)
        return True

    def _later(self, pending: Routed, error: ReplyError) -> None:
        """Once more after a pause, as long as the call's patience lasts."""
        pause_s = pending.pause_s * random.uniform(0.5, 1.0)
        if self._loop.time() + pause_s > pending.give_up:
            fail(pending, f"the cluster cannot take commands for slot {pending.slot} now: {error}")
            return
        pending.pause_s = min(pending.pause_s * 2, PAUSE_MAX_S)
        self._loop.call_later(pause_s, self._again, pending)

    def _again(self, pending: Routed) -> None:
        """Send it where it belongs by now, or hold it until that node is connected."""
        if pending.future is None or pending.future.done():
            return
        if self._keeper is None:
            fail(pending, CLOSED)
            return
        node = self._node(pending.asks) if pending.asks else self._owners[pending.slot]
        wire = node.wire if node is not None else None
        if node is None or wire is None:
            self._hold(pending)
            return
        if pending.asks:
            self._aside(wire, ASKING)  # its data moves with the slot, so the former run id still holds
        elif pending.called is not None and pending.called.sha in BOUND and node.run_id != pending.run_id:
            pending.future.set_exception(ShardMoved())
            return
        pending.node = node
        pending.deadline = self._loop.time() + self._timeout_s
        wire.put(pending, pending.packed)

    def _hold(self, pending: Routed) -> None:
        if self._loop.time() > pending.give_up:
            fail(pending, f"the node that serves slot {pending.slot} cannot be reached")
        else:
            self._held.append(pending)

    def _aside(self, wire: Wire, command: bytes) -> None:
        """A command whose answer nobody awaits."""
        wire.put(Pending(None, None, b"", self._loop.time() + self._timeout_s), command)

    def _node(self, address: NodeAddress) -> RedisConnection:
        """The connection to this node; a new one begins to connect."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = RedisConnection(
                (self._addresses[0].at(*address),),
                scripts=self._scripts,
                timeout_s=self._timeout_s,
                refused=self._turned_away,
                on_change=self._noticed,
            )
            node.begin()
        return node

    def _changed(self) -> None:
        """A node was found or lost, or the map is another one."""
        if self.connected:
            self._connected.set()
        else:
            self._connected.clear()

    def _noticed(self) -> None:
        """A node was found or lost: slots may change hands."""
        self._changed()
        self._stale.set()

    async def _keep(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            self._stale.clear()
            try:
                self._adopt(await self._read_map())
            except FAULTS as error:
                self._fault = f"no node of the cluster tells who serves what: {shown(error)}"
            held, self._held = self._held, []
            for pending in held:
                self._again(pending)
            if self.connected and not self._held:
                backoff_s = BACKOFF_FIRST_S
                await self._stale.wait()
                if not self._held:
                    await asyncio.sleep(SPACING_S)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff_s * random.uniform(0.5, 1.0)):
                        await self._stale.wait()
                        await asyncio.sleep(PAUSE_FIRST_S)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _read_map(self) -> list[SlotRange]:
        """What one node says: the one that spoke of a change, else whichever is first to answer."""
        hint, self._hint = self._hint, None
        if hint is not None:
            with contextlib.suppress(*FAULTS):
                return await asyncio.wait_for(ask_map(hint), HINT_S)
        with contextlib.suppress(*FAULTS):
            return await first_of(ask_map(node) for node in self._nodes.values() if node.connected)
        others = {self._addresses[0].at(*address) for address in self._known}
        return await first_of(map_from(address, self._timeout_s) for address in {*self._addresses, *others})

    def _adopt(self, ranges: Sequence[SlotRange]) -> None:
        """Send each slot's commands to whom the map says, as soon as that node is connected."""
        former, owners = self._owners, list[RedisConnection | None]([None] * SLOTS)
        for each in ranges:
            node, count = self._node(each.primary), each.last + 1 - each.first
            if node.connected:
                owners[each.first : each.last + 1] = [node] * count
                continue
            for slot in range(each.first, each.last + 1):
                # Whom the former owner sends on is held until the new one can be reached.
                last = former[slot]
                owners[slot] = last if last is not None and last.connected else node
        self._owners = owners
        self._fault = "no node of the cluster serves this slot"
        wanted = {each.primary for each in ranges}
        self._known = wanted.union(*(each.replicas for each in ranges))
        wanted |= {each.asks for each in self._held if each.asks}
        for address, node in list(self._nodes.items()):
            if address not in wanted and not node.connected:
                del self._nodes[address]
                node.abandon()
        self._changed()
