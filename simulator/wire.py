"""HTTP as bytes: a request as it arrived, a reply as it will leave, and the framing between."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {529: b"Site Overloaded"}
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
HTML = b"text/html; charset=utf-8"
LAST_CHUNK = b"0\r\n\r\n"
_SERVER = b"server: tollkeeper-simulator\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are lower case; `arrived` is the loop's time of its last byte."""

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    chunks: bool
    arrived: float

    def header(self, name: bytes) -> str | None:
        """The first value of a header, or None."""
        for known, value in self.headers:
            if known == name:
                return value.decode("latin-1")
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `headers` are added to the usual ones."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Clock:
    """The `date` header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """The header line for now."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: " + formatdate(second, usegmt=True).encode() + b"\r\n"
        return self._line


_CLOCK = Clock()


def head(
    status: int,
    *,
    usual: bytes,
    content_type: bytes,
    length: int | None,
    keep_alive: bool,
    chunked: bool = False,
    extra: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """The status line and headers. `length` None and not chunked: the answer ends with the connection.

    `usual` are the header lines of the dialect.
    """
    parts = [
        b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown")),
        _CLOCK.line(),
        b"content-type: " + content_type + b"\r\n",
        usual,
        _SERVER,
    ]
    if chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    parts.extend(f"{name}: {value}\r\n".encode("latin-1") for name, value in extra)
    parts.append(b"\r\n")
    return b"".join(parts)


def chunk(data: bytes, size: int | None = None) -> bytes:
    """`data` in HTTP chunks: one, or as many as `size` bytes each give."""
    if size is None or len(data) <= size:
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return b"".join([chunk(data[at : at + size]) for at in range(0, len(data), size)])
