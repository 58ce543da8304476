"""What the head of an answer says about its body: how it ends, and whether it must be decoded."""

from __future__ import annotations

from gateway.transport.encoding import BodyDecoder, decoder_for
from gateway.transport.errors import FramingFault
from gateway.transport.port import Framing, Headers

_WATCHED = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_DROPPED_WHEN_DECODED = frozenset({b"content-length", b"content-encoding"})
_WITHOUT_BODY = frozenset({204, 304})


def judge(status: int, headers: Headers, *, head_only: bool) -> tuple[Framing, BodyDecoder | None, Headers]:
    """The framing, the decoder if one is needed, and the headers as the reader should see them.

    `headers` have lower-case names and were accepted by a strict parser: lengths are numbers and stand
    alone. `head_only`: the request was a HEAD. Raises FramingFault for codings that were not offered.
    """
    framing: Framing = "close"
    encoding = b""
    for name, value in headers:
        if name in _WATCHED:
            if name == b"content-length":
                framing = "length"
            elif name == b"content-encoding":
                encoding = encoding + b"," + value if encoding else value
            elif framing == "chunked" or value.strip().lower() != b"chunked":
                # An earlier coding would need decoding, and without `chunked` as the last the end is unknown.
                shown = value[:40].decode("latin-1")
                raise FramingFault("bad_transfer_encoding", f"transfer-encoding {shown!r}, not just chunked")
            else:
                framing = "chunked"
    if status == 101:
        raise FramingFault("upgrade", "the provider switched protocols unasked")
    if not 200 <= status <= 999:
        raise FramingFault("bad_head", f"status {status:03d} is no answer")
    if head_only or status in _WITHOUT_BODY:
        return "length", None, headers
    decoder = decoder_for(encoding) if encoding else None
    if decoder is not None:
        headers = [pair for pair in headers if pair[0] not in _DROPPED_WHEN_DECODED]
    return framing, decoder, headers
