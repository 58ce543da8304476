"""The fault proxy itself: every fault, seen from both ends of real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest

from .proxy import Fault, FaultProxy

PATIENCE_S = 60.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Far:
    """A server on the far side: keeps what each connection said, and how its end was seen."""

    address: str
    said: list[bytearray] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    echoes: bool = True
    arrivals: list[int] = field(default_factory=list)
    plugs: list[asyncio.StreamWriter] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[Far], bool]) -> None:
        """Wait until that is true of this server."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: condition(self))

    async def serve(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        mine = bytearray()
        self.said.append(mine)
        self.plugs.append(writing)
        try:
            while data := await reading.read(4_096):
                mine += data
                self.arrivals.append(len(data))
                if self.echoes:
                    writing.write(data)
                    await writing.drain()
                await self._tell()
            self.ends.append("end")
            if self.echoes:
                writing.write(b"bye")
        except ConnectionError:
            self.ends.append("reset")
        finally:
            writing.close()
        await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@asynccontextmanager
async def far_server(address: str = "") -> AsyncIterator[Far]:
    far = Far(address)
    if address:
        server = await asyncio.start_unix_server(far.serve, address)
    else:
        server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
        far.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield far
    finally:
        server.close()
        for plug in far.plugs:
            plug.transport.abort()
        await far.until(lambda far: len(far.ends) == len(far.said))


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Far, FaultProxy]]:
    async with far_server() as far, FaultProxy(far.address) as proxy:
        yield far, proxy


async def connect(proxy: FaultProxy) -> Streams:
    if "/" in proxy.address:
        return await asyncio.open_unix_connection(proxy.address)
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def echoed(streams: Streams, said: bytes) -> bytes:
    streams[1].write(said)
    async with asyncio.timeout(PATIENCE_S):
        return await streams[0].readexactly(len(said))


async def rest(reading: asyncio.StreamReader) -> tuple[bytes, str]:
    """Everything until the end, and how that looked."""
    got = b""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                data = await reading.read(4_096)
            except ConnectionResetError:
                return got, "reset"
            if not data:
                return got, "end"
            got += data


async def stays_silent(reading: asyncio.StreamReader, seconds: float = 0.1) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reading.read(1)
            return False
    return True


@pytest.mark.parametrize("near", ["tcp", "unix"])
@pytest.mark.parametrize("distant", ["tcp", "unix"])
async def test_bytes_and_ends_pass_unchanged_between_tcp_and_unix_sockets(near: str, distant: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        there = str(Path(folder) / "far.sock") if distant == "unix" else ""
        here = str(Path(folder) / "near.sock") if near == "unix" else "127.0.0.1:0"
        async with far_server(there) as far, FaultProxy(far.address, listen=here) as proxy:
            streams = await connect(proxy)
            large = bytes(range(256)) * 4_000
            streams[1].write(large)
            async with asyncio.timeout(PATIENCE_S):
                assert await streams[0].readexactly(len(large)) == large
            streams[1].write_eof()
            assert await rest(streams[0]) == (b"bye", "end")
            assert far.said == [large]
            assert far.ends == ["end"]
            assert proxy.accepted == 1
            assert proxy.passed == {"up": len(large), "down": len(large) + len(b"bye")}
            streams[1].close()


async def test_latency_delays_each_way_and_nothing_is_lost_when_it_ends() -> None:
    async with linked() as (_, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"quick") == b"quick"
        proxy.fault(latency_s=0.1)
        began = monotonic()
        assert await echoed(streams, b"slow") == b"slow"
        assert monotonic() - began >= 0.2
        proxy.fault(latency_s=30.0)
        proxy.heal()
        began = monotonic()
        assert await echoed(streams, b"quick again") == b"quick again"
        assert monotonic() - began < 20


async def test_many_reads_are_on_their_way_at_once_under_latency() -> None:
    async with linked() as (_, proxy):
        proxy.fault(latency_s=0.5)
        streams = await connect(proxy)
        began = monotonic()
        for _ in range(20):
            streams[1].write(b"x" * 10)
            await asyncio.sleep(0.005)
        async with asyncio.timeout(PATIENCE_S):
            await streams[0].readexactly(200)
        assert monotonic() - began < 8, "their latencies are not added up to twenty seconds"


async def test_bandwidth_bounds_what_passes() -> None:
    async with linked() as (_, proxy):
        streams = await connect(proxy)
        proxy.fault(bytes_per_s=20_000)
        began = monotonic()
        assert await echoed(streams, b"x" * 4_000) == b"x" * 4_000
        assert monotonic() - began >= 0.15


async def test_slices_arrive_byte_by_byte() -> None:
    async with linked() as (far, proxy):
        proxy.fault(slice_bytes=1)
        streams = await connect(proxy)
        assert await echoed(streams, b"x" * 200) == b"x" * 200
        assert max(far.arrivals) <= 4, "a reader that is late may find a few together"


async def test_reset_is_seen_as_such_on_both_sides() -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"hello") == b"hello"
        proxy.reset()
        assert await rest(streams[0]) == (b"", "reset")
        await far.until(lambda far: far.ends == ["reset"])
        assert proxy.connections == 0


