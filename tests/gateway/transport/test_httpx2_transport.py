"""An `httpx2.AsyncClient` over our transports."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest

from gateway.transport.httpx2_transport import HttpxPortTransport
from tests.gateway.transport.conftest import Build, Serve
from tests.gateway.transport.script import HEAD, Peer, always, chunked, once_then_close, with_length


async def client_for(
    build: Build, origin: str, cleanup: AsyncExitStack, **options: object
) -> httpx2.AsyncClient:
    transport = HttpxPortTransport(build(origin, **options), origin)
    client = httpx2.AsyncClient(transport=transport, base_url=origin, timeout=60.0)
    return await cleanup.enter_async_context(client)


async def test_the_client_sends_reads_and_reuses(build: Build, serve: Serve, cleanup: AsyncExitStack) -> None:
    server = await serve(
        always(with_length(b'{"ok": true}', b"Content-Type: application/json", b"X-A: 1", b"X-A: 2"))
    )
    client = await client_for(build, server.origin, cleanup)
    for _ in range(3):
        response = await client.post("/v1/things?a=b", json={"x": 1}, headers={"X-Test": "y"})
        assert response.status_code == 200
        assert response.json() == {"ok": True}
        assert response.headers.get_list("x-a") == ["1", "2"]
    assert server.connections == 1
    request = server.requests[0]
    assert request.line == b"POST /v1/things?a=b HTTP/1.1"
    assert request.body == b'{"x":1}'
    assert request.header(b"accept-encoding") == [b"identity"]
    assert request.header(b"x-test") == [b"y"]
    assert request.header(b"content-length") == [b"7"]
    assert request.header(b"host") == [f"127.0.0.1:{server.port}".encode()]


async def test_streams_arrive_piece_by_piece(build: Build, serve: Serve, cleanup: AsyncExitStack) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go.wait()
        await peer.send(chunked(b"second"))
        await peer.gone()

    server = await serve(script)
    client = await client_for(build, server.origin, cleanup)
    async with client.stream("GET", "/") as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"first"
        go.set()
        assert await anext(pieces) == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_leaving_a_stream_early_drops_its_connection(
    build: Build, serve: Serve, cleanup: AsyncExitStack
) -> None:
    dropped = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await peer.gone()
        dropped.set()

    server = await serve(script)
    client = await client_for(build, server.origin, cleanup)
    async with client.stream("GET", "/"):
        pass
    await dropped.wait()


async def test_a_redirect_is_returned(build: Build, serve: Serve, cleanup: AsyncExitStack) -> None:
    server = await serve(always(with_length(b"", b"Location: /elsewhere", status=b"302 Found")))
    client = await client_for(build, server.origin, cleanup)
    assert (await client.get("/")).status_code == 302
    assert len(server.requests) == 1


async def test_another_origin_is_not_reached(build: Build, serve: Serve, cleanup: AsyncExitStack) -> None:
    server = await serve(always(with_length(b"")))
    client = await client_for(build, server.origin, cleanup)
    with pytest.raises(httpx2.UnsupportedProtocol, match="only reaches"):
        await client.get("http://169.254.169.254/latest/")
    assert server.connections == 0


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"", httpx2.ReadError),
        (b"garbage\r\n\r\n", httpx2.RemoteProtocolError),
        (HEAD + b"Content-Length: 10\r\n\r\nabc", httpx2.RemoteProtocolError),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", httpx2.DecodingError),
    ],
)
async def test_faults_are_httpx2s_own_exceptions(
    build: Build, serve: Serve, cleanup: AsyncExitStack, wire: bytes, expected: type[Exception]
) -> None:
    server = await serve(once_then_close(wire))
    client = await client_for(build, server.origin, cleanup)
    with pytest.raises(expected) as caught:
        await client.post("/", content=b"{}")
    assert isinstance(caught.value, httpx2.RequestError)
    assert caught.value.request.url.path == "/"


async def test_deadlines_and_refusals_are_httpx2s_own_exceptions_too(
    build: Build, serve: Serve, cleanup: AsyncExitStack
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    client = await client_for(build, server.origin, cleanup, max_connections=1, pool_wait_s=0.05)
    with pytest.raises(httpx2.ReadTimeout):
        await client.post("/", timeout=httpx2.Timeout(60.0, read=0.1))
    held = asyncio.ensure_future(client.post("/"))
    while len(server.requests) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(httpx2.PoolTimeout):
        await client.post("/")
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    await client.aclose()
    refused = await client_for(build, "http://127.0.0.1:1", cleanup)
    with pytest.raises(httpx2.ConnectError):
        await refused.get("/")


async def test_a_repeatable_request_survives_the_end_of_a_kept_connection_and_a_post_does_not(
    build: Build, serve: Serve, cleanup: AsyncExitStack
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(with_length(b"ok"))
        await peer.request()

    server = await serve(script)
    client = await client_for(build, server.origin, cleanup)
    assert (await client.get("/")).text == "ok"
    assert (await client.get("/")).text == "ok"
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.post("/")
    assert [request.line[:4] for request in server.requests] == [b"GET ", b"GET ", b"GET ", b"POST"]
