"""A proxy that breaks the link between a client and a server, on demand: for Redis, replicas and providers.

    async with FaultProxy("127.0.0.1:6379") as proxy:
        ... connect to proxy.address ...
        proxy.fault(latency_s=0.2)             # what is connected, and what will be, from now on
        proxy.fault(swallow="both")            # one fault takes the place of the other
        proxy.reset()                          # every connection, now
        proxy.heal()                           # all back to normal
        proxy.each([Fault(cut_down=100), ...]) # the next connections get one each, the rest what is in force

An address is `host:port`, or the path of a unix socket (it has a slash). Bytes go "up" from whoever connects
to the target and "down" back; ends and resets are passed on like bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

Way = Literal["up", "down"]
Ways = Literal["", "up", "down", "both"]

READ_BYTES = 65_536
QUEUED_MAX = 64
"""Reads that wait for their latency to pass; beyond, the sender feels it."""
STEPS_PER_S = 100
"""How finely a bandwidth is shared out."""
NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a link does wrong; by default nothing.

    latency_s: later by so much, each way. bytes_per_s: for each way and connection. slice_bytes: never more
    than so many bytes in one piece. stall: nothing passes until another fault is in force. swallow: bytes
    and ends are taken and dropped; such a connection is reset when the link is healed, since a part of what
    was said is missing. cut_up, cut_down: the connection ends once so many bytes went that way (counted from
    the beginning of the fault or of the connection, whichever is later), by a reset, by an orderly end, or by
    the end of that way alone. refuse: nobody listens.
    """

    latency_s: float = 0.0
    bytes_per_s: float | None = None
    slice_bytes: int | None = None
    stall: Ways = ""
    swallow: Ways = ""
    cut_up: int | None = None
    cut_down: int | None = None
    cut_by: Literal["reset", "end", "half"] = "reset"
    refuse: bool = False

    def piece(self, way: Way, passed: int, data: bytes) -> bytes:
        """The part of `data` that may go in one write."""
        most = len(data)
        if self.slice_bytes is not None:
            most = min(most, self.slice_bytes)
        if self.bytes_per_s is not None:
            most = min(most, max(1, int(self.bytes_per_s / STEPS_PER_S)))
        cut = self.cut(way)
        if cut is not None:
            most = min(most, max(0, cut - passed))
        return data[:most]

    def cut(self, way: Way) -> int | None:
        """After how many bytes this way is cut."""
        return self.cut_up if way == "up" else self.cut_down


NO_FAULT = Fault()
_RESET = None


class FaultProxy:
    """Listens, and hands everything on to `target`; used as an async context manager.

    `listen`: an address of its own, by default a free port. `accepted` and `passed` count connections, and
    bytes each way, since the start.
    """

    def __init__(self, target: str, *, listen: str = "127.0.0.1:0") -> None:
        self.target = target
        self.address = listen
        self.accepted = 0
        self.in_force = NO_FAULT
        self.passed: Counter[Way] = Counter()
        self._next: deque[Fault] = deque()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._refuse()
        for link in list(self._links):
            link.end("reset")
        await asyncio.sleep(0)  # what was cancelled ends

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def fault(self, **what: Any) -> None:
        """Put a fault (the fields of `Fault`) in force, for every connection, in the place of any other."""
        self.put(Fault(**what))

    def heal(self) -> None:
        """All back to normal; connections that lost bytes are reset."""
        self._next.clear()
        self.put(NO_FAULT)

    def each(self, faults: Iterable[Fault]) -> None:
        """The next connections get these, one each, for as long as they live."""
        self._next.extend(faults)

    def reset(self) -> None:
        """Reset every connection, towards both sides."""
        for link in list(self._links):
            link.end("reset")

    def half_close(self, way: Way) -> None:
        """End one way of every connection; the other goes on."""
        for link in list(self._links):
            link.half_close(way)

    def put(self, fault: Fault) -> None:
        """The same, with a fault that was made before."""
        self.in_force = fault
        for link in list(self._links):
            if link.incomplete and not fault.swallow:
                link.end("reset")
            else:
                link.put(fault)
        if fault.refuse:
            self._refuse()
        elif self._listener is None:
            self._listen()

    def _listen(self) -> None:
        family, address = _address(self.address)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        if family == socket.AF_UNIX:
            Path(self.address).unlink(missing_ok=True)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1_024)
        if family == socket.AF_INET:
            self.address = "{}:{}".format(*listener.getsockname())
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    def _refuse(self) -> None:
        if self._listener is None or self._accepting is None:
            return
        self._accepting.cancel()
        _drop(self._listener)
        self._listener = self._accepting = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            fault = self._next.popleft() if self._next else self.in_force
            link = _Link(client, fault, self.passed, self._links.discard)
            self._links.add(link)
            link.begin(self.target)


