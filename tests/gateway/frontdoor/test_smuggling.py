"""Raw bytes that two readers of HTTP could read differently: none of it is accepted as a request.

BEHIND is a whole request. It is never read as one where it lies inside, or behind, another.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import orjson
import pytest

from .conftest import Hall, Open

BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
Send = Callable[[Hall, bytes], Awaitable[bytes]]
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + BEHIND,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + BEHIND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s" % (len(BEHIND), BEHIND),
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nab",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\nab",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\nab",
    "two numbers for a length": POST + b"Content-Length: 2 2\r\n\r\nab",
    "an empty length": POST + b"Content-Length: \r\n\r\nab",
    "a length beyond 64 bit": POST + b"Content-Length: 18446744073709551618\r\n\r\nab",
    "whitespace before the colon": POST + b"Content-Length : 2\r\n\r\nab",
    "whitespace before the colon of chunks": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"Content-Length:\r\n 2\r\n\r\nab",
    "a folded first line": b"POST /x HTTP/1.1\r\n Host: a\r\n\r\n",
    "a bare LF": POST + b"X: y\nContent-Length: 2\r\n\r\nab",
    "bare LFs only": b"POST /x HTTP/1.1\nHost: a\nContent-Length: 2\n\nab",
    "a bare CR": POST + b"X: y\rContent-Length: 2\r\n\r\nab",
    "a NUL": POST + b"X: y\x00z\r\n\r\n",
    "a name with a space": POST + b"X Y: z\r\n\r\n",
    "a line without a colon": POST + b"nothing\r\n\r\n",
    "an empty name": POST + b": x\r\n\r\n",
    "two hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "one host twice": b"GET /x HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "a coding beside chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity and chunks": POST
    + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a cow and chunks": POST + b"Transfer-encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nearly chunks": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + BEHIND,
    "chunks after a tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + BEHIND,
    "chunks in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + BEHIND,
    "a chunk size with LF": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "a chunk that ends with LF": CHUNKED + b"1\r\na\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "a chunk size beyond 64 bit": CHUNKED + b"fffffffffffffffff\r\na\r\n0\r\n\r\n",
    "a chunk extension with LF": CHUNKED + b"1;a\n\r\na\r\n0\r\n\r\n",
    "a chunk longer than said": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"1\r\na\r\n0\r\nObserve-Customer: other\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "absolute form": b"GET http://other/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form in HTTP/1.0": b"GET http://other/x HTTP/1.0\r\n\r\n",
    "authority form": b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n" + BEHIND,
    "connect with a path": b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n" + BEHIND,
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative path": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upgrade": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab" + BEHIND,
    "a websocket": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    + BEHIND,
    "an unasked upgrade": POST + b"Upgrade: h2c\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0 in words": b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "RTSP": b"DESCRIBE /x RTSP/1.0\r\nHost: a\r\n\r\n",
    "ICE": b"SOURCE /x ICE/1.0\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the first line": b"GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a leading space": b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes above ASCII in the target": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an escape that is no UTF-8": b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
}


async def in_one_piece(hall: Hall, raw: bytes) -> bytes:
    return await hall.say(raw)


async def byte_by_byte(hall: Hall, raw: bytes) -> bytes:
    """Until the door closes; what it said before can be read although bytes met a closed socket."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.create_connection(("127.0.0.1", hall.port)) as own:
        own.setblocking(False)
        with contextlib.suppress(ConnectionError):
            for at in range(len(raw)):
                await loop.sock_sendall(own, raw[at : at + 1])
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.wait_for(loop.sock_recv(own, 65_536), 60):
                answer += data
    return answer


