"""Clients that take their time: each phase of a connection has its patience, and memory its bound."""

from __future__ import annotations

import asyncio
import resource
import socket
import time

import pytest

from .conftest import Hall, Open

POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
GRAIN_S = 7.0  # a sweep each second, and a machine that does other things; what dribbles takes ten


@pytest.fixture
async def hall(halls: Open) -> Hall:
    """One that is in a hurry."""
    opened: Hall = await halls(head_s=1, body_s=1, keep_alive_s=2, reader_s=1)
    return opened


async def closed_after(hall: Hall, raw: bytes, dribble: bytes = b"") -> tuple[float, bytes]:
    """How long the door bore it, and what it said; `dribble` is sent a byte each tenth of a second."""
    reading, writing = await hall.connect()
    writing.write(raw)
    began = time.monotonic()

    async def drip() -> None:
        for at in range(len(dribble)):
            await asyncio.sleep(0.1)
            writing.write(dribble[at : at + 1])

    dripping = asyncio.create_task(drip())
    answer = await asyncio.wait_for(reading.read(), 60)
    dripping.cancel()
    writing.close()
    return time.monotonic() - began, answer


@pytest.mark.parametrize(
    ("raw", "dribble", "said"),
    [
        (b"", b"", b""),
        (b"\r\n", b"\r\n" * 50, b""),
        (b"POST /x HT", b"", b"408"),
        (b"P", b"OST /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100, b"408"),
        (POST + b"Content-Length: 100\r\n\r\n", b"", b"408"),
        (POST + b"Content-Length: 100\r\n\r\n", b"x" * 99, b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1", b"", b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 20, b"408"),
        (POST.replace(b"/x", b"/early") + b"Content-Length: 100\r\n\r\n", b"x" * 99, b"200"),
    ],
    ids=[
        "silent", "empty lines", "half a line", "a dribbled head", "no body", "a dribbled body",
        "half a size", "dribbled chunks", "a body nobody reads",
    ],
)  # fmt: skip
async def test_slow_and_silent_sockets_are_closed(
    hall: Hall, raw: bytes, dribble: bytes, said: bytes
) -> None:
    waited_s, answer = await closed_after(hall, raw, dribble)
    assert 0.9 < waited_s < 1 + GRAIN_S
    assert answer[9:12] == said
    assert answer.count(b"HTTP/1.1") <= 1
    assert hall.asked == []


async def test_a_kept_connection_is_closed_when_nothing_comes(hall: Hall) -> None:
    waited_s, answer = await closed_after(hall, POST + b"Content-Length: 0\r\n\r\n")
    assert 1.9 < waited_s < 2 + GRAIN_S
    assert answer.endswith(b"\r\n\r\nok")


async def test_a_long_body_that_keeps_coming_is_waited_for(halls: Open) -> None:
    hall = await halls(body_s=1, body_bytes_per_s=1_024, keep_alive_s=1)
    reading, writing = await hall.connect()
    writing.write(POST + b"Content-Length: 20000\r\nConnection: close\r\n\r\n")
    writing.write(b"x" * 8_000)
    for _ in range(40):
        writing.write(b"x" * 300)
        await asyncio.sleep(0.08)
    assert (await asyncio.wait_for(reading.read(), 60)).startswith(b"HTTP/1.1 200")
    writing.close()
    assert [len(body) for _, _, body in hall.asked] == [20_000]


async def test_a_long_answer_is_not_a_deadlines_affair(hall: Hall) -> None:
    reading, writing = await hall.connect()
    writing.write(POST.replace(b"/x", b"/wait") + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(3.5)
    hall.told.set()
    assert (await asyncio.wait_for(reading.read(), 60)).endswith(b"ok")
    writing.close()


def slow_reader(hall: Hall) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", hall.port))
    raw.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    raw.setblocking(False)
    return raw


async def test_a_reader_that_takes_nothing_holds_the_sender_and_has_hung_up_in_the_end(hall: Hall) -> None:
    with slow_reader(hall):
        await asyncio.wait_for(hall.gone.wait(), 60)
        assert hall.sent < 8 * 2**20, "the sender waits: no more than the kernel's buffers and ours"
    assert not hall.keeper.doors


async def test_a_reader_that_takes_something_now_and_then_is_borne(halls: Open) -> None:
    hall = await halls(reader_s=5)
    loop = asyncio.get_running_loop()
    with slow_reader(hall) as raw:
        for _ in range(30):
            await asyncio.sleep(0.2)
            taken = 0
            while taken < 400_000:
                data = await asyncio.wait_for(loop.sock_recv(raw, 65_536), 60)
                assert data, "it was taken for one that hung up"
                taken += len(data)
        assert not hall.gone.is_set()
        assert hall.sent > 30 * 400_000


async def test_the_door_lets_in_so_many_and_tells_the_others(halls: Open) -> None:
    hall = await halls(connections_max=10, connections_per_address=5)
    held = [await hall.connect() for _ in range(5)]
    while len(hall.keeper.doors) < 5:
        await asyncio.sleep(0.001)
    answer = await hall.say(b"")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b'"code":"too_many_connections"' in answer
    assert b"x-should-retry: true" in answer
    for address in ("127.0.0.2", "127.0.0.3"):
        where = (address, 0)
        held += [await asyncio.open_connection("127.0.0.1", hall.port, local_addr=where) for _ in range(5)]
    refused = 0
    for reading, _ in held[10:]:
        refused += (await asyncio.wait_for(reading.read(), 60)).startswith(b"HTTP/1.1 503")
    assert refused == 5, "from addresses of their own, but too many in all"
    for _, writing in held:
        writing.close()
    while hall.keeper.doors:
        await asyncio.sleep(0.001)
    assert (await hall.say(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).endswith(b"ok")


async def test_a_draining_door_serves_what_is_on_its_way_and_then_closes(halls: Open) -> None:
    hall = await halls(head_s=60, body_s=60, keep_alive_s=60)
    connections = [await hall.connect() for _ in range(3)]
    (asked_once, asks), (_, fresh), (silent, _) = connections
    asks.write(POST + b"Content-Length: 0\r\n\r\n")
    await asyncio.wait_for(asked_once.readuntil(b"ok"), 60)
    hall.server.should_exit = True
    while hall.server.servers[0].is_serving():
        await asyncio.sleep(0.005)
    hall.keeper.drain()
    for reading, writing in (connections[0], connections[1]):
        writing.write(POST + b"Content-Length: 0\r\n\r\n")
        answer = await asyncio.wait_for(reading.read(), 60)
        assert answer.endswith(b"ok")
        assert b"connection: close" in answer
    assert await asyncio.wait_for(silent.read(), 30) == b""
    for _, writing in connections:
        writing.close()
    assert not fresh.transport.get_write_buffer_size()


@pytest.mark.slow
async def test_500_slow_sockets_are_gone_within_15_seconds_and_take_little_memory(halls: Open) -> None:
    """With the deadlines as shipped. That others are served meanwhile is shown in tests/acceptance."""
    hall = await halls()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    shapes = [b"", b"POST /x HT", POST + b"Content-Length: 1000\r\n\r\n{", POST + b"X: "]
    held = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for number in range(500):
            reading, writing = await hall.connect()
            writing.write(shapes[number % len(shapes)])
            held.append((reading, writing))
        began = time.monotonic()
        await asyncio.gather(*(reading.read() for reading, _ in held))
        waited_s = time.monotonic() - began
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"500 sockets closed after {waited_s:.1f} s; this process grew by {grown_mib:.0f} MiB, both ends"
        )
        assert waited_s < 15
        assert grown_mib < 50
        assert hall.asked == []
    finally:
        for _, writing in held:
            writing.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