async def test_clients_own_reset_is_passed_on() -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"hello") == b"hello"
        plug = streams[1].get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        streams[1].transport.abort()
        await far.until(lambda far: far.ends == ["reset"])


async def test_half_close_ends_one_way_and_the_other_goes_on() -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"hello") == b"hello"
        proxy.half_close("down")
        assert await rest(streams[0]) == (b"", "end")
        streams[1].write(b" still there")
        await far.until(lambda far: far.said[0] == b"hello still there")
        assert far.ends == []


@pytest.mark.parametrize(
    ("way", "heard", "answered"), [("up", b"", b""), ("down", b"now", b""), ("both", b"", b"")]
)
async def test_swallowed_bytes_are_dropped_and_the_connection_is_reset_when_healed(
    way: str, heard: bytes, answered: bytes
) -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"before ") == b"before "
        proxy.fault(swallow=way)
        streams[1].write(b"now")
        assert await stays_silent(streams[0])
        assert bytes(far.said[0]) == b"before " + heard
        later = await connect(proxy)  # is accepted, and gets no answer either
        later[1].write(b"anybody?")
        assert await stays_silent(later[0])
        proxy.heal()
        assert await rest(streams[0]) == (answered, "reset")
        assert await rest(later[0]) == (b"", "reset")
        assert await echoed(await connect(proxy), b"after") == b"after"


async def test_swallowing_hides_the_end_of_the_other_side() -> None:
    async with linked() as (far, proxy):
        far.echoes = False
        streams = await connect(proxy)
        streams[1].write(b"hello")
        await far.until(lambda far: bool(far.arrivals))
        proxy.fault(swallow="both")
        streams[1].close()
        await asyncio.sleep(0.1)
        assert far.ends == []


async def test_stalled_bytes_arrive_once_the_link_is_healed() -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"before ") == b"before "
        proxy.fault(stall="up")
        streams[1].write(b"held")
        assert await stays_silent(streams[0])
        assert bytes(far.said[0]) == b"before "
        proxy.heal()
        async with asyncio.timeout(PATIENCE_S):
            assert await streams[0].readexactly(4) == b"held"


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize(("by", "seen"), [("reset", "reset"), ("end", "end")])
async def test_connection_is_cut_after_so_many_bytes_down(count: int, by: str, seen: str) -> None:
    async with linked() as (far, proxy):
        proxy.fault(cut_down=count, cut_by=by)
        streams = await connect(proxy)
        streams[1].write(b"0123456789")
        assert await rest(streams[0]) == (b"0123456789"[:count], seen)
        await far.until(lambda far: bool(far.ends))
        assert bytes(far.said[0]) == b"0123456789"
        proxy.heal()
        assert await echoed(await connect(proxy), b"again") == b"again"


async def test_connection_is_cut_after_so_many_bytes_up_counted_from_the_fault_on() -> None:
    async with linked() as (far, proxy):
        streams = await connect(proxy)
        assert await echoed(streams, b"hello") == b"hello"
        proxy.fault(cut_up=3)
        streams[1].write(b"012345")
        assert (await rest(streams[0]))[1] == "reset"
        await far.until(lambda far: bool(far.ends))
        assert bytes(far.said[0]) == b"hello012"


async def test_one_way_is_cut_and_the_other_goes_on() -> None:
    async with linked() as (far, proxy):
        proxy.fault(cut_down=2, cut_by="half")
        streams = await connect(proxy)
        streams[1].write(b"0123")
        assert await rest(streams[0]) == (b"01", "end")
        streams[1].write(b"45")
        await far.until(lambda far: far.said[0] == b"012345")


async def test_refused_connections_find_nobody_and_the_port_comes_back() -> None:
    async with linked() as (_, proxy):
        streams = await connect(proxy)
        proxy.fault(refuse=True)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await connect(proxy)
        assert await echoed(streams, b"who is there may stay") == b"who is there may stay"
        proxy.heal()
        assert await echoed(await connect(proxy), b"hello") == b"hello"


async def test_target_that_refuses_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    async with FaultProxy(address) as proxy:
        streams = await connect(proxy)
        assert await rest(streams[0]) == (b"", "reset")


async def test_each_next_connection_gets_a_fault_of_its_own() -> None:
    async with linked() as (_, proxy):
        proxy.each(Fault(cut_down=count) for count in (1, 2, 3))
        got: list[tuple[bytes, str]] = []
        for _ in range(4):
            streams = await connect(proxy)
            streams[1].write(b"0123")
            if len(got) == 3:
                async with asyncio.timeout(PATIENCE_S):
                    got.append((await streams[0].readexactly(4), "open"))
            else:
                got.append(await rest(streams[0]))
        assert got == [(b"0", "reset"), (b"01", "reset"), (b"012", "reset"), (b"0123", "open")]


async def test_nothing_is_left_behind_when_it_ends() -> None:
    before = asyncio.all_tasks()
    async with far_server() as far:
        async with FaultProxy(far.address) as proxy:
            streams = [await connect(proxy) for _ in range(5)]
            for each in streams:
                assert await echoed(each, b"hello") == b"hello"
            assert proxy.connections == 5
        for each in streams:
            assert (await rest(each[0]))[1] == "reset"
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
        await far.until(lambda far: len(far.ends) == 5)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before
