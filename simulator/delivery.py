"""How an answer is handed over: whole, as a stream, or never. Each delivery ends its charge exactly once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from simulator.bill import Bill
from simulator.dialect import Asked, Paid, Stream, Whole
from simulator.directive import Directive
from simulator.outlet import DribblingOutlet, Outlet, ResettingOutlet
from simulator.wire import LAST_CHUNK, chunk, head

if TYPE_CHECKING:
    from simulator.connection import Connection

BURST = 16
"""Events sent in one write when nothing paces them; then other connections get their turn."""


class Delivery:
    """One answer on its way. `begin` is called once; `lost` when the connection went before the end."""

    streams = False

    def __init__(
        self,
        connection: Connection,
        asked: Asked,
        wish: Directive,
        bill: Bill,
        *,
        first_s: float,
        pace_s: float,
        bill_full: bool,
    ) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._asked = asked
        self._request = asked.request
        self._charge = asked.charge
        self._wish = wish
        self._bill = bill
        self._first_s = first_s
        self._pace_s = pace_s
        self._bill_full = bill_full
        self._status: int | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._outlet = _outlet(connection, wish)

    def begin(self) -> None:
        """Start to answer."""
        raise NotImplementedError

    def resume(self) -> None:
        """The reader can take more."""

    def lost(self) -> None:
        """The connection is gone: charge for what was generated until now."""
        if self._timer is not None:
            self._timer.cancel()
        self._outlet.stop()
        self._end(complete=False)

    def _end(self, *, complete: bool) -> None:
        self._bill.close(self._charge, status=self._status, complete=complete)

    def _headers(self) -> bytes:
        processing_ms = int((self._loop.time() - self._request.arrived) * 1000)
        return self._asked.dialect.headers(self._asked.request_id, processing_ms)

    def _keep_alive(self) -> bool:
        return self._request.keep_alive and self._wish.wrong_length is None

    def _finished(self) -> None:
        """Everything has left: the charge ends and the connection takes its next request."""
        self._end(complete=self._wish.wrong_length is None)
        if self._wish.stale_next:
            self._connection.stale = True
        self._connection.answered(keep=self._keep_alive() and not self._wish.close_idle)


def _outlet(connection: Connection, wish: Directive) -> Outlet:
    if wish.reset_after_bytes is not None:
        return ResettingOutlet(connection, wish.reset_after_bytes)
    if wish.dribble is not None:
        return DribblingOutlet(connection, wish.dribble / 1000)
    return Outlet(connection)


class WholeDelivery(Delivery):
    """A complete document, after the time it takes to make it."""

    def __init__(
        self,
        connection: Connection,
        asked: Asked,
        wish: Directive,
        bill: Bill,
        said: Whole,
        *,
        first_s: float = 0.0,
        pace_s: float = 0.0,
        bill_full: bool = False,
    ) -> None:
        super().__init__(connection, asked, wish, bill, first_s=first_s, pace_s=pace_s, bill_full=bill_full)
        self._reply = said.reply
        self._answer = said.paid
        self._sent = False

    def begin(self) -> None:
        if self._wish.hang == "before_headers":
            return
        tokens = self._answer.completion_tokens if self._answer else 0
        delay = self._first_s + tokens * self._pace_s
        if delay > 0:
            self._timer = self._loop.call_later(delay, self._send)
        else:
            self._send()

    def lost(self) -> None:
        if self._answer is not None and self._bill_full:
            self._charge_for(self._answer, self._answer.completion_tokens)
        elif self._answer is not None and not self._sent and self._wish.hang is None and self._pace_s:
            elapsed = self._loop.time() - self._request.arrived - self._first_s
            self._charge_for(self._answer, max(0, int(elapsed / self._pace_s)))
        super().lost()

    def _charge_for(self, answer: Paid, made: int) -> None:
        made = min(made, answer.completion_tokens)
        self._charge.completion_tokens = made
        self._charge.reasoning = min(made, answer.reasoning)

    def _send(self) -> None:
        self._sent = True
        if self._answer is not None and self._wish.hang is None:
            self._charge_for(self._answer, self._answer.completion_tokens)
        reply, wish = self._reply, self._wish
        body = reply.body
        if wish.malformed == "json" and reply.status == 200:
            body = body[: len(body) // 2]
        self._status = reply.status
        chunked = wish.chunk_split is not None and self._request.chunks
        opening = head(
            reply.status,
            usual=self._headers(),
            content_type=reply.content_type,
            length=max(0, len(body) + (wish.wrong_length or 0)),
            keep_alive=self._keep_alive(),
            chunked=chunked,
            extra=reply.headers,
        )
        if self._request.method == "HEAD" or wish.hang == "after_headers":
            body = b""
        elif chunked:
            body = chunk(body, wish.chunk_split) + LAST_CHUNK
        self._outlet.write(opening + body)
        if wish.hang != "after_headers":
            self._outlet.finish(self._finished)


class StreamDelivery(Delivery):
    """Server-sent events at the pace of the model. What is charged is what was handed to the socket."""

    streams = True

    def __init__(
        self,
        connection: Connection,
        asked: Asked,
        wish: Directive,
        bill: Bill,
        said: Stream,
        *,
        first_s: float,
        pace_s: float,
        bill_full: bool,
    ) -> None:
        super().__init__(connection, asked, wish, bill, first_s=first_s, pace_s=pace_s, bill_full=bill_full)
        self._answer: Paid = said.paid
        self._events = said.events
        self._content_type = said.content_type
        self._opening = said.opening
        self._chunked = self._request.chunks and wish.wrong_length is None
        self._thinking_since: float | None = None
        self._due = 0.0
        self._content = 0
        self._over = False
        self._waits = False

    def begin(self) -> None:
        if self._wish.hang == "before_headers":
            return
        if self._first_s > 0:
            self._timer = self._loop.call_later(self._first_s, self._open)
        else:
            self._open()

    def resume(self) -> None:
        if self._waits:
            self._waits = False
            self._speak()

    def lost(self) -> None:
        if self._bill_full:
            self._charge.completion_tokens = self._answer.completion_tokens
        elif self._thinking_since is not None:
            thought = int((self._loop.time() - self._thinking_since) / self._pace_s)
            self._charge.completion_tokens = min(self._answer.hidden, thought)
        super().lost()

    def _end(self, *, complete: bool) -> None:
        self._charge.reasoning = min(self._charge.completion_tokens, self._answer.reasoning)
        super()._end(complete=complete)

    def _keep_alive(self) -> bool:
        return self._chunked and super()._keep_alive()

    def _open(self) -> None:
        """Send the headers, then think for as long as the hidden tokens take."""
        self._status = 200
        wrong = self._wish.wrong_length
        opening = head(
            200,
            usual=self._headers(),
            content_type=self._content_type,
            length=None if wrong is None else max(0, 1_000_000 + wrong),
            keep_alive=self._keep_alive(),
            chunked=self._chunked,
            extra=(("cache-control", "no-cache"),),
        )
        self._outlet.write(opening)
        if self._wish.hang == "after_headers":
            return
        if self._opening:
            split = self._wish.chunk_split
            self._outlet.write(chunk(self._opening, split) if self._chunked else self._opening)
        think_s = self._answer.hidden * self._pace_s
        if think_s > 0:
            self._thinking_since = self._loop.time()
            self._timer = self._loop.call_later(think_s, self._thought)
        else:
            self._thought()

    def _thought(self) -> None:
        self._thinking_since = None
        self._charge.completion_tokens = self._answer.hidden
        self._due = self._loop.time()
        self._speak()

    def _speak(self) -> None:
        """Send every event whose time has come, then wait for the next."""
        if self._over:
            return
        if self._outlet.blocked:
            self._waits = True
            return
        batch: list[bytes] = []
        for payload, size in self._events:
            batch.append(chunk(payload, self._wish.chunk_split) if self._chunked else payload)
            if not self._outlet.plain:
                left = self._outlet.write(batch.pop())
                if not left:
                    return
            if size:
                self._charge.completion_tokens += size
                self._content += 1
                self._due += size * self._pace_s
                if self._content == self._wish.close_after_chunks:
                    self._flush(batch)
                    self._cut()
                    return
                if self._pace_s and self._due > self._loop.time():
                    self._flush(batch)
                    self._timer = self._loop.call_at(self._due, self._speak)
                    return
            if len(batch) >= BURST or self._outlet.blocked:
                self._flush(batch)
                self._waits = self._outlet.blocked
                if not self._waits:
                    self._timer = self._loop.call_soon(self._speak)
                return
        if self._chunked:
            batch.append(LAST_CHUNK)
        self._flush(batch)
        self._over = True
        self._outlet.finish(self._finished)

    def _flush(self, batch: list[bytes]) -> None:
        if batch:
            self._outlet.write(b"".join(batch))

    def _cut(self) -> None:
        """Close without a word: the stream ends in the middle."""
        self._over = True
        self._end(complete=False)
        self._connection.answered(keep=False)
