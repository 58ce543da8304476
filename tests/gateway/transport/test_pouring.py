"""Handing on what arrives in the moment in which it does: `Answer.pour`."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from gateway.transport import Kind, Timeouts
from gateway.transport.errors import ConnectionLost, FramingFault, IdleTimeout
from gateway.transport.port import Answer
from tests.gateway.transport.conftest import PATIENT, Build, Serve
from tests.gateway.transport.script import HEAD, SSE, Peer

STREAM = HEAD + SSE + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Taker:
    """Takes what it is given; `declines`: the pieces after which it wants no more."""

    def __init__(self, *, declines: bytes | None = None) -> None:
        self.had: list[bytes] = []
        self.came = asyncio.Event()
        self._declines = declines

    def __call__(self, data: bytes) -> bool:
        self.had.append(data)
        self.came.set()
        return self._declines is None or self._declines not in data

    async def more(self) -> None:
        await self.came.wait()
        self.came.clear()


async def poured(answer: Answer) -> list[bytes]:
    """What is handed on, and after it what `chunk` has: nothing is expected of it but an end."""
    taker = Taker()
    await answer.pour(taker)
    return [*taker.had, await answer.chunk()]


async def rest(answer: Answer) -> bytes:
    """What `chunk` has still to give."""
    read = b""
    while data := await answer.chunk():
        read += data
    return read


async def test_every_byte_comes_once_and_in_order_however_it_is_asked_for(build: Build, serve: Serve) -> None:
    pieces = [b"data: %d\n\n" % number for number in range(60)]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in pieces:
            await peer.send(chunked(piece))
            await asyncio.sleep(0)
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    read = await answer.chunk()
    while b"data: 59" not in read:
        taker = Taker(declines=b"0\n\n")
        await answer.pour(taker)
        read += b"".join(taker.had)
        if b"data: 59" not in read:
            read += await answer.chunk()
    await answer.pour(Taker())
    assert read + await rest(answer) == b"".join(pieces)
    assert answer.complete


async def test_it_is_handed_on_while_its_reader_sleeps(build: Build, serve: Serve, kind: Kind) -> None:
    if kind != "native":
        pytest.skip("aiohttp tells nobody of what it reads")
    taker = Taker()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for number in range(3):
            await peer.send(chunked(b"%d" % number))
            await taker.more()
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    await answer.pour(taker)
    assert taker.had == [b"0", b"1", b"2"]
    assert await answer.chunk() == b""
    assert answer.complete


async def test_a_taker_that_declines_gets_no_more_and_the_provider_is_held_back(
    build: Build, serve: Serve
) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(STREAM + chunked(b"enough"))
        for _ in range(48):
            await peer.send(chunked(bytes(MIB)))
            sent += 1
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    brief = Timeouts(first_byte_s=60.0, idle_s=1.0, total_s=120.0)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)
    taker = Taker(declines=b"enough")
    await answer.pour(taker)
    taken = b"".join(taker.had)
    await asyncio.sleep(1.2)  # longer than idle_s: our slowness is not the provider's
    assert sent < 24, "the kernel's buffers of both ends, and no more than 1 MiB of ours"
    assert b"".join(taker.had) == taken
    assert len(taken + await rest(answer)) == len(b"enough") + 48 * MIB


@pytest.mark.parametrize(
    ("end", "fault"), [("close", FramingFault), ("reset", ConnectionLost), ("silence", IdleTimeout)]
)
async def test_a_fault_is_raised_after_the_bytes_that_came(
    build: Build, serve: Serve, end: str, fault: type[Exception]
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + chunked(b"begun"))
        await seen.wait()
        if end == "silence":
            await peer.gone()
        elif end == "reset":
            peer.reset()
        else:
            peer.close()

    server = await serve(script)
    brief = Timeouts(first_byte_s=60.0, idle_s=0.5, total_s=120.0)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)
    assert await answer.chunk() == b"begun"
    seen.set()
    with pytest.raises(fault):
        await poured(answer)
    assert not answer.complete


async def test_closing_the_answer_ends_it(build: Build, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + chunked(b"begun"))
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"begun"
    asyncio.get_running_loop().call_later(0.05, answer.close)
    with pytest.raises(ConnectionLost):
        await poured(answer)


async def test_a_cancelled_wait_leaves_what_comes_then_to_be_read(build: Build, serve: Serve) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + chunked(b"before"))
        await go_on.wait()
        await peer.send(chunked(b"after") + b"0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"before"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(poured(answer), 0.05)
    go_on.set()
    assert await rest(answer) == b"after"


async def test_what_its_taker_raises_is_its_readers_to_hear_and_costs_no_other_byte(
    build: Build, serve: Serve, kind: Kind
) -> None:
    if kind != "native":
        pytest.skip("aiohttp tells nobody of what it reads")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + chunked(b"one"))
        await asyncio.sleep(0.05)
        await peer.send(chunked(b"two") + chunked(b"three") + b"0\r\n\r\n")
        await peer.gone()

    def take(data: bytes) -> bool:
        raise ValueError(data)

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"one"
    with pytest.raises(ValueError, match="twothree"):
        await answer.pour(take)
    assert await answer.chunk() == b""
    assert answer.complete


async def test_a_packed_body_is_left_to_its_reader(build: Build, serve: Serve) -> None:
    packed = gzip.compress(b"data: all of it\n\n")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            HEAD + SSE + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    taker = Taker()
    await answer.pour(taker)
    assert not taker.had
    assert await rest(answer) == b"data: all of it\n\n"
