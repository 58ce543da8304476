"""Clients that keep a book of their own: what they asked, under a name they chose, and what came of it.

The name travels as `Observe-Task-Id` and is found again on the cost event, so that an event which nobody
asked for, or two for one request, are seen even where the client never learned the gateway's id.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.acceptance.client import Answer, Broken, Client
from tests.acceptance.installation import Installation, Key
from tests.acceptance.load import document

PATIENCE_S = 90.0
PAUSE_S = 0.05
_numbers = itertools.count(1)


@dataclass(slots=True)
class Asked:
    """One request as its client knows it. `answer` is None where the connection broke before a head came."""

    tag: str
    asked_s: float
    answer: Answer | None = None
    took_s: float = 0.0

    @property
    def status(self) -> int | None:
        """The answer's status."""
        return None if self.answer is None else self.answer.status


@dataclass(slots=True)
class BookedClient(Client):
    """Writes each request into `book` before it is sent."""

    book: list[Asked]

    async def ask(self, document: Mapping[str, Any]) -> Answer:
        """Send one chat request and read its answer to its end. Raises Broken; to hang is never right."""
        asked = Asked(f"asked-{next(_numbers)}", monotonic())
        self.book.append(asked)
        self.received = 0
        body = json.dumps(document).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.secret}",
            f"Observe-Task-Id: {asked.tag}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                reading, writing = await self._connection()
                writing.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                asked.answer = answer = await self._answer(reading)
        except TimeoutError:
            self.close()
            raise AssertionError(f"no whole answer within {PATIENCE_S} s") from None
        except OSError as error:
            self.close()
            raise Broken(str(error)) from None
        finally:
            asked.took_s = monotonic() - asked.asked_s
            self.received = 0
        if not answer.whole or answer.headers.get("connection") == "close":
            self.close()
        return answer

    @property
    def local_port(self) -> int | None:
        """The client's own port while it is connected."""
        if self._writing is None:
            return None
        name = self._writing.get_extra_info("sockname")
        return int(name[1]) if name else None


@dataclass
class Crowd:
    """So many clients at once, each streaming one answer after the other, on a new connection each time.

    `tokens` and `pace_ms` are drawn anew for each answer, so that ends fall on any moment. `hasty` clients
    more ask for whole answers, quickly, on connections that they keep.
    """

    one: Installation
    key: Key
    streams: int
    hasty: int = 0
    tokens: tuple[int, int] = (20, 120)
    pace_ms: tuple[float, float] = (5.0, 25.0)
    book: list[Asked] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    allowed: Sequence[int] = (503,)
    """Statuses that are no fault of this trial's; the request is asked again, as another one."""
    wanted: bool = False
    clients: list[BookedClient] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Everybody starts to ask."""
        self.wanted = True
        self.clients = [BookedClient(self.one.port, self.key.secret, self.book) for _ in range(self.streams)]
        self._tasks = [asyncio.create_task(self._stream(client)) for client in self.clients]
        self._tasks += [asyncio.create_task(self._hurry()) for _ in range(self.hasty)]

    async def rest(self) -> None:
        """Nobody asks again; returns when the last answer has ended."""
        self.wanted = False
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what a client has raised."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def ports(self) -> set[int]:
        """Ports of the clients whose streams have begun and not ended."""
        return {
            client.local_port for client in self.clients if client.received and client.local_port is not None
        }

    async def _stream(self, client: BookedClient) -> None:
        while self.wanted:
            asked = document(
                self.chance.randint(*self.tokens), self.chance.uniform(*self.pace_ms), stream=True
            )
            if not await self._ask(client, asked):
                await asyncio.sleep(PAUSE_S)
            client.close()

    async def _hurry(self) -> None:
        client = BookedClient(self.one.port, self.key.secret, self.book)
        while self.wanted:
            if not await self._ask(client, document(3, 2, stream=False)):
                await asyncio.sleep(PAUSE_S)
        client.close()

    async def _ask(self, client: BookedClient, asked: Mapping[str, Any]) -> bool:
        try:
            answer = await client.ask(asked)
        except Broken:
            return False
        if answer.status == 200:
            return True
        assert answer.status in self.allowed, answer.body
        return False
