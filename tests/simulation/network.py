"""The network between simulated processes and the simulated Redis: delays, lost replies, cut connections.

A connection keeps its order in each direction, as TCP does, and connections overtake each other. What is on
its way when a connection is cut may or may not still arrive; nothing arrives twice.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from hiredis import Reader

from tests.simulation.commands import Reply, Status
from tests.simulation.keyspace import CommandError
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.redis import Client, SimulatedRedis
from tests.simulation.threads import BlockingProcess

DELAY_S = (0.000_05, 0.000_4)
"""One way between processes of one host or rack."""
SLOW_S = (0.001, 0.2)
SLOW_CHANCE = 0.02
SPLIT_CHANCE = 0.05
ORDER_S = 1e-7
"""Between two arrivals on one connection: timers of one moment have no order."""
_NOBODYS = contextvars.Context()
"""Of callbacks that no process has to be alive for."""


class Network:
    """Connects processes to one server. `up` False: nobody listens. `stopped`: it listens, but is frozen."""

    def __init__(self, loop: SimulatedLoop, chance: Random, server: SimulatedRedis) -> None:
        self.loop = loop
        self.chance = chance
        self.server = server
        self.up = True
        self.stopped = False
        self.slow_chance = self.crew_slow_chance = SLOW_CHANCE
        self.life = 0
        """Counts the server's runs: what was sent to one does not reach the next."""
        self.links: list[Link] = []
        self._arrived: list[tuple[Link, bytes]] = []
        loop.dial = self._dial

    def delay_s(self, process: Process) -> float:
        """How long something is on its way."""
        slow_chance = self.crew_slow_chance if isinstance(process, BlockingProcess) else self.slow_chance
        low, high = SLOW_S if self.chance.random() < slow_chance else DELAY_S
        return self.chance.uniform(low, high)

    async def _dial(
        self, process: Process, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        await asyncio.sleep(self.delay_s(process))
        if not self.up:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        link = Link(self, process)
        transport = _Transport(link, protocol)
        link.deliver = protocol.data_received
        link.lost = protocol.connection_lost
        protocol.connection_made(transport)
        return transport, protocol

    def arrive(self, link: Link, data: bytes) -> None:
        """Bytes reach the server: it carries out every command that is whole now."""
        if not self.up or link.life != self.life:
            return
        if self.stopped:
            self._arrived.append((link, data))
            return
        link.reader.feed(data)
        answers = bytearray()
        while (command := link.reader.gets()) is not False:
            try:
                reply: Reply = self.server.execute(link.client, command)
            except CommandError as error:
                reply = error
            answers += encoded(reply)
        if answers:
            link.send_back(bytes(answers))

    def stop(self) -> None:
        """As SIGSTOP of the server."""
        self.stopped = True

    def go_on(self) -> None:
        """As SIGCONT: what arrived meanwhile is carried out."""
        self.stopped = False
        arrived, self._arrived = self._arrived, []
        for link, data in arrived:
            self.arrive(link, data)

    def go_down(self) -> None:
        """The server is gone, with all its connections."""
        self.up = False
        self.life += 1
        self.stopped = False
        self._arrived.clear()
        for link in list(self.links):
            link.cut(delivers_replies=self.chance.random() < 0.5)

    def cut_some(self, link: Link) -> None:
        """Cut one connection, with whatever is on its way."""
        if not link.cut_off:
            link.cut(
                delivers_requests=self.chance.random() < 0.5, delivers_replies=self.chance.random() < 0.5
            )

    def links_of(self, process: Process) -> list[Link]:
        """The open connections of a process."""
        return [link for link in self.links if link.process is process]


class Link:
    """One connection. `deliver` and `lost` are the client's side."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network = network
        self.process = process
        self.life = network.life
        self.client = Client()
        self.reader = Reader()
        self.cut_off = False
        self.noticed = False
        self.stalled = False
        self.deliver: Callable[[bytes], None] = lambda data: None
        self.lost: Callable[[Exception | None], None] = lambda error: None
        self._there_s = self._back_s = 0.0
        self._underway: deque[asyncio.TimerHandle] = deque()
        self._coming: deque[asyncio.TimerHandle] = deque()
        network.links.append(self)

    def send(self, data: bytes) -> None:
        """The client writes. A write may arrive in two parts, with others' commands between them."""
        if self.cut_off or self.stalled:
            return
        chance = self.network.chance
        if len(data) > 1 and chance.random() < SPLIT_CHANCE:
            at = chance.randrange(1, len(data))
            parts = [data[:at], data[at:]]
        else:
            parts = [data]
        loop = self.network.loop
        for part in parts:
            self._there_s = max(self._there_s + ORDER_S, loop.time() + self.network.delay_s(self.process))
            # Without a context of its own: what has left arrives, even if its sender dies meanwhile.
            self._underway.append(loop.call_at(self._there_s, self._arrive, part, context=_NOBODYS))

    def send_back(self, data: bytes) -> None:
        """The server answers."""
        if self.cut_off or self.stalled:
            return
        loop = self.network.loop
        self._back_s = max(self._back_s + ORDER_S, loop.time() + self.network.delay_s(self.process))
        self._coming.append(loop.call_at(self._back_s, self._come, data, context=self.process.context))

    def cut(self, *, delivers_requests: bool = False, delivers_replies: bool = False) -> None:
        """The connection ends; the client notices after what still reaches it."""
        if self.cut_off:
            return
        if not delivers_requests:
            self._drop(self._underway)
        if not delivers_replies:
            self._drop(self._coming)
        self._ends()
        loop = self.network.loop
        when = max(
            self._back_s if delivers_replies else 0.0, loop.time() + self.network.delay_s(self.process)
        )
        loop.call_at(when, self._lose, context=self.process.context)

    def abandon(self) -> None:
        """The client closes, or died: what it has sent still arrives, and nobody reads the replies."""
        if not self.cut_off:
            self._drop(self._coming)
            self._ends()

    def _ends(self) -> None:
        self.cut_off = True
        if self in self.network.links:
            self.network.links.remove(self)

    def _lose(self) -> None:
        self.noticed = True
        self.lost(None)

    def _arrive(self, data: bytes) -> None:
        if self._underway:
            self._underway.popleft()
        self.network.arrive(self, data)

    def _come(self, data: bytes) -> None:
        if self._coming:
            self._coming.popleft()
        self.deliver(data)

    @staticmethod
    def _drop(handles: deque[asyncio.TimerHandle]) -> None:
        for handle in handles:
            handle.cancel()
        handles.clear()


class _Transport(asyncio.Transport):
    """What a protocol writes to."""

    def __init__(self, link: Link, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._link = link
        self._protocol = protocol
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._link.send(bytes(data))

    def is_closing(self) -> bool:
        return self._closing or self._link.noticed

    def abort(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._link.cut_off:
            self._link.abandon()
            self._link.process.call_later(0, self._protocol.connection_lost, None)

    def close(self) -> None:
        self.abort()


class SimulatedSocket:
    """The socket of a process with blocking calls, as far as redis-py uses one."""

    def __init__(self, network: Network, process: BlockingProcess) -> None:
        self._process = process
        self._timeout_s: float | None = None
        self._received = bytearray()
        self._waiting = False
        process.sleep(network.delay_s(process))
        if not network.up:
            raise ConnectionRefusedError(111, "Connection refused")
        self._link = Link(network, process)
        self._link.deliver = self._on_data
        self._link.lost = self._on_loss
        self._closed = False

    @property
    def readable(self) -> bool:
        """A read would not block."""
        return bool(self._received) or self._closed

    def sendall(self, data: bytes) -> None:
        self._process.check()
        if self._link.noticed:
            raise ConnectionResetError(104, "Connection reset by peer")
        self._link.send(bytes(data))

    def recv(self, size: int, *_: Any) -> bytes:
        self._block()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def recv_into(self, buffer: Any, *_: Any) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def settimeout(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def setsockopt(self, *_: Any) -> None:
        pass

    def shutdown(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        self._link.abandon()

    def _block(self) -> None:
        self._process.check()
        if self._received or self._closed:
            return
        if self._timeout_s == 0:
            raise BlockingIOError
        self._waiting = True
        try:
            self._process.wait(self._timeout_s)
        finally:
            self._waiting = False
        if not self._received and not self._closed:
            raise TimeoutError("timed out")

    def _on_data(self, data: bytes) -> None:
        self._received += data
        if self._waiting:
            self._process.wake()

    def _on_loss(self, _error: Exception | None) -> None:
        self._closed = True
        if self._waiting:
            self._process.wake()


def encoded(reply: Reply) -> bytes:
    """A reply in RESP 2."""
    kind = type(reply)
    if kind is bytes:
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    if kind is list:
        return b"*%d\r\n%s" % (len(reply), b"".join(map(encoded, reply)))
    if kind is int:
        return b":%d\r\n" % reply
    if reply is None:
        return b"$-1\r\n"
    if kind is Status:
        return b"+%s\r\n" % bytes(reply)
    assert kind is CommandError
    return b"-%s\r\n" % str(reply).encode()
