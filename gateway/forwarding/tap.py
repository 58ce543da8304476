"""Sans-IO reader of a streamed answer: bytes in, bytes out, and what was learned on the way.

It passes the bytes on untouched, except for the one usage event that the gateway itself asked for and the
client did not: `choices` empty and `usage` an object. Chunks are not parsed unless a byte search says that
usage may be inside. What passed is kept aside, compressed where it is long: how the stream ended is read from
its last bytes once it has, and its text only if it is needed (no usage came, or JSON was asked for).
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import orjson

from gateway.dialects import openai_chat
from gateway.forwarding import sse
from metering.usage import Usage

PACK_BYTES = 64 * 1024
"""Raw bytes kept before they are compressed; chunks repeat themselves, so about a tenth of it remains. Most
answers are shorter and never are."""
TAIL_BLOCKS = 8
TAIL_BYTES = 4 * 1024
"""What is read of a stream's end: a cut for length, the terminal event and what stands around it."""
PACKED_BYTES_MAX = 1024 * 1024
"""What is kept of one stream at most; some ten megabytes of it, longer than any model's answer."""
EVENT_BYTES_MAX = 1024 * 1024
"""An event longer than this is passed on without being understood."""
CHUNK_BYTES = 250
"""About what one token takes in a stream of the OpenAI format; for rough estimates only."""

LOOKS_MAX = 8
"""Chunks that are read from the beginning of a stream until one names the model."""

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class StreamTap:
    """Reads along one streamed chat answer.

    While it runs, `usage` and `reported_nano` (what the provider says it cost) are as last reported, `model`
    and `service_tier` as the answer says, and `error` that of its first event, if that is one. After
    `conclude`, `done` says that the terminal event was seen (`[DONE]`; a socket that closed proves nothing),
    `error` is the error object of an error event inside the stream, and `finish_reasons` those of its last
    chunks.
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
        "reported_nano",
        "service_tier",
        "text_chunks",
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
        self.reported_nano: int | None = None
        self.service_tier: str | None = None
        self.text_chunks = 0
        self.usage: Usage | None = None

    @property
    def looked(self) -> bool:
        """An event with data has been seen; until then there were only comments."""
        return self._looked > 0

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

    def conclude(self) -> None:
        """Read how the stream ended, whole or not, from what has passed."""
        tail = b"".join(self._kept[-TAIL_BLOCKS:])[-TAIL_BYTES:]
        for event in sse.events(tail):
            data = sse.event_data(event)
            if data is None:
                continue
            if data.strip() == b"[DONE]":
                self.done = True
            elif (chunk := _object(data)) is not None:
                self._note(chunk)
                self._note_error(chunk)
        if not self.done and self.error is None:
            self._find_error()

    def text(self) -> str:
        """The text the answer carried, as far as it was kept. Parses every chunk: not for the event loop.

        `text_chunks` then tells how many chunks carried some of it.
        """
        raw = self._raw()
        chunks = (_object(data) for event in sse.events(raw) if (data := sse.event_data(event)))
        texts = [text for chunk in chunks if chunk is not None and (text := openai_chat.delta_text(chunk))]
        self.text_chunks = len(texts)
        return "".join(texts)

    def likely_tokens(self) -> int:
        """Tokens passed so far, roughly."""
        return self._passed_bytes // CHUNK_BYTES

    def _raw(self) -> bytes:
        return b"".join([*map(zlib.decompress, self._packed), *self._kept])

    def _read(self, block: bytes) -> bytes:
        if self._looked < LOOKS_MAX:
            self._look(block)
        usage = _USAGE.search(block)
        if usage is not None:
            block = self._inspect(block, usage.start())
        self._passed_bytes += len(block)
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > PACK_BYTES:
            self._pack()
        return block

    def _pack(self) -> None:
        kept, self._kept = b"".join(self._kept[:-TAIL_BLOCKS]), self._kept[-TAIL_BLOCKS:]
        self._kept_bytes = sum(map(len, self._kept))
        if not kept:
            return
        if self._packed_bytes > PACKED_BYTES_MAX:
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
                if self._looked == 1:
                    self._note_error(chunk)
                self._note(chunk)
            if self._looked >= LOOKS_MAX:
                return

    def _inspect(self, block: bytes, first: int) -> bytes:
        """Read usage; leave out the usage event that only we asked for.

        A read may bring a hundred events of which one matters: those that end before `first`, where usage
        is mentioned first, pass as they are.
        """
        before = -1 if b"\r" in block else block.rfind(b"\n\n", 0, first)
        start = before + 2 if before >= 0 else 0
        passed: list[bytes] = [block[:start]]
        for event in sse.events(block[start:]):
            data = sse.event_data(event)
            chunk = _object(data) if data is not None and b'"usage"' in data else None
            if chunk is None or not self._learn(chunk):
                passed.append(event)
        return b"".join(passed)

    def _learn(self, chunk: dict[str, Any]) -> bool:
        """Take usage from one chunk; True when the client must not see it."""
        self._note(chunk)
        reported = openai_chat.usage_object(chunk)
        if reported is None:
            return False
        usage = openai_chat.read_usage(reported)
        if usage is not None:
            self.usage = usage
            self.reported_nano = openai_chat.reported_cost(reported)
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

    def _note_error(self, chunk: dict[str, Any]) -> None:
        error = chunk.get("error")
        if isinstance(error, dict):
            self.error = error
        elif isinstance(error, str) and error:
            self.error = {"message": error}

    def _find_error(self) -> None:
        """An error event may stand anywhere in a stream that did not end as it should."""
        raw = self._raw()
        if b'"error"' not in raw:
            return
        for event in sse.events(raw):
            data = sse.event_data(event) if b'"error"' in event else None
            if data is not None and (chunk := _object(data)) is not None:
                self._note_error(chunk)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return chunk if isinstance(chunk, dict) else None
