"""A client that shares no code with the gateway: HTTP/1.1 on a plain socket, one connection for each client.

It is cheap enough that five hundred of them on one event loop do not become what is measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 90.0
READ_BYTES = 65_536
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `whole`: its body ended as HTTP says it must; `done`: so did what a stream says."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def request_id(self) -> str:
        """The gateway's id of the request, which is its event's."""
        return self.headers["x-request-id"]

    @property
    def done(self) -> bool:
        """The stream's own end mark came, and the body ended after it."""
        return self.whole and b"data: [DONE]" in self.body

    @property
    def code(self) -> str | None:
        """The error code of a refusal."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return None
        return str(error["code"])


class Broken(Exception):
    """The connection ended, or could not be made, before an answer's head had come."""


@dataclass(slots=True)
class Client:
    """Asks one gateway with one key, one request at a time; keeps its connection between requests."""

    port: int
    secret: str
    _reading: asyncio.StreamReader | None = field(default=None, init=False)
    _writing: asyncio.StreamWriter | None = field(default=None, init=False)
    received: int = field(default=0, init=False)
    """Bytes of the present answer's body so far."""

    async def ask(self, document: Mapping[str, Any]) -> Answer:
        """Send one chat request and read its answer to its end. Raises Broken; to hang is never right."""
        self.received = 0
        body = json.dumps(document).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.secret}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                reading, writing = await self._connection()
                writing.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                answer = await self._answer(reading)
        except TimeoutError:
            self.close()
            raise AssertionError(f"no whole answer within {PATIENCE_S} s") from None
        except OSError as error:
            self.close()
            raise Broken(str(error)) from None
        if not answer.whole or answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Drop the connection."""
        if self._writing is not None:
            self._writing.close()
        self._reading = self._writing = None

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reading is None or self._writing is None or self._reading.at_eof():
            self.close()
            self._reading, self._writing = await asyncio.open_connection("127.0.0.1", self.port)
        return self._reading, self._writing

    async def _answer(self, reading: asyncio.StreamReader) -> Answer:
        try:
            head = await reading.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("closed before an answer") from None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split(" ")[1])
        parts: list[bytes] = []
        length = int(headers["content-length"]) if "content-length" in headers else None

        def ended() -> bool:
            if length is not None:
                return self.received >= length
            # Chunks are not taken apart: only the last one is empty, and no event holds CR LF.
            return b"".join(parts[-2:]).endswith(LAST_CHUNK)

        while not ended():
            try:
                part = await reading.read(READ_BYTES)
            except OSError:
                part = b""
            if not part:
                return Answer(status, headers, b"".join(parts), whole=False)
            parts.append(part)
            self.received += len(part)
        return Answer(status, headers, b"".join(parts), whole=True)
