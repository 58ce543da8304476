"""The receiving half of a connection, without I/O: bytes in, answers filled, faults named.

Parsing is llhttp's (httptools), which refuses the ambiguous by default. What it leaves open is decided here:
endless heads and trailers, codings other than chunked, answers to HEAD, and bytes after the end.
"""

from __future__ import annotations

import httptools

from gateway.transport.answer import PooledAnswer
from gateway.transport.errors import FramingFault, Reason
from gateway.transport.head import judge
from gateway.transport.port import Framing, Headers


class Incoming:
    """Reads one answer after the other. `expect` one, `feed` what arrives, then look at the state."""

    __slots__ = (
        "_answer",
        "_arrived",
        "_arrived_in_time",
        "_fault",
        "_head_bytes",
        "_head_bytes_max",
        "_head_only",
        "_headers",
        "_interim",
        "_label",
        "_parser",
        "_progress",
        "_stray_bytes",
        "_trailing",
        "ended",
        "framing",
        "head_done",
        "heard",
        "on_body",
        "reusable",
    )

    def __init__(self, label: str, head_bytes_max: int) -> None:
        self._label = label
        self._head_bytes_max = head_bytes_max
        self._arrived: list[bytes] = []
        self._arrived_in_time = 0
        # The parser tells each chunk of a body; a stream has thousands, so a list takes them without us.
        self.on_body = self._arrived.append
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False

    def expect(self, answer: PooledAnswer, *, head_only: bool) -> None:
        """The next bytes are the head of this answer; `head_only` when a HEAD is answered."""
        if self._head_only:
            self._parser = httptools.HttpResponseParser(self)  # the old one still waits for a body
        self._answer = answer
        self._head_only = head_only
        self._headers: Headers = []
        self._fault: FramingFault | None = None
        self._head_bytes = self._stray_bytes = 0
        self._interim = self._progress = self._trailing = False
        self.framing: Framing = "close"
        self.heard = False
        """Any byte has come."""
        self.head_done = False
        self.ended = False
        """The body has come to its end."""
        self.reusable = False
        """When ended: the provider keeps the connection too."""

    def feed(self, data: bytes) -> FramingFault | None:
        """Fill the answer; a fault means that nothing on this connection can be trusted any more."""
        self.heard = True
        in_head = not self.head_done
        if in_head:
            self._head_bytes += len(data)
        else:
            self._progress = False
        fault = self._parse(data)
        if self._arrived:
            self._hand_over()
        if self._fault is not None:
            return self._fault
        if not self.head_done:
            return self._oversized() if self._head_bytes > self._head_bytes_max else fault
        if self.ended:
            if self._trailing or fault is not None:
                return FramingFault("bytes_after_end", f"{self._label} sent more than its framing allows")
            return None
        if fault is None and not in_head:
            return self._count_stray(len(data))
        return fault

    def end_by_close(self) -> None:
        """The provider has closed, and that is how this body ends."""
        self.ended = True

    def release(self) -> None:
        """Break the cycle with the parser, which holds our bound methods."""
        del self._parser

    # -- what the parser tells ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.ended:
            self._trailing = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:  # else a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.head_done:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            self._headers = []
        else:
            self.head_done = True
            self._read_head(status)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.ended:
            self.ended = True
            self._arrived_in_time = len(self._arrived)
            self.reusable = self._parser.should_keep_alive()

    # -- leaves ------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Give what has arrived to the answer, in one piece; what came after its end is not its."""
        arrived = self._arrived
        if self.ended and len(arrived) > self._arrived_in_time:
            self._trailing = True
            del arrived[self._arrived_in_time :]
        if arrived:
            self._progress = True
            self._answer.feed(arrived[0] if len(arrived) == 1 else b"".join(arrived))
            arrived.clear()
        self._arrived_in_time = 0

    def _parse(self, data: bytes) -> FramingFault | None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return FramingFault("upgrade", "the provider switched protocols unasked")
        except httptools.HttpParserError as error:
            return FramingFault(self._reason(str(error)), f"{self._label}: {error}")
        return None

    def _reason(self, complaint: str) -> Reason:
        if self.head_done:
            return "bad_chunk" if self.framing == "chunked" else "bytes_after_end"
        if "Content-Length" in complaint or "Transfer-Encoding" in complaint:
            return "bad_length"
        return "bad_head"

    def _read_head(self, status: int) -> None:
        """Hand the head out, if its body can be told apart from what follows."""
        keep_alive = self._parser.should_keep_alive()
        try:
            if self._head_bytes > self._head_bytes_max:
                self._check_size()
            if not keep_alive and not self._parser.get_http_version().startswith("1."):
                raise FramingFault("bad_head", "an answer in another version than HTTP/1.x")
            framing, decoder, headers = judge(status, self._headers, head_only=self._head_only)
        except FramingFault as fault:
            self._fault = fault
            return
        self.framing = framing
        if self._head_only:
            self.ended = True
            self.reusable = keep_alive
        self._answer.begin(status, headers, framing, decoder)

    def _check_size(self) -> None:
        # The count of bytes may include body bytes of the same arrival; the headers alone decide.
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > self._head_bytes_max:
            raise self._oversized()

    def _oversized(self) -> FramingFault:
        said = f"{self._label} sent more than {self._head_bytes_max} bytes of head"
        return FramingFault("oversized_head", said)

    def _count_stray(self, received: int) -> FramingFault | None:
        """Bound what comes without bringing body bytes: trailers and chunk extensions."""
        if self._progress:
            self._stray_bytes = 0
            return None
        self._stray_bytes += received
        if self._stray_bytes <= self._head_bytes_max:
            return None
        return FramingFault("oversized_trailers", f"{self._label} sends framing without a body")
