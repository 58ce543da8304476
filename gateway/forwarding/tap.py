"""Sans-IO reader of a streamed answer: bytes in, bytes out, and what was learned on the way.

It passes the bytes on untouched, except for the one usage event that the gateway itself asked for and the
client did not (`Dialect.only_usage`). Events are not parsed unless a byte search says that usage may be
inside. What passed is kept aside, compressed where it is long: how the stream ended is read from its last
events once it has, and its text only if it is needed (no usage came, or JSON was asked for).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from gateway.dialects.surface import Surface
from metering.usage.reading import NOTHING, Reading

PACK_BYTES = 128 * 1024
"""Raw bytes kept before they are compressed; chunks repeat themselves, so about a tenth of it remains. Most
answers are shorter and never are."""
TAIL_BLOCKS = 8
TAIL_BYTES = 4 * 1024
"""What is read of a stream's end: a cut for length, the terminal event and what stands around it."""
PACKED_BYTES_MAX = 1024 * 1024
"""What is kept of one stream at most; some ten megabytes of it, longer than any model's answer."""
KEPT_EVENT_BYTES_MAX = 1024 * 1024
"""Longer blocks, pictures say, are not kept for their text."""
CHUNK_BYTES = 250
"""About what one token takes in a stream of the OpenAI format; for rough estimates only."""

LOOKS_MAX = 8
"""Chunks that are read from the beginning of a stream until one names the model."""