@pytest.mark.parametrize("send", [in_one_piece, byte_by_byte])
async def test_no_ambiguous_request_is_accepted(hall: Hall, send: Send) -> None:
    for name, raw in AMBIGUOUS.items():
        answer = await send(hall, raw)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (name, answer)
        assert answer.count(b"HTTP/1.1 4") == 1, (name, answer)
        assert b"connection: close" in head, name
        error = orjson.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "malformed_http"), name
        assert hall.asked == [], name


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (POST + b"Content-Length: 2\r\n\r\nab" + BEHIND, b"ab"),
        (POST + b"Content-Length: 2\r\n\r\nabGARBAGE", b"ab"),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\n" + BEHIND, b"ab"),
        (POST + b"Content-Length: 0\r\n\r\n\x00\x01\x02", b""),
        (POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nab" + BEHIND, b"ab"),
    ],
    ids=["a request", "garbage", "a request behind chunks", "binary", "a request after the last"],
)
async def test_what_lies_behind_an_unanswered_request_is_never_read(
    hall: Hall, raw: bytes, body: bytes
) -> None:
    answer = await hall.say(raw)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert hall.asked == [("POST", "/x", body)]


async def test_what_comes_while_a_request_is_answered_is_not_read_either(hall: Hall) -> None:
    reading, writing = await hall.connect()
    writing.write(POST.replace(b"/x", b"/wait") + b"Content-Length: 2\r\n\r\nab")
    while not hall.asked:
        await asyncio.sleep(0.001)
    writing.write(BEHIND)
    await asyncio.sleep(0.05)
    hall.told.set()
    answer = await asyncio.wait_for(reading.read(), 60)
    writing.close()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert hall.asked == [("POST", "/wait", b"ab")]


async def test_plain_requests_are_served_one_after_the_other(hall: Hall) -> None:
    reading, writing = await hall.connect()
    for raw in (
        POST + b"Content-Length: 2\r\n\r\nab",
        b"\r\n" + CHUNKED + b"1;note=x\r\na\r\n1\r\nb\r\n0\r\n\r\n",
        b"GET /x%20y?q=%20 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET //x HTTP/1.1\r\nHost:\r\n\r\n",
        POST.replace(b"/x", b"/early") + b"Content-Length: 3\r\n\r\nabc",
        POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        writing.write(raw)
        head = await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 60)
        if b"100 Continue" in head:
            head = await asyncio.wait_for(reading.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert b"connection: close" not in head
        if not raw.startswith(b"HEAD"):
            assert await reading.readexactly(2) == b"ok"
    writing.close()
    assert [path for _, path, _ in hall.asked] == ["/x", "/x", "/x y", "//x", "/x", "/x"]
    assert [body for method, _, body in hall.asked if method == "POST"] == [b"ab"] * 3


@pytest.mark.parametrize("head", [b"", b"Host: a\r\n", b"Host: a\r\nConnection: keep-alive\r\n"])
async def test_a_client_of_http_1_0_gets_answers_that_end_with_the_connection(
    hall: Hall, head: bytes
) -> None:
    answer = await hall.say(b"GET /x HTTP/1.0\r\n%s\r\n" % head)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nok")
    hall.told.set()
    streamed = await hall.say(b"GET /stream HTTP/1.0\r\n%s\r\n" % head)
    assert b"transfer-encoding" not in streamed.lower()
    assert streamed.endswith(b"\r\n\r\nthe end")


async def test_too_large_a_head_is_refused_however_it_comes(halls: Open) -> None:
    hall = await halls(head_bytes_max=2_048, headers_max=20)
    long = b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2_100
    many = b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20
    for raw in (long, long + b"\r\n\r\n", many + b"\r\n", b"\r\n" * 1_100, b"GET /" + b"x" * 3_000):
        answer = await hall.say(raw)
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large"), (raw[:60], answer)
        assert b'"code":"head_too_large"' in answer
    fits = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: " + b"y" * 1_900 + b"\r\n\r\n"
    assert (await hall.say(fits)).startswith(b"HTTP/1.1 200")
    # A long body in one piece with its head does not make the head long.
    post = POST + b"Connection: close\r\nContent-Length: 30000\r\n\r\n" + b"b" * 30_000
    assert (await hall.say(post)).startswith(b"HTTP/1.1 200")
    assert len(hall.asked) == 2


async def test_chunk_extensions_cannot_make_a_body_longer_than_the_limit_twice_over(halls: Open) -> None:
    hall = await halls(body_bytes_max=1_024)
    answer = await hall.say(CHUNKED + (b"1;" + b"e" * 1_000 + b"\r\na\r\n") * 600)  # some reads
    assert answer.startswith(b"HTTP/1.1 413"), answer
    assert hall.asked == []
