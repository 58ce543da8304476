"""Bodies compressed although identity was asked for, decoded in bounded steps."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable

from gateway.transport.errors import FramingFault

STEP_BYTES = 64 * 1024
"""Decoded bytes produced at a time, so that a compressed flood cannot fill the memory."""

_IDENTITY = frozenset({b"", b"identity"})
_GZIP = frozenset({b"gzip", b"x-gzip"})


class BodyDecoder:
    """Incremental gzip or deflate: `feed` what arrived, `take` until it gives b""."""

    __slots__ = ("_gzip", "_hungry", "_inflate", "_pending", "_started")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate = zlib.decompressobj(31 if gzip else 15)
        self._pending = b""
        self._hungry = True
        self._started = False

    @property
    def finished(self) -> bool:
        """All that was fed is decoded and the compressed stream has come to its own end."""
        return not self._started or (self._hungry and not self._pending and self._inflate.eof)

    def feed(self, data: bytes) -> None:
        if not self._started and data:
            self._started = True
            if not self._gzip and not _looks_like_zlib(data):
                self._inflate = zlib.decompressobj(-15)  # some servers send deflate without its wrapper
        self._pending += data
        self._hungry = False

    def take(self) -> bytes:
        """Up to STEP_BYTES decoded bytes; b"" when more input is needed. Raises FramingFault."""
        while not self._hungry:
            if self._inflate.eof:
                if not self._pending:
                    self._hungry = True
                    break
                if not self._gzip:
                    raise FramingFault("bad_encoding", "bytes after the end of the compressed body")
                self._inflate = zlib.decompressobj(31)  # gzip allows several members in a row
            try:
                data = self._inflate.decompress(self._pending, STEP_BYTES)
            except zlib.error as error:
                raise FramingFault("bad_encoding", str(error)) from None
            self._pending = self._inflate.unconsumed_tail or self._inflate.unused_data
            if len(data) < STEP_BYTES and not self._pending:
                self._hungry = True
            if data:
                return data
        return b""


async def decoded(decoder: BodyDecoder, next_raw: Callable[[], Awaitable[bytes]]) -> bytes:
    """The next decoded bytes, b"" at the end. `next_raw` waits for compressed ones, b"" at their end.

    Raises FramingFault when they are broken or cut.
    """
    while True:
        data = decoder.take()
        if data:
            return data
        raw = await next_raw()
        if raw:
            decoder.feed(raw)
        elif decoder.finished:
            return b""
        else:
            raise FramingFault("bad_encoding", "the compressed body is cut")


def decoder_for(content_encoding: bytes) -> BodyDecoder | None:
    """The decoder of a Content-Encoding value, None for identity; FramingFault for what we cannot decode."""
    value = content_encoding.strip().lower()
    if value in _IDENTITY:
        return None
    if value in _GZIP:
        return BodyDecoder(gzip=True)
    if value == b"deflate":
        return BodyDecoder(gzip=False)
    shown = value[:40].decode("latin-1")
    raise FramingFault("bad_encoding", f"content-encoding {shown!r}, although only identity was accepted")


def _looks_like_zlib(data: bytes) -> bool:
    # RFC 1950: method 8 in the low bits, and the first two bytes are a multiple of 31.
    if len(data) == 1:
        return data[0] & 0x0F == 8
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
