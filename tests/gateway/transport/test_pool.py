"""Connections kept, shared, awaited and given up."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.transport import Answer, Kind, Timeouts, Transport
from gateway.transport.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectTimeout,
    PoolExhausted,
    TransportClosed,
)
from tests.gateway.transport.conftest import PATIENT, Build, Open, Serve
from tests.gateway.transport.script import HEAD, Peer, always, with_length

MIB = 1024 * 1024
OK = with_length(b"ok")


async def ask(transport: Transport, target: bytes = b"/", *, fresh: bool = False) -> Answer:
    answer = await transport.send(b"POST", target, [], b"{}", timeouts=PATIENT, fresh=fresh)
    assert await answer.read(MIB) == b"ok"
    return answer


async def test_one_connection_serves_one_request_after_the_other(build: Build, serve: Serve) -> None:
    server = await serve(always(OK))
    transport = build(server.origin)
    assert [(await ask(transport)).connection_reused for _ in range(5)] == [False, True, True, True, True]
    assert server.connections == 1


async def test_fresh_means_a_new_connection_even_where_one_rests(build: Build, serve: Serve) -> None:
    server = await serve(always(OK))
    transport = build(server.origin)
    await ask(transport)
    assert not (await ask(transport, fresh=True)).connection_reused
    assert server.connections == 2


async def test_requests_at_once_use_connections_of_their_own_and_get_their_own_answers(
    build: Build, serve: Serve
) -> None:
    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await peer.send(with_length(request.body))

    server = await serve(script)
    transport = build(server.origin)

    async def echo(number: int) -> bytes:
        answer = await transport.send(b"POST", b"/", [], b"%d" % number, timeouts=PATIENT)
        return await answer.read(MIB)

    for _ in range(3):
        assert await asyncio.gather(*map(echo, range(20))) == [b"%d" % number for number in range(20)]
    assert server.connections == 20


async def test_above_the_limit_requests_wait_in_line_for_the_same_connections(
    build: Build, serve: Serve
) -> None:
    server = await serve(always(OK))
    transport = build(server.origin, max_connections=2)
    await asyncio.gather(*(ask(transport, b"/%d" % number) for number in range(20)))
    assert server.connections == 2
    assert {request.line for request in server.requests} == {
        b"POST /%d HTTP/1.1" % number for number in range(20)
    }


async def test_a_request_that_waits_too_long_for_a_connection_was_not_sent(
    build: Build, serve: Serve
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    transport = build(server.origin, max_connections=1, pool_wait_s=0.05)
    first = asyncio.ensure_future(transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT))
    while not server.requests:
        await asyncio.sleep(0.001)
    with pytest.raises(PoolExhausted) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent
    assert len(server.requests) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_request_cancelled_in_the_line_takes_nothing_with_it(build: Build, serve: Serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await go.wait()
            await peer.send(OK)

    server = await serve(script)
    transport = build(server.origin, max_connections=1)
    tasks = [asyncio.ensure_future(ask(transport, b"/%d" % number)) for number in range(4)]
    while not server.requests:
        await asyncio.sleep(0.001)
    tasks[1].cancel()
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert all(not isinstance(result, BaseException) for result in (results[0], *results[2:]))
    assert [request.line for request in server.requests] == [
        b"POST /%d HTTP/1.1" % number for number in (0, 2, 3)
    ]


async def test_nobody_listening_is_a_failed_connect_that_cost_nothing(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    transport = build(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent
    assert f"127.0.0.1:{port}" in str(caught.value)


async def test_a_name_that_does_not_resolve_is_a_failed_connect(build: Build) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await build("http://no-such-host.invalid").send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent


async def test_a_connect_that_hangs_is_bounded(build: Build) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        for _ in range(4):  # fill the queue of the kernel, which then leaves further SYNs unanswered
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        try:
            with socket.socket() as probe:
                probe.settimeout(0.1)
                try:
                    probe.connect(address)
                except TimeoutError:
                    pass
                else:
                    pytest.skip("this kernel accepts connections beyond a full queue")
            with pytest.raises(ConnectTimeout) as caught:
                await build(f"http://127.0.0.1:{address[1]}").send(
                    b"POST", b"/", [], b"{}", timeouts=Timeouts(connect_s=0.1)
                )
            assert not caught.value.request_sent
        finally:
            for filler in fillers:
                filler.close()


async def test_localhost_is_reached_by_whichever_of_its_addresses_answers(build: Build, serve: Serve) -> None:
    server = await serve(always(OK))
    transport = build(f"http://localhost:{server.port}")
    await ask(transport)
    await ask(transport, fresh=True)
    assert server.requests[0].header(b"host") == [f"localhost:{server.port}".encode()]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_guard_refuses_addresses_that_are_not_public(build: Build, serve: Serve, host: str) -> None:
    server = await serve(always(OK))
    transport = build(f"http://{host}:{server.port}", allow_private=False)
    with pytest.raises(AddressRefused, match="allow_private") as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent
    assert server.connections == 0


async def test_the_guard_looks_at_addresses_and_not_at_names(build: Build, serve: Serve, kind: Kind) -> None:
    """A number that only the resolver reads as 127.0.0.1 is not a private literal, and still refused."""
    server = await serve(always(OK))
    expected = AddressRefused if kind == "native" else ConnectFailed  # aiohttp takes no such names at all
    with pytest.raises(expected):
        await build(f"http://2130706433:{server.port}").send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert server.connections == 0


async def test_link_local_and_metadata_addresses_are_refused_even_where_private_ones_are_allowed(
    build: Build,
) -> None:
    transport = build("http://169.254.169.254", allow_private=True)
    with pytest.raises(AddressRefused):
        await transport.send(b"GET", b"/latest/meta-data/", [], b"", timeouts=PATIENT)


# -- what only the native pool promises: aiohttp reuses in its own order and has no maximum life ------------


async def test_the_connection_used_last_is_taken_first(build_native: Open, serve: Serve) -> None:
    numbers: list[int] = []

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            numbers.append(peer.number)
            await peer.send(OK)

    server = await serve(script)
    transport = build_native(server.origin)
    await asyncio.gather(ask(transport), ask(transport), ask(transport))
    assert transport.idle_count == 3
    last = numbers[-1]
    for _ in range(4):
        await ask(transport)
    assert numbers[3:] == [numbers[3]] * 4
    assert last in (1, 2, 3)
    assert server.connections == 3


async def test_an_idle_connection_is_dropped_early(build_native: Open, serve: Serve) -> None:
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()
        dropped.set()

    server = await serve(script)
    transport = build_native(server.origin, idle_connection_s=0.05)
    await ask(transport)
    assert transport.idle_count == 1
    await dropped.wait()
    assert (transport.idle_count, transport.open_count) == (0, 0)


async def test_a_connection_past_its_life_is_not_kept(build_native: Open, serve: Serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Length: 2\r\n\r\no")
        await go.wait()
        await peer.send(b"k")
        await peer.gone()

    server = await serve(script)
    transport = build_native(server.origin, connection_life_s=0.05)
    answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert await answer.chunk() == b"o"
    await asyncio.sleep(0.06)  # its life ends under the request, which is not disturbed
    go.set()
    assert await answer.read(MIB) == b"k"
    assert transport.open_count == 0


async def test_a_connection_closed_while_idle_is_noticed(build_native: Open, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    server = await serve(script)
    transport = build_native(server.origin)
    await ask(transport)
    while transport.idle_count:
        await asyncio.sleep(0.001)
    assert not (await ask(transport)).connection_reused


async def test_an_end_that_only_the_kernel_knows_yet_is_seen_before_reuse(build_native: Open) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        transport = build_native(f"http://127.0.0.1:{listener.getsockname()[1]}", probe_after_s=0.0)
        first = asyncio.ensure_future(ask(transport))
        raw, _ = await loop.sock_accept(listener)
        await loop.sock_recv(raw, 65536)
        await loop.sock_sendall(raw, OK)
        await first
        raw.close()  # and from here on the event loop had no turn to tell the pool
        second = asyncio.ensure_future(ask(transport))
        raw, _ = await loop.sock_accept(listener)
        await loop.sock_recv(raw, 65536)
        await loop.sock_sendall(raw, OK)
        assert not (await second).connection_reused
        raw.close()


async def test_the_line_has_a_length(build_native: Open, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    transport = build_native(server.origin, max_connections=1, max_waiting=1)
    held = [asyncio.ensure_future(ask(transport)) for _ in range(2)]
    while not server.requests:
        await asyncio.sleep(0.001)
    with pytest.raises(PoolExhausted, match="1 requests wait"):
        await ask(transport)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert transport.open_count == 0


async def test_a_fresh_request_in_the_line_gets_a_new_connection(build_native: Open, serve: Serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await go.wait()
            await peer.send(OK)

    server = await serve(script)
    transport = build_native(server.origin, max_connections=1)
    first = asyncio.ensure_future(ask(transport))
    while not server.requests:
        await asyncio.sleep(0.001)
    second = asyncio.ensure_future(ask(transport, fresh=True))
    third = asyncio.ensure_future(ask(transport))
    await asyncio.sleep(0)
    go.set()
    assert [(await task).connection_reused for task in (first, second, third)] == [False, False, True]
    assert server.connections == 2
    assert transport.open_count == 1


async def test_closing_the_transport_ends_the_line(build_native: Open, serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    transport = build_native(server.origin, max_connections=1)
    first = asyncio.ensure_future(ask(transport))
    while not server.requests:
        await asyncio.sleep(0.001)
    second = asyncio.ensure_future(ask(transport))
    await asyncio.sleep(0)
    await transport.aclose()
    with pytest.raises(TransportClosed):
        await second
    await asyncio.gather(first, return_exceptions=True)
    assert transport.open_count == 0


async def test_a_failed_connect_passes_its_slot_on(build_native: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    transport = build_native(f"http://127.0.0.1:{port}", max_connections=1)
    results = await asyncio.gather(*(ask(transport) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectFailed] * 5
    assert transport.open_count == 0


async def test_nothing_is_left_open_after_a_storm_of_cancelled_requests(
    build_native: Open, serve: Serve
) -> None:
    """Cancelled at every step: connecting, in line, before the head, in the body."""

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.dribble(OK)

    server = await serve(script)
    transport = build_native(server.origin, max_connections=3, pool_wait_s=5.0)
    for turns in range(60):
        tasks = [asyncio.ensure_future(ask(transport)) for _ in range(8)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        for result in await asyncio.gather(*tasks[1::2]):
            assert result.complete
        await asyncio.gather(*tasks[::2], return_exceptions=True)
    assert transport.open_count == transport.idle_count <= 3
