"""How answers end, and how the wrong ends are told: the framing half of the contract."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from dataclasses import dataclass

import pytest

from gateway.transport import Kind, Timeouts
from gateway.transport.errors import FramingFault, IdleTimeout, MalformedRequest, Reason, ResponseTooLarge
from gateway.transport.port import Framing
from tests.gateway.transport.conftest import PATIENT, Build, Serve
from tests.gateway.transport.script import (
    HEAD,
    SSE,
    Peer,
    always,
    chunked,
    once_then_close,
    once_then_hold,
    with_length,
)

MIB = 1024 * 1024


async def test_an_answer_with_a_length_is_read_whole_and_its_headers_are_in_lower_case(
    build: Build, serve: Serve
) -> None:
    server = await serve(always(with_length(b"hello", b"X-Request-Id: r1", b"x-twice: a", b"X-Twice: b")))
    answer = await build(server.origin).send(b"POST", b"/v1/x?y=1", [], b"{}", timeouts=PATIENT)
    assert (answer.status, answer.framing, answer.connection_reused) == (200, "length", False)
    assert answer.header(b"x-request-id") == b"r1"
    assert answer.header(b"absent") is None
    assert [value for name, value in answer.headers if name == b"x-twice"] == [b"a", b"b"]
    assert await answer.read(MIB) == b"hello"
    assert answer.complete
    assert await answer.chunk() == b""


async def test_the_request_goes_out_as_given_with_host_length_and_identity_added(
    build: Build, serve: Serve
) -> None:
    server = await serve(always(with_length(b"")))
    transport = build(server.origin)
    headers = [(b"Authorization", b"Bearer x"), (b"Content-Type", b"application/json")]
    await (await transport.send(b"POST", b"/v1/chat", headers, b'{"a":1}', timeouts=PATIENT)).read(MIB)
    await (await transport.send(b"GET", b"/v1/models", [], b"", timeouts=PATIENT)).read(MIB)
    await (await transport.send(b"POST", b"/empty", [], b"", timeouts=PATIENT)).read(MIB)
    post, get, empty = server.requests
    assert post.line == b"POST /v1/chat HTTP/1.1"
    assert post.body == b'{"a":1}'
    assert sorted(post.headers) == [
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer x"),
        (b"content-length", b"7"),
        (b"content-type", b"application/json"),
        (b"host", f"127.0.0.1:{server.port}".encode()),
    ]
    assert get.line == b"GET /v1/models HTTP/1.1"
    assert get.header(b"content-length") == []
    assert empty.header(b"content-length") == [b"0"]


async def test_a_large_request_body_arrives_whole(build: Build, serve: Serve) -> None:
    server = await serve(always(with_length(b"ok")))
    body = bytes(range(256)) * 16 * 1024  # 4 MiB: more than the sockets hold
    answer = await build(server.origin).send(b"POST", b"/", [], body, timeouts=PATIENT)
    assert await answer.read(MIB) == b"ok"
    assert server.requests[0].body == body


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PLAIN = HEAD + b"Content-Length: 3\r\n\r\nabc"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
MIXED_CASE = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "body", "framing"),
    [
        (HEAD + b"Content-Length: 11\r\n\r\nhello world", b"hello world", "length"),
        (CHUNKED + chunked(b"hello", b" ", b"world"), b"hello world", "chunked"),
        (MIXED_CASE, b"abc", "chunked"),
        (INTERIM + with_length(b"ok"), b"ok", "length"),
        (HEAD + b"\r\nto the end", b"to the end", "close"),
        (HEAD + b"Content-Length: 0\r\n\r\n", b"", "length"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", "length"),
    ],
    ids=["length", "chunked", "extension-and-trailer", "interim", "close", "empty", "http-1.0"],
)
@pytest.mark.parametrize("bytewise", [False, True], ids=["at-once", "bytewise"])
async def test_every_framing_is_read_however_its_bytes_are_split(
    build: Build, serve: Serve, wire: bytes, body: bytes, framing: Framing, bytewise: bool
) -> None:
    async def script(peer: Peer) -> None:
        if await peer.request() is not None:
            await (peer.dribble(wire) if bytewise else peer.send(wire))

    server = await serve(script)
    answer = await build(server.origin).send(b"GET", b"/", [], b"", timeouts=PATIENT)
    assert answer.status == 200
    assert answer.framing == framing
    assert await answer.read(MIB) == body
    assert answer.complete
    assert answer.header(b"x-trailer") is None


async def test_chunks_are_handed_out_as_they_arrive(build: Build, serve: Serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + SSE + b"Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
        await go.wait()
        await peer.send(b"8\r\ndata: 2\n\r\n0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    answer = await build(server.origin).send(b"GET", b"/", [], b"", timeouts=PATIENT)
    assert await answer.chunk() == b"data: 1\n"
    assert not answer.complete
    go.set()
    assert await answer.chunk() == b"data: 2\n"
    assert await answer.chunk() == b""
    assert await answer.chunk() == b""
    assert answer.complete


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        (b"HEAD", HEAD + b"Content-Length: 1000\r\n\r\n"),
        (b"HEAD", HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ],
    ids=["head-with-length", "head-chunked", "204", "304"],
)
async def test_answers_without_a_body_end_with_their_head_and_the_connection_lives_on(
    build: Build, serve: Serve, method: bytes, wire: bytes
) -> None:
    server = await serve(always(wire))
    transport = build(server.origin)
    for turn in range(3):
        answer = await transport.send(method, b"/", [], b"", timeouts=PATIENT)
        assert await answer.read(1) == b""
        assert answer.complete
        assert answer.framing == "length"
        assert answer.connection_reused == (turn > 0)
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(build: Build, serve: Serve, status: int) -> None:
    moved = with_length(b"over there", b"Location: http://127.0.0.1:1/", status=b"%d Moved" % status)
    server = await serve(always(moved))
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert (answer.status, await answer.read(MIB)) == (status, b"over there")
    assert len(server.requests) == 1


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong answer, what the port says of it, and what the alternative says instead, with the reason why.

    `alternative`: None means the same as the port. A string names another reason, "accepted" that aiohttp
    lets the answer pass.
    """

    name: str
    wire: bytes
    reason: Reason
    before: bytes = b""
    """Body bytes that can be read before the fault."""
    alternative: str | None = None
    because: str = ""