class _Link:
    """One connection: a reader and a writer for each way, and between them what is on its way."""

    def __init__(self, client: socket.socket, fault: Fault, total: Counter[Way], gone: Any) -> None:
        self.incomplete = False
        self._fault = fault
        self._changed = asyncio.Event()
        self._passed: Counter[Way] = Counter()
        self._total = total
        self._client = client
        self._sockets = [client]
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: set[Way] = set()
        self._gone = gone

    def begin(self, target: str) -> None:
        """Connect to the target, then pass bytes on."""
        self._tasks.append(asyncio.create_task(self._connect(target)))

    def put(self, fault: Fault) -> None:
        """Another fault is in force."""
        self._fault = fault
        self._passed = Counter()
        self._changed.set()
        self._changed = asyncio.Event()

    def half_close(self, way: Way) -> None:
        """What flows this way has ended."""
        self._ended.add(way)
        sink = self._sockets[-1 if way == "up" else 0]
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def end(self, by: Literal["reset", "end"]) -> None:
        """End the connection on both sides, at once."""
        for task in self._tasks:
            task.cancel()
        for each in self._sockets:
            if by == "reset" and each.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            _drop(each)
        self._gone(self)

    async def _connect(self, target: str) -> None:
        loop = asyncio.get_running_loop()
        family, address = _address(target)
        server = socket.socket(family, socket.SOCK_STREAM)
        self._sockets.append(server)
        for each in self._sockets:
            each.setblocking(False)
            if each.family != socket.AF_UNIX:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(server, address)
        except OSError:
            self.end("reset")
            return
        pairs: tuple[tuple[Way, socket.socket, socket.socket], ...]
        pairs = ("up", self._client, server), ("down", server, self._client)
        for way, source, sink in pairs:
            queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(QUEUED_MAX)
            self._tasks.append(asyncio.create_task(self._read(source, queue)))
            self._tasks.append(asyncio.create_task(self._write(way, sink, queue)))

    async def _read(self, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        loop = asyncio.get_running_loop()
        data: bytes | None = b"more"
        while data:
            try:
                data = await loop.sock_recv(source, READ_BYTES)
            except OSError:
                data = _RESET
            await queue.put((loop.time(), data))

    async def _write(
        self, way: Way, sink: socket.socket, queue: asyncio.Queue[tuple[float, bytes | None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            arrived, data = await queue.get()
            late_s = arrived + self._fault.latency_s - loop.time()
            if late_s > 0:
                await asyncio.sleep(late_s)
            while self._fault.stall in (way, "both"):
                await self._changed.wait()
            if self._fault.swallow in (way, "both"):
                self.incomplete = True
            elif data is _RESET:
                self.end("reset")
            elif not data:
                self._end_of(way)
                return
            else:
                try:
                    await self._pass_on(way, sink, data)
                except OSError:
                    self.end("reset")

    async def _pass_on(self, way: Way, sink: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while data and way not in self._ended:
            while self._fault.stall in (way, "both"):
                await self._changed.wait()
            fault = self._fault
            if fault.swallow in (way, "both"):
                self.incomplete = True
                return
            piece = fault.piece(way, self._passed[way], data)
            if fault.bytes_per_s is not None:
                await asyncio.sleep(len(piece) / fault.bytes_per_s)
            await loop.sock_sendall(sink, piece)
            self._passed[way] += len(piece)
            self._total[way] += len(piece)
            data = data[len(piece) :]
            if self._passed[way] == fault.cut(way):
                if fault.cut_by == "half":
                    self._end_of(way)
                else:
                    self.end(fault.cut_by)
                return
            if data and fault.slice_bytes is not None:
                await asyncio.sleep(0)  # the receiver gets its turn with this piece

    def _end_of(self, way: Way) -> None:
        self.half_close(way)
        if len(self._ended) == 2:
            self.end("end")


def _address(text: str) -> tuple[socket.AddressFamily, Any]:
    if "/" in text:
        return socket.AF_UNIX, text
    host, _, port = text.rpartition(":")
    return socket.AF_INET, (host, int(port))


def _drop(each: socket.socket) -> None:
    """Close a socket that tasks may still wait on."""
    if each.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(each)
        loop.remove_writer(each)
        each.close()
