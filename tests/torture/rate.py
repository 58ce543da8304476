"""Quick requests at a steady rate, whatever becomes of them: who waits for an answer holds nobody up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

from tests.acceptance.client import Broken
from tests.acceptance.installation import Installation, Key
from tests.acceptance.load import document

from .client import Asked, BookedClient

TOKENS = 3


@dataclass
class Rate:
    """`per_s` requests for whole answers each second, on connections that are kept while they are whole."""

    one: Installation
    key: Key
    per_s: int
    pace_ms: float = 0.0
    book: list[Asked] = field(default_factory=list)
    clients: list[BookedClient] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _asking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Ask from now on."""
        self._asking = asyncio.create_task(self._ask_on())

    async def rest(self) -> None:
        """Ask no more, and wait for what is under way."""
        assert self._asking is not None
        self._asking.cancel()
        await asyncio.wait({self._asking})
        await asyncio.gather(*self._running)
        for client in self.clients:
            client.close()

    def since(self, moment_s: float, until_s: float | None = None) -> list[Asked]:
        """What was asked in that span, and answered by now."""
        return [
            asked
            for asked in self.book
            if asked.took_s and moment_s <= asked.asked_s < (monotonic() if until_s is None else until_s)
        ]

    async def _ask_on(self) -> None:
        began, number = monotonic(), 0
        while True:
            number += 1
            await asyncio.sleep(began + number / self.per_s - monotonic())
            client = self.clients.pop() if self.clients else self._client()
            task = asyncio.create_task(self._ask(client))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _client(self) -> BookedClient:
        return BookedClient(self.one.port, self.key.secret, self.book)

    async def _ask(self, client: BookedClient) -> None:
        with contextlib.suppress(Broken):
            await client.ask(document(TOKENS, self.pace_ms, stream=False))
        self.clients.append(client)


def first_success_s(book: Iterable[Asked], moment_s: float) -> float | None:
    """Seconds from that moment to the first success of a request asked after it; None without one."""
    later = [asked for asked in book if asked.asked_s >= moment_s and asked.status == 200 and asked.took_s]
    return min((asked.asked_s + asked.took_s - moment_s for asked in later), default=None)


def share_s(book: Iterable[Asked], share: float) -> float:
    """The time within which so large a share of these was answered; 0 without any."""
    times = sorted(asked.took_s for asked in book)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0