ONE_PIECE = "aiohttp parses an arrival as a whole: head and body bytes in one piece with a fault are lost"
FAULTS = [
    Fault("length-cut", HEAD + b"Content-Length: 10\r\n\r\nabc", "short_body", b"abc"),
    Fault("chunk-cut", CHUNKED + b"5\r\nab", "short_body", b"ab"),
    Fault("last-chunk-missing", CHUNKED + b"5\r\nabcde\r\n", "short_body", b"abcde"),
    Fault(
        "length-then-chunked",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc"),
        "bad_length",
    ),
    Fault(
        "chunked-then-length",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunked(b"abc"),
        "bad_length",
    ),
    Fault("two-lengths", HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "bad_length"),
    Fault("length-list", HEAD + b"Content-Length: 3, 4\r\n\r\nabc", "bad_length"),
    Fault("negative-length", HEAD + b"Content-Length: -3\r\n\r\nabc", "bad_length"),
    Fault("huge-length", HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc", "bad_length"),
    Fault("bad-chunk-size", CHUNKED + b"zz\r\nabc\r\n", "bad_chunk"),
    Fault("bad-second-chunk", CHUNKED + b"3\r\nabc\r\nzz\r\n", "bad_chunk", b"abc", "bad_chunk", ONE_PIECE),
    Fault("chunk-without-end", CHUNKED + b"3\r\nabcX\r\n", "bad_chunk", b"abc", "bad_chunk", ONE_PIECE),
    Fault("other-protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "bad_head"),
    Fault("no-status", b"HTTP/1.1 OK\r\n\r\n", "bad_head"),
    Fault("status-of-42", b"HTTP/1.1 042 Odd\r\nContent-Length: 0\r\n\r\n", "bad_head"),
    Fault("http-2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_head"),
    Fault("nul-in-header", HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", "bad_head"),
    Fault(
        "folded-header",
        HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "bad_head",
        alternative=None if sys.flags.dev_mode else "accepted",
        because="aiohttp is lenient with answers and unfolds, except in Python's development mode",
    ),
    Fault("one-huge-header", HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "oversized_head"),
    Fault("endless-header", HEAD + b"X: " + b"a" * 300_000, "oversized_head"),
    Fault(
        "many-headers", HEAD + b"X: " + b"\r\nX: ".join([b"a" * 1000] * 70) + b"\r\n\r\nabc", "oversized_head"
    ),
    Fault(
        "gzip-coding",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(b"a"),
        "bad_transfer_encoding",
    ),
    Fault("identity-coding", HEAD + b"Transfer-Encoding: identity\r\n\r\nabc", "bad_transfer_encoding"),
    Fault(
        "bytes-after-length",
        PLAIN + b"MORE",
        "bytes_after_end",
        b"abc",
        "bad_head",
        "aiohttp takes them for the head of a next answer, and loses this one",
    ),
    Fault(
        "second-answer",
        PLAIN + PLAIN,
        "bytes_after_end",
        b"abc",
        "accepted",
        "aiohttp only closes the connection afterwards",
    ),
    Fault(
        "bytes-after-last-answer",
        HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nabcMORE",
        "bytes_after_end",
        b"abc",
        "bytes_after_end",
        ONE_PIECE,
    ),
    Fault(
        "body-of-204",
        b"HTTP/1.1 204 No Content\r\n\r\nabc",
        "bytes_after_end",
        alternative="bad_head",
        because="aiohttp takes it for the head of a next answer",
    ),
    Fault("brotli", HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", "bad_encoding"),
    Fault("not-gzip", HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "bad_encoding"),
    Fault(
        "gzip-cut",
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"abc", mtime=0)[:-4],
        "bad_encoding",
        b"abc",
    ),
    Fault("upgrade", b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfoo", "upgrade"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_an_answer_that_breaks_its_framing_is_a_fault_with_its_reason(
    build: Build, serve: Serve, kind: Kind, fault: Fault
) -> None:
    server = await serve(once_then_close(fault.wire))
    transport = build(server.origin)
    body = b""
    said = "accepted"
    try:
        answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
        while data := await answer.chunk():
            body += data
    except FramingFault as error:
        said = error.reason if error.request_sent else "not sent"
    if kind == "aiohttp" and fault.alternative is not None:
        assert fault.because
        assert said == fault.alternative
    else:
        assert said == fault.reason
        assert body == fault.before


async def test_endless_trailers_are_a_fault(build: Build, serve: Serve, kind: Kind) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"3\r\nabc\r\n0\r\n")
        for _ in range(100):
            await peer.send(b"X: " + b"a" * 2000 + b"\r\n")
        await peer.gone()

    server = await serve(script)
    brief = Timeouts(first_byte_s=60.0, idle_s=60.0 if kind == "native" else 0.2, total_s=120.0)
    answer = await build(server.origin, head_bytes_max=8192).send(b"GET", b"/", [], b"", timeouts=brief)
    if kind == "native":
        with pytest.raises(FramingFault) as caught:
            await answer.read(MIB)
        assert caught.value.reason == "oversized_trailers"
    else:  # aiohttp reads trailers without a bound on their sum: only the deadlines end it
        with pytest.raises(IdleTimeout):
            await answer.read(MIB)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        (b"gzip", lambda data: gzip.compress(data)),
        (b"x-gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
        (b"deflate", zlib.compress),
        (b"deflate", lambda data: zlib.compress(data)[2:-4]),
    ],
    ids=["gzip", "gzip-of-two-members", "deflate", "deflate-without-wrapper"],
)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_answer_compressed_unasked_is_decoded_and_says_so_no_more(
    build: Build, serve: Serve, encoding: bytes, compress: object, framing: Framing
) -> None:
    assert callable(compress)
    text = b'{"usage": {"total_tokens": 12}}' * 5000
    packed: bytes = compress(text)
    ends = {
        "length": b"Content-Length: %d\r\n\r\n%b" % (len(packed), packed),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + chunked(packed[:7], packed[7:]),
        "close": b"\r\n" + packed,
    }
    server = await serve(once_then_close(HEAD + b"Content-Encoding: %b\r\n" % encoding + ends[framing]))
    answer = await build(server.origin).send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert answer.header(b"content-encoding") is None
    assert answer.header(b"content-length") is None
    assert await answer.read(MIB) == text
    assert answer.complete


async def test_a_compressed_flood_is_handed_out_in_bounded_pieces(build: Build, serve: Serve) -> None:
    packed = zlib.compress(bytes(16 * MIB), 9)
    server = await serve(once_then_hold(with_length(packed, b"Content-Encoding: deflate")))
    transport = build(server.origin)
    answer = await transport.send(b"GET", b"/", [], b"", timeouts=PATIENT)
    assert len(await answer.chunk()) <= 64 * 1024
    with pytest.raises(ResponseTooLarge):
        await answer.read(MIB)
    assert not answer.complete


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_body_above_the_limit_is_refused_and_its_connection_dropped(
    build: Build, serve: Serve, framing: Framing
) -> None:
    body = bytes(100_000)
    ends = {
        "length": b"Content-Length: 200000\r\n\r\n" + body,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + body,
        "close": b"\r\n" + body,
    }
    dropped: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + ends[framing])
        await peer.gone()
        dropped.append(peer.number)

    server = await serve(script)
    transport = build(server.origin)
    answer = await transport.send(b"GET", b"/", [], b"", timeouts=PATIENT)
    with pytest.raises(ResponseTooLarge) as caught:
        await answer.read(1000)
    assert caught.value.limit == 1000
    again = await transport.send(b"GET", b"/", [], b"", timeouts=PATIENT)
    assert not again.connection_reused
    assert dropped == [1]
    again.close()


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"POST", b"/", [(b"X-A", b"a\r\nX-Evil: 1")]),
        (b"POST", b"/", [(b"X-A", b"a\nb")]),
        (b"POST", b"/", [(b"X-A", b"a\0b")]),
        (b"POST", b"/", [(b"X-A\r\nX-B", b"a")]),
        (b"POST", b"/", [(b"X A", b"a")]),
        (b"POST", b"/", [(b"", b"a")]),
        (b"POST", b"/", [(b"Content-Length", b"1")]),
        (b"POST", b"/", [(b"transfer-encoding", b"chunked")]),
        (b"POST", b"/", [(b"Host", b"elsewhere")]),
        (b"POST", b"/a b", []),
        (b"POST", b"/a\r\nX: y", []),
        (b"POST", b"http://elsewhere/", []),
        (b"POST", b"", []),
        (b"PO ST", b"/", []),
        (b"GET / HTTP/1.1\r\nX:", b"/", []),
    ],
)
async def test_what_would_change_the_request_is_refused_before_anything_is_sent(
    build: Build, serve: Serve, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    server = await serve(always(with_length(b"")))
    transport = build(server.origin)
    with pytest.raises(MalformedRequest) as caught:
        await transport.send(method, target, [*headers, (b"Authorization", b"secret")], b"", timeouts=PATIENT)
    assert not caught.value.request_sent
    assert "secret" not in str(caught.value)
    assert server.connections == 0
