"""What can go wrong on the way to a provider and back, and what it may have cost.

    TransportError                  .request_sent: False only when the provider surely saw no request
    |- MalformedRequest             ours: a header, method or target that must not be put on the wire
    |- TransportClosed              ours: the transport was shut down before the request left
    |- PoolExhausted                ours: every connection stayed busy for the whole pool wait
    |- ConnectFailed                no usable connection came about
    |  |- AddressRefused            the name leads to an address that this provider may not use
    |  |- ConnectTimeout            not connected (TCP and TLS) within `connect_s`
    |  `- TlsFailed                 wrong certificate, wrong name, no common protocol
    |- ReusedConnectionClosed       a kept connection ended before any answer byte; cost unknown,
    |                               the caller may repeat once with `fresh=True`
    |- ConnectionLost               closed or reset, .head_received tells on which side of the head
    |- UpstreamTimeout              the provider is too slow
    |  |- FirstByteTimeout          no complete answer head within `first_byte_s`
    |  |- IdleTimeout               no byte for `idle_s` in the middle of a body
    |  `- TotalTimeout              not finished within `total_s`
    |- FramingFault                 the answer breaks HTTP/1.1; .reason says how
    `- ResponseTooLarge             the body is longer than the reader's limit

Everything but the first three is the provider's or the network's fault. `request_sent` is about money: False
means free, True means that the provider may bill whatever it read.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "bad_head",
    "oversized_head",
    "bad_length",
    "bad_transfer_encoding",
    "short_body",
    "bad_chunk",
    "oversized_trailers",
    "bytes_after_end",
    "bad_encoding",
    "upgrade",
]
"""How an answer broke its framing.

bad_head: no HTTP/1.x status line, or a header that is none. oversized_head: head over its bound.
bad_length: Content-Length twice, not a number, or next to Transfer-Encoding. bad_transfer_encoding: anything
but `chunked`. short_body: closed before the promised length or the last chunk. bad_chunk: chunk framing
broken. oversized_trailers: endless bytes between chunks or after them. bytes_after_end: more bytes than the
framing allows. bad_encoding: compressed although identity was asked for, and not decodable. upgrade: the
provider left HTTP unasked.
"""


class TransportError(Exception):
    """The request brought no whole answer."""

    def __init__(self, message: str, *, request_sent: bool) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class MalformedRequest(TransportError):
    """A method, target or header cannot be written without changing what the request means."""

    def __init__(self, message: str) -> None:
        super().__init__(message, request_sent=False)


class TransportClosed(TransportError):
    """The transport was closed before the request was sent."""

    def __init__(self, message: str = "the transport is closed; build a new one") -> None:
        super().__init__(message, request_sent=False)


class PoolExhausted(TransportError):
    """No connection became free in time; raise `max_connections` or shed load."""

    def __init__(self, message: str) -> None:
        super().__init__(message, request_sent=False)


class ConnectFailed(TransportError):
    """The provider could not be reached; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, request_sent=False)


class AddressRefused(ConnectFailed):
    """The name leads only to addresses that are not public; set `allow_private` if that is meant."""


class ConnectTimeout(ConnectFailed):
    """The connection, with its TLS handshake, was not ready in time."""


class TlsFailed(ConnectFailed):
    """The TLS handshake failed; check CA bundle, host name and client certificate."""


class ReusedConnectionClosed(TransportError):
    """A kept connection was closed before any answer byte: usually an idle limit of the provider.

    The request may have been read before the end, so its cost is unknown.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, request_sent=True)


class ConnectionLost(TransportError):
    """The connection ended under a request. `head_received`: the answer's head had arrived."""

    def __init__(self, message: str, *, head_received: bool) -> None:
        super().__init__(message, request_sent=True)
        self.head_received = head_received


class UpstreamTimeout(TransportError):
    """The provider did not keep one of the deadlines."""

    def __init__(self, message: str, *, request_sent: bool = True) -> None:
        super().__init__(message, request_sent=request_sent)


class FirstByteTimeout(UpstreamTimeout):
    """The head of the answer was not complete in time; sending the request counts into it."""


class IdleTimeout(UpstreamTimeout):
    """The body stopped arriving."""


class TotalTimeout(UpstreamTimeout):
    """The request took longer than it may altogether."""


class FramingFault(TransportError):
    """The answer is not valid HTTP/1.1, so where it ends is not known."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}", request_sent=True)
        self.reason: Reason = reason


class ResponseTooLarge(TransportError):
    """The body exceeds `limit` bytes; the connection was dropped."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is longer than the {limit} bytes that are read", request_sent=True)
        self.limit = limit
