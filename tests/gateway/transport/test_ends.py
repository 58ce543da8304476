"""Silence, closes, resets, slow readers and cancelled callers: the other half of the contract."""

from __future__ import annotations

import asyncio

import pytest

from gateway.transport import Kind, Timeouts
from gateway.transport.errors import (
    ConnectionLost,
    FirstByteTimeout,
    IdleTimeout,
    ReusedConnectionClosed,
    TotalTimeout,
    TransportClosed,
)
from gateway.transport.pool import PooledTransport
from tests.gateway.transport.conftest import PATIENT, Build, Serve
from tests.gateway.transport.script import HEAD, Peer, always, once_then_close, once_then_hold, with_length

MIB = 1024 * 1024
OK = with_length(b"ok")
LONG = HEAD + b"Content-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_fresh_connection_that_ends_before_the_head_is_lost_with_unknown_cost(
    build: Build, serve: Serve, end: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reset() if end == "reset" else peer.close()

    server = await serve(script)
    with pytest.raises(ConnectionLost) as caught:
        await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert caught.value.request_sent
    assert not caught.value.head_received
    assert len(server.requests) == 1


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_kept_connection_that_ends_before_the_head_is_told_apart_and_can_be_repeated_fresh(
    build: Build, serve: Serve, end: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if await peer.request() is not None and peer.number == 1:
            peer.reset() if end == "reset" else peer.close()

    server = await serve(script)
    transport = build(server.origin)
    await (await transport.send(b"POST", b"/", [], b"1", timeouts=PATIENT)).read(MIB)
    with pytest.raises(ReusedConnectionClosed) as caught:
        await transport.send(b"POST", b"/", [], b"2", timeouts=PATIENT)
    assert caught.value.request_sent
    assert [request.body for request in server.requests] == [b"1", b"2"]
    answer = await transport.send(b"POST", b"/", [], b"2", timeouts=PATIENT, fresh=True)
    assert not answer.connection_reused
    assert await answer.read(MIB) == b"ok"


async def test_a_kept_connection_that_ends_in_the_head_is_lost_and_not_called_idle(
    build: Build, serve: Serve, kind: Kind
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 200")

    server = await serve(script)
    transport = build(server.origin)
    await (await transport.send(b"POST", b"/", [], b"1", timeouts=PATIENT)).read(MIB)
    # aiohttp does not tell whether a byte of the head had come.
    expected = ConnectionLost if kind == "native" else ReusedConnectionClosed
    with pytest.raises(expected):
        await transport.send(b"POST", b"/", [], b"2", timeouts=PATIENT)


async def test_a_reset_in_the_body_is_a_lost_connection_after_the_bytes_that_came(
    build: Build, serve: Serve
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(LONG + b"begun")
        await seen.wait()
        peer.reset()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"begun"
    seen.set()
    with pytest.raises(ConnectionLost) as caught:
        await answer.chunk()
    assert caught.value.head_received
    assert caught.value.request_sent
    assert not answer.complete
    with pytest.raises(ConnectionLost):
        await answer.chunk()


async def test_a_reset_in_a_close_delimited_body_is_not_its_end(
    build: Build, serve: Serve, kind: Kind
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"\r\nbegun")
        await seen.wait()
        peer.reset()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"begun"
    seen.set()
    if kind == "native":
        with pytest.raises(ConnectionLost):
            await answer.chunk()
    else:  # aiohttp takes any end of the connection for the end; `framing` warns the reader in either case
        assert await answer.chunk() == b""
    assert answer.framing == "close"


async def test_silence_before_the_head_is_a_first_byte_timeout(build: Build, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    brief = Timeouts(first_byte_s=0.1)
    with pytest.raises(FirstByteTimeout) as caught:
        await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)
    assert caught.value.request_sent


async def test_a_head_that_dribbles_in_is_a_first_byte_timeout_too(build: Build, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD)
        await peer.gone()

    server = await serve(script)
    brief = Timeouts(first_byte_s=0.1)
    with pytest.raises(FirstByteTimeout):
        await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)


async def test_silence_in_the_body_is_an_idle_timeout_after_the_bytes_that_came(
    build: Build, serve: Serve
) -> None:
    server = await serve(once_then_hold(LONG + b"begun"))
    brief = Timeouts(first_byte_s=60.0, idle_s=0.2)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)
    assert await answer.chunk() == b"begun"
    with pytest.raises(IdleTimeout) as caught:
        await answer.chunk()
    assert caught.value.request_sent
    assert not answer.complete


async def test_dribbling_for_ever_is_a_total_timeout(build: Build, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(LONG)
        for _ in range(1_000):
            await peer.send(b"x")
            await asyncio.sleep(0.01)  # the pace is what is tested

    server = await serve(script)
    brief = Timeouts(first_byte_s=20.0, idle_s=20.0, total_s=0.3)
    with pytest.raises(TotalTimeout):
        await (await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=brief)).read(MIB)


async def test_the_total_time_also_ends_the_wait_for_the_head(build: Build, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    with pytest.raises(TotalTimeout) as caught:
        await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=Timeouts(total_s=0.1))
    assert caught.value.request_sent


async def test_a_timeout_drops_the_connection_and_not_the_transport(build: Build, serve: Serve) -> None:
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.gone()
            dropped.set()
        else:
            await peer.send(OK)

    server = await serve(script)
    transport = build(server.origin, max_connections=1)
    with pytest.raises(FirstByteTimeout):
        await transport.send(b"POST", b"/", [], b"{}", timeouts=Timeouts(first_byte_s=0.05))
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.read(MIB) == b"ok"
    assert not answer.connection_reused
    await dropped.wait()


async def test_a_slow_reader_holds_the_provider_back_in_bounded_memory(build: Build, serve: Serve) -> None:
    size = 48 * MIB
    piece = bytes(64 * 1024)
    sent = 0
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(piece)
            sent += len(piece)
        done.set()
        await peer.gone()

    server = await serve(script)
    brief = Timeouts(first_byte_s=60.0, idle_s=1.0, total_s=120.0)
    answer = await build(server.origin).send(b"GET", b"/", [], b"", timeouts=brief)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(done.wait(), 1.2)  # longer than idle_s: our slowness is not the provider's
    assert sent < 24 * MIB  # the kernel's buffers of both ends, and no more than 1 MiB of ours
    assert len(await answer.chunk()) <= MIB
    total = 0
    while data := await answer.chunk():
        total += len(data)
        assert len(data) <= MIB
    assert sent == size
    assert answer.complete


async def test_a_cancelled_send_leaves_no_connection_behind(build: Build, serve: Serve) -> None:
    reached = asyncio.Event()
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            reached.set()
            await peer.gone()
            dropped.set()
        else:
            await peer.send(OK)

    server = await serve(script)
    transport = build(server.origin, max_connections=1)
    task = asyncio.ensure_future(transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await dropped.wait()
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not answer.connection_reused
    assert await answer.read(MIB) == b"ok"


async def test_a_cancelled_read_drops_the_connection(build: Build, serve: Serve) -> None:
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(LONG + b"begun")
        await peer.gone()
        dropped.set()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    task = asyncio.ensure_future(answer.read(MIB))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await dropped.wait()
    with pytest.raises(ConnectionLost):
        await answer.chunk()


async def test_a_cancelled_wait_for_a_chunk_loses_nothing(build: Build, serve: Serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Length: 5\r\n\r\n")
        await go.wait()
        await peer.send(b"whole")
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    task = asyncio.ensure_future(answer.chunk())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert await answer.read(MIB) == b"whole"
    assert answer.complete


async def test_closing_an_unfinished_answer_drops_its_connection_at_once(build: Build, serve: Serve) -> None:
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(LONG + b"begun")
        await peer.gone()
        dropped.set()

    server = await serve(script)
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    answer.close()
    answer.close()
    await dropped.wait()
    assert not answer.complete
    with pytest.raises(ConnectionLost):
        await answer.read(MIB)


async def test_closing_a_complete_answer_keeps_its_connection(build: Build, serve: Serve) -> None:
    server = await serve(always(OK))
    transport = build(server.origin)
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.read(MIB) == b"ok"
    answer.close()
    again = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert again.connection_reused
    assert await again.read(MIB) == b"ok"


async def test_what_arrives_between_requests_is_never_taken_for_an_answer(build: Build, serve: Serve) -> None:
    """Load balancers say 408 when they close an idle connection."""
    go = asyncio.Event()
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await go.wait()
            await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            peer.finish()
            await peer.gone()
            dropped.set()

    server = await serve(script)
    transport = build(server.origin)
    await (await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)).read(MIB)
    go.set()
    await dropped.wait()
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert (answer.status, answer.connection_reused) == (200, False)
    assert await answer.read(MIB) == b"ok"


async def test_an_answer_ahead_of_its_request_is_given_and_the_connection_is_not_kept(
    build: Build, serve: Serve
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(with_length(b"too large", status=b"413 Content Too Large"))
        await peer.gone()

    server = await serve(script)
    transport = build(server.origin)
    body = bytes(16 * MIB)
    for _ in range(2):
        answer = await transport.send(b"POST", b"/", [], body, timeouts=PATIENT)
        assert (answer.status, answer.connection_reused) == (413, False)
        assert await answer.read(MIB) == b"too large"


async def test_a_connection_that_says_close_is_not_kept(build: Build, serve: Serve) -> None:
    server = await serve(once_then_close(with_length(b"ok", b"Connection: close")))
    transport = build(server.origin)
    for _ in range(2):
        answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
        assert await answer.read(MIB) == b"ok"
        assert not answer.connection_reused
    assert server.connections == 2


async def test_closing_the_transport_ends_what_runs_and_refuses_what_comes(
    build: Build, serve: Serve, kind: Kind
) -> None:
    server = await serve(once_then_hold(LONG + b"begun"))
    transport = build(server.origin)
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"begun"
    await transport.aclose()
    with pytest.raises(ConnectionLost):
        await answer.chunk()
    with pytest.raises(TransportClosed) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent
    if isinstance(transport, PooledTransport):
        assert transport.open_count == 0