class StreamTap:
    """Reads along one streamed answer of a surface.

    While it runs, `reading` is what was reported so far, and `error` that of its first event, if that is
    one. After `conclude`, `done` says that the terminal event was seen (a socket that closed proves nothing),
    `error` is the error object of an error event inside the stream, and `reasons` tells why the answer ended,
    by its last events. `answer_id`: under which name the provider keeps the answer.
    """

    __slots__ = (
        "_boundary",
        "_dialect",
        "_find_usage",
        "_gone_bytes",
        "_kept",
        "_kept_bytes",
        "_last_usage",
        "_looked",
        "_marked",
        "_packed",
        "_packed_bytes",
        "_read_usage",
        "_strip",
        "_tail",
        "answer_id",
        "done",
        "error",
        "reading",
        "reasons",
        "text_chunks",
        "told_with_reason",
    )

    def __init__(self, surface: Surface, *, strip_usage: bool) -> None:
        self._dialect = dialect = surface.dialect
        # Bound once: each of these is asked for every read.
        self._boundary = dialect.last_boundary
        self._find_usage = None if dialect.usage_mark is None else dialect.usage_mark.search
        self._last_usage = dialect.last_usage
        self._read_usage = surface.read
        self._strip = strip_usage
        self._looked = 0
        self._tail = b""
        self._marked = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._packed: list[bytes] = []
        self._packed_bytes = 0
        self._gone_bytes = 0  # that passed, and are not in `_kept` any more
        self.answer_id: str | None = None
        self.done = False
        self.error: dict[str, Any] | None = None
        self.reading: Reading = NOTHING
        self.reasons: set[str] = set()
        self.told_with_reason = False
        self.text_chunks = 0

    @property
    def looked(self) -> bool:
        """An event with data has been seen; until then there were only comments."""
        return self._looked > 0

    def feed(self, data: bytes) -> bytes:
        """The bytes of `data` (and of what was held back) that may go to the client now.

        An event that has not ended yet is held back until it has, up to the dialect's `event_bytes_max`.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        cut = self._boundary(data)
        if cut != len(data):
            if len(data) - cut > self._dialect.event_bytes_max:
                return data
            self._tail = data[cut:]
            if not cut:
                return b""
            data = data[:cut]
        return self._pass(data)

    def end(self) -> bytes:
        """The rest at the end of the stream: an event whose closing empty line never came."""
        rest, self._tail = self._tail, b""
        return self._pass(rest) if rest else b""

    def conclude(self) -> None:
        """Read how the stream ended, whole or not, from what has passed."""
        dialect = self._dialect
        if self._marked:
            self._read_last_usage()
        for event in dialect.events(self._last_events()):
            data = dialect.event_data(event)
            if data is None:
                continue
            document = dialect.document(data)
            self.done = self.done or dialect.ends(data, document)
            if document is not None:
                self._note(document)
                self._note_error(document)
        if not self.done and self.error is None:
            self._find_error()

    def text(self, of: Callable[[dict[str, Any]], str] | None = None) -> str:
        """What the model produced, as far as it was kept. Parses every event: not for the event loop.

        `of`: what to take of each event, by default all text. `text_chunks` then tells how many events
        carried some of it.
        """
        dialect = self._dialect
        take = of or dialect.text
        found = (
            dialect.document(data)
            for event in dialect.events(self._raw())
            if (data := dialect.event_data(event))
        )
        texts = [text for document in found if document is not None and (text := take(document))]
        self.text_chunks = len(texts)
        return "".join(texts)

    def likely_tokens(self) -> int:
        """Tokens passed so far, roughly."""
        return (self._gone_bytes + self._kept_bytes) // CHUNK_BYTES

    def _last_events(self) -> bytes:
        """The last events that passed, whole: at least TAIL_BYTES of them, or all that there were."""
        tail = b"".join(self._kept[-TAIL_BLOCKS:])
        return tail[self._boundary(tail[:-TAIL_BYTES]) :] if len(tail) > TAIL_BYTES else tail

    def _raw(self) -> bytes:
        return b"".join([*map(zlib.decompress, self._packed), *self._kept])

    def _pass(self, block: bytes) -> bytes:
        if self._looked < LOOKS_MAX:
            self._look(block)
        if self._find_usage is not None and (usage := self._find_usage(block)) is not None:
            block = self._inspect(block, usage)
        # From the end: usage stands behind what was said.
        if self._last_usage is not None and block.rfind(self._last_usage) >= 0:
            self._marked = block
        size = len(block)
        if size > KEPT_EVENT_BYTES_MAX:
            self._gone_bytes += size
            return block
        self._kept.append(block)
        self._kept_bytes = kept_bytes = self._kept_bytes + size
        if kept_bytes > PACK_BYTES:
            self._pack()
        return block

    def _pack(self) -> None:
        kept, self._kept = b"".join(self._kept[:-TAIL_BLOCKS]), self._kept[-TAIL_BLOCKS:]
        self._kept_bytes = sum(map(len, self._kept))
        self._gone_bytes += len(kept)
        if not kept:
            return
        if self._packed_bytes > PACKED_BYTES_MAX:
            return
        packed = zlib.compress(kept, 1)
        self._packed.append(packed)
        self._packed_bytes += len(packed)

    def _look(self, block: bytes) -> None:
        """Read the first events of a stream until one names the model."""
        for document in self._documents(block):
            self._looked += 1
            if self._looked == 1:
                self._note_error(document)
            self._note(document)
            if self._looked >= LOOKS_MAX:
                return

    def _inspect(self, block: bytes, first: re.Match[bytes]) -> bytes:
        """Read usage; leave out the usage event that only we asked for.

        A read may bring a hundred events of which one matters: where they are lines, those that end before
        `first`, where usage is mentioned first, pass as they are.
        """
        dialect = self._dialect
        before = -1 if b"\r" in block or not dialect.in_lines else block.rfind(b"\n\n", 0, first.start())
        start = before + 2 if before >= 0 else 0
        passed: list[bytes] = [block[:start]]
        for event in dialect.events(block[start:]):
            data = dialect.event_data(event)
            document = dialect.document(data) if data and first.re.search(data) else None
            if document is not None:
                self._note(document)
                # The last event may be too long to be among those that `conclude` reads.
                self.done = self.done or dialect.ends(data or b"", document)
                if self._strip and dialect.only_usage(document):
                    continue
            passed.append(event)
        return b"".join(passed)

    def _note(self, document: dict[str, Any]) -> None:
        before = self.reading
        self.reading = reading = self._read_usage(document, before)
        if reading.model is not None:
            self._looked = LOOKS_MAX
        if reasons := self._dialect.reasons(document):
            self.reasons.update(reasons)
            self.told_with_reason = self.told_with_reason or reading is not before
        if self.answer_id is None:
            self.answer_id = self._dialect.answer_id(document)

    def _note_error(self, document: dict[str, Any]) -> None:
        error = self._dialect.error(document)
        if error is not None:
            self.error = error

    def _read_last_usage(self) -> None:
        """The last of many events that repeat cumulative figures."""
        dialect, mark = self._dialect, self._last_usage or b""
        for event in reversed(list(dialect.events(self._marked))):
            data = dialect.event_data(event)
            if data and mark in data and (document := dialect.document(data)) is not None:
                self._note(document)
                self.done = dialect.ends(b"", document)
                return

    def _find_error(self) -> None:
        """An error event may stand anywhere in a stream that did not end as it should."""
        raw, mark = self._raw(), self._dialect.error_mark
        if mark in raw:
            for document in self._documents(raw, mark):
                self._note_error(document)

    def _documents(self, block: bytes, mark: bytes | None = None) -> Iterator[dict[str, Any]]:
        """What the events of some bytes carry; with a mark only of those in which it stands."""
        dialect = self._dialect
        for event in dialect.events(block):
            data = dialect.event_data(event)
            if not data or (mark is not None and mark not in data):
                continue
            document = dialect.document(data)
            if document is not None:
                yield document
