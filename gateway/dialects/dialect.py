"""Dialect: how one wire format looks from outside: its errors, its streams, and what its answers tell. Pure.

The class below is the common part; each dialect is a subclass with one instance, which its surfaces share.
What an answer's usage means is no part of it: `metering.usage` has a reader for each shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

import orjson

from gateway.dialects import sse
from gateway.dialects.exchange import RawHeaders
from gateway.errors import GatewayError
from metering.usage.reading import Reading

LENGTH = "length"
"""The reason of an answer that reached its output maximum, by whatever name a dialect calls it."""
TOOL_CALLS = "tool_calls"
"""The reason of an answer that waits for tools of the client, by whatever name a dialect calls it."""

CANCELLED = "cancelled"
"""The reason of an answer that its caller ended."""


class Dialect:
    """One wire format.

    Streams: `last_boundary` finds where the last whole event of some bytes ends, `events` divides them,
    `event_data` gives what an event carries; `in_lines` where empty lines divide them. Events longer than
    `event_bytes_max` pass without being understood. `takes_comments`: its SDKs pass over comments between
    events. `usage_mark` stands in every event that may tell usage; None where no search would find it.
    `last_usage`: what stands in the many events that repeat cumulative figures, of which only the last one is
    read. `interim_usage`: figures before the end are not the final ones; `final_with_reason`: those beside
    the reason to stop are, and no others. `error_mark` stands in every event that tells an error.

    Heads: `passes` are the headers of a client's request that go to the provider; `id_header` is where this
    dialect's SDKs look for the request's id; `stream_type` what a streamed answer's content-type is.
    """

    name: ClassVar[str]
    usage_mark: ClassVar[re.Pattern[bytes] | None]
    last_usage: ClassVar[bytes | None] = None
    interim_usage: ClassVar[bool] = False
    final_with_reason: ClassVar[bool] = False
    error_mark: ClassVar[bytes] = b'"error"'
    passes: ClassVar[frozenset[bytes]] = frozenset()
    id_header: ClassVar[bytes | None] = None
    stream_type: ClassVar[bytes] = b"text/event-stream"
    in_lines: ClassVar[bool] = True
    takes_comments: ClassVar[bool] = True
    event_bytes_max: ClassVar[int] = 1024 * 1024
    last_boundary = staticmethod(sse.last_boundary)
    events = staticmethod(sse.events)
    event_data = staticmethod(sse.event_data)

    def passed(self, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """The headers that go to the provider, of all that a client sent."""
        return [each for each in headers if each[0] in self.passes]

    # What answers tell. `document` is a whole answer, or what one event of a stream carries.

    def document(self, data: bytes) -> dict[str, Any] | None:
        """The JSON object that an event carries; None where it carries none."""
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, dict) else None

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """Whether this event says that the stream is complete: a socket that closed proves nothing."""
        raise NotImplementedError

    def text(self, document: dict[str, Any]) -> str:
        """All text that the model produced, thoughts and arguments of tools too: what a tokenizer counts."""
        raise NotImplementedError

    def answer_text(self, document: dict[str, Any]) -> str:
        """The text that is the answer itself, where JSON was asked for."""
        return self.text(document)

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why it stopped, as far as it says: `LENGTH` where that was its output maximum."""
        raise NotImplementedError

    def error(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """The error object that it carries, if any."""
        error = document.get("error")
        if isinstance(error, dict):
            return error
        return {"message": error} if isinstance(error, str) and error else None

    def failed(self, document: dict[str, Any]) -> bool:
        """Whether a whole answer is an error, though its status says success."""
        return self.error(document) is not None

    def only_usage(self, document: dict[str, Any]) -> bool:
        """Whether an event is there for its usage alone, so that who did not ask for it need not see it."""
        return False

    def read_headers(self, headers: RawHeaders, before: Reading) -> Reading:
        """What a whole answer's headers tell of its usage, where its body told nothing."""
        return before

    def answer_id(self, document: dict[str, Any]) -> str | None:
        """The name under which the provider keeps the answer; None where it keeps none."""
        return None

    def running(self, document: dict[str, Any]) -> bool:
        """Whether the provider goes on with it after this whole answer."""
        return False

    # What the gateway itself says.

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """The body that tells an error; `message` is the error's, fit to be shown."""
        raise NotImplementedError

    def error_headers(self, error: GatewayError) -> RawHeaders:
        """Headers that its SDKs read beside those that every refusal has."""
        return []

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """An error as the last event of a running stream; SDKs raise on it."""
        raise NotImplementedError
