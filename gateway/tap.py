"""Sans-IO reader of a streamed answer: bytes in, bytes out, and what was learned on the way.

It passes the bytes on untouched, except for the one usage event that the gateway itself asked for and the
client did not: `choices` empty and `usage` an object. Chunks are not parsed unless a byte search says that
something to be known may be inside (usage, an error, a cut for length, the end). What passed is kept aside,
compressed, and read only if its text is needed: when a stream ends without usage, or when JSON was asked for.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import orjson

from gateway import sse
from gateway.dialects import openai_chat
from metering.usage import Usage

PACK_BYTES = 16 * 1024
"""Raw bytes kept before they are compressed; chunks repeat themselves, so about a tenth of it remains."""
PACKED_BYTES_MAX = 1024 * 1024
"""What is kept of one stream at most; some ten megabytes of it, longer than any model's answer."""
EVENT_BYTES_MAX = 1024 * 1024
"""An event longer than this is passed on without being understood."""
CHUNK_BYTES = 250
"""About what one token takes in a stream of the OpenAI format; for rough estimates only."""

LOOKS_MAX = 8
"""Chunks that are read from the beginning of a stream until one names the model."""

_MARKS = (b"[DONE]", b'"error"', b'"length"')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class StreamTap:
    """Reads along one streamed chat answer.

    `done`: the terminal event was seen (`[DONE]`); a socket that closed proves nothing. `error`: the error
    object of an error event inside the stream. `usage`: as last reported. `model` and `service_tier`: as
    the answer says. `finish_reasons`: those that were looked for (`length` always is). `suspect`: an event
    was too long to read, or the answer too long to keep.
    """

    __slots__ = (
        "_kept",
        "_kept_bytes",
        "_looked",
        "_packed",
        "_packed_bytes",
        "_passed_bytes",
        "_strip",
        "_tail",
        "done",
        "error",
        "finish_reasons",
        "model",
        "service_tier",
        "suspect",
        "usage",
    )

    def __init__(self, *, strip_usage: bool) -> None:
        self._strip = strip_usage
        self._looked = 0
        self._tail = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._packed: list[bytes] = []
        self._packed_bytes = 0
        self._passed_bytes = 0
        self.done = False
        self.error: dict[str, Any] | None = None
        self.finish_reasons: set[str] = set()
        self.model: str | None = None
        self.service_tier: str | None = None
        self.suspect = False
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """The bytes of `data` (and of what was held back) that may go to the client now.

        An event that has not ended yet is held back until it has, at most EVENT_BYTES_MAX of it.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        cut = sse.last_boundary(data)
        if cut != len(data):
            if len(data) - cut > EVENT_BYTES_MAX:
                self.suspect = True
                return data
            self._tail = data[cut:]
            if not cut:
                return b""
            data = data[:cut]
        return self._read(data)

    def end(self) -> bytes:
        """The rest at the end of the stream: an event whose closing empty line never came."""
        rest, self._tail = self._tail, b""
        return self._read(rest) if rest else b""

    def text(self) -> str:
        """The text the answer carried, as far as it was kept. Parses every chunk: not for the event loop."""
        raw = b"".join([*map(zlib.decompress, self._packed), *self._kept])
        chunks = (_object(data) for event in sse.events(raw) if (data := sse.event_data(event)))
        return "".join(openai_chat.delta_text(chunk) for chunk in chunks if chunk is not None)

    def likely_tokens(self) -> int:
        """Tokens passed so far, roughly."""
        return self._passed_bytes // CHUNK_BYTES

    def _read(self, block: bytes) -> bytes:
        if self._looked < LOOKS_MAX:
            self._look(block)
        first = _first_mark(block)
        if first is not None:
            block = self._inspect(block, first)
        self._passed_bytes += len(block)
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > PACK_BYTES:
            self._pack()
        return block

    def _pack(self) -> None:
        kept, self._kept, self._kept_bytes = b"".join(self._kept), [], 0
        if self._packed_bytes > PACKED_BYTES_MAX:
            self.suspect = True
            return
        packed = zlib.compress(kept, 1)
        self._packed.append(packed)
        self._packed_bytes += len(packed)

    def _look(self, block: bytes) -> None:
        """Read the first events of a stream until one names the model."""
        for event in sse.events(block):
            data = sse.event_data(event)
            chunk = _object(data) if data else None
            if chunk is not None:
                self._looked += 1
                self._note(chunk)
            if self._looked >= LOOKS_MAX:
                return

    def _inspect(self, block: bytes, first: int) -> bytes:
        """Read each event that may matter; leave out the usage event that only we asked for.

        A read may bring a hundred events of which the last two matter: those that end before `first`, the
        first mark of something to be known, pass as they are.
        """
        before = -1 if b"\r" in block else block.rfind(b"\n\n", 0, first)
        start = before + 2 if before >= 0 else 0
        passed: list[bytes] = [block[:start]]
        for event in sse.events(block[start:]):
            data = sse.event_data(event)
            if data is None:
                passed.append(event)
                continue
            if data.strip() == b"[DONE]":
                self.done = True
            elif (chunk := _object(data)) is not None and self._learn(chunk):
                continue
            passed.append(event)
        return b"".join(passed)

    def _learn(self, chunk: dict[str, Any]) -> bool:
        """Take usage and errors from one chunk; True when the client must not see it."""
        error = chunk.get("error")
        if isinstance(error, dict):
            self.error = error
        elif isinstance(error, str) and error:
            self.error = {"message": error}
        self._note(chunk)
        reported = openai_chat.usage_object(chunk)
        if reported is None:
            return False
        usage = openai_chat.read_usage(reported)
        if usage is not None:
            self.usage = usage
        return self._strip and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

    def _note(self, chunk: dict[str, Any]) -> None:
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self.model = model
            self._looked = LOOKS_MAX
        tier = chunk.get("service_tier")
        if isinstance(tier, str):
            self.service_tier = tier
        self.finish_reasons.update(openai_chat.finish_reasons(chunk))


def _first_mark(block: bytes) -> int | None:
    """Where the first thing begins that must be known, or None. Searching is cheap, parsing is not."""
    usage = _USAGE.search(block)
    if usage is None and b"[DONE]" not in block and b'"error"' not in block and b'"length"' not in block:
        return None
    found = [at for mark in _MARKS if (at := block.find(mark)) >= 0]
    if usage is not None:
        found.append(usage.start())
    return min(found)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return chunk if isinstance(chunk, dict) else None
