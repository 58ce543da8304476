"""Sans-IO reader of a streamed answer: bytes in, bytes out, and what was learned on the way.

It passes the bytes on untouched, except for the one usage event that the gateway itself asked for and the
client did not: `choices` empty and `usage` an object. Chunks are not parsed unless a byte search says that
usage, an error or the end may be inside; the text of the answer is kept aside in folded form, so that a
stream that ends without usage can still be counted.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway import sse
from gateway.dialects import openai_chat
from metering.usage import Usage

FOLD_BYTES = 16 * 1024
"""Raw bytes kept before their text is drawn out: bounds memory at about this much per open stream."""
EVENT_BYTES_MAX = 1024 * 1024
"""An event longer than this is passed on without being understood."""
TEXT_CHARS_MAX = 4 * 1024 * 1024

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class StreamTap:
    """Reads along one streamed chat answer.

    `done`: the terminal event was seen (`[DONE]`); a socket that closed proves nothing. `error`: the error
    object of an error event inside the stream. `usage`: as last reported. `model` and `service_tier`: as
    the answer says. `suspect`: an event was too long to read.
    """

    __slots__ = (
        "_kept",
        "_kept_bytes",
        "_strip",
        "_tail",
        "_text",
        "_text_chars",
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
        self._tail = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text: list[str] = []
        self._text_chars = 0
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
        """The text the answer carried, as far as it was kept."""
        self._fold()
        return "".join(self._text)

    def likely_tokens(self) -> int:
        """Tokens passed so far, roughly: about four characters each, and one for each chunk not yet folded.

        OpenAI-format chunks carry one token in some 250 bytes.
        """
        return self._text_chars // 4 + self._kept_bytes // 250

    def close(self) -> None:
        """Read what the kept bytes still say (model, finish reasons) once the stream has ended."""
        self._fold()

    def _read(self, block: bytes) -> bytes:
        if _USAGE.search(block) or b"[DONE]" in block or b'"error"' in block:
            block = self._inspect(block)
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > FOLD_BYTES:
            self._fold()
        return block

    def _inspect(self, block: bytes) -> bytes:
        """Read each event that may matter; leave out the usage event that only we asked for."""
        passed: list[bytes] = []
        for event in sse.events(block):
            data = sse.event_data(event)
            if data is None:
                passed.append(event)
                continue
            if data.strip() == b"[DONE]":
                self.done = True
            elif _USAGE.search(data) or b'"error"' in data:
                chunk = _object(data)
                if chunk is not None and self._learn(chunk):
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
        reported = openai_chat.usage_object(chunk)
        if reported is None:
            return False
        usage = openai_chat.read_usage(reported)
        if usage is not None:
            self.usage = usage
        self._note(chunk)
        return self._strip and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

    def _note(self, chunk: dict[str, Any]) -> None:
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self.model = model
        tier = chunk.get("service_tier")
        if isinstance(tier, str):
            self.service_tier = tier

    def _fold(self) -> None:
        """Draw the text out of the kept bytes and let the bytes go."""
        kept, self._kept, self._kept_bytes = b"".join(self._kept), [], 0
        for event in sse.events(kept):
            data = sse.event_data(event)
            chunk = _object(data) if data else None
            if chunk is None:
                continue
            self._note(chunk)
            self.finish_reasons.update(openai_chat.finish_reasons(chunk))
            if self._text_chars < TEXT_CHARS_MAX:
                text = openai_chat.delta_text(chunk)
                self._text.append(text)
                self._text_chars += len(text)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return chunk if isinstance(chunk, dict) else None
