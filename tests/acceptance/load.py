"""Slow streams, and clients in a hurry beside them: what runs while processes are killed or paused."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Any

from .client import Answer, Broken, Client
from .installation import Installation, Key, connections, until

PROMPT = "Tell us about the river and the mill by the old stone bridge, please."
STREAMS, STREAM_TOKENS, STREAM_PACE_MS = 30, 100, 25
HASTY = 8
LIMIT_NANO = 10**9


def document(tokens: int, pace_ms: float, *, stream: bool) -> dict[str, Any]:
    """A request for an answer of so many tokens."""
    return {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_completion_tokens": 2 * tokens,
        "stream": stream,
        "metadata": {"simulate": f"tokens={tokens} pace_ms={pace_ms}"},
    }


@dataclass
class Load:
    """Slow streams, and clients in a hurry beside them, on one key."""

    one: Installation
    key: Key
    answers: list[Answer] = field(default_factory=list)
    broken: int = 0
    refused: int = 0
    hurrying: bool = True
    streaming: list[asyncio.Task[Answer | None]] = field(default_factory=list)
    _hasty: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self) -> None:
        """Start everything, and wait until all streams run and many requests have ended."""
        base = len(self.answers)
        self.hurrying = True
        self.streaming = [asyncio.create_task(self._stream()) for _ in range(STREAMS)]
        self._hasty = [asyncio.create_task(self._hurry()) for _ in range(HASTY)]
        await until(lambda: self.open_streams() >= STREAMS)
        await until(lambda: len(self.answers) - base >= 3 * HASTY)

    def open_streams(self) -> int:
        """Streams that the provider is sending now."""
        return self.one.simulator.open()["streams"]

    async def until_just_finished(self) -> None:
        """Wait until requests have ended that no recorder has stored yet; not one turn of the loop longer."""
        await until(lambda: len(self.one.outbox()) >= 2)

    async def rest_ends(self) -> list[Answer]:
        """Let the streams end and the hasty stop; the streams' answers, where there were any."""
        streamed = await asyncio.gather(*self.streaming)
        self.hurrying = False
        await asyncio.gather(*self._hasty)
        return [answer for answer in streamed if answer is not None]

    async def hurry(self, count: int) -> None:
        """So many more quick requests, one after the other; each is answered, if need be at a later try."""
        client = Client(self.one.port, self.key.secret)
        for _ in range(count):
            while not await self._ask_quickly(client):
                await asyncio.sleep(0.05)
        client.close()

    async def _stream(self) -> Answer | None:
        client = Client(self.one.port, self.key.secret)
        try:
            answer = await client.ask(document(STREAM_TOKENS, STREAM_PACE_MS, stream=True))
        except Broken:
            self.broken += 1
            return None
        finally:
            client.close()
        assert answer.status == 200, answer.body
        self.answers.append(answer)
        return answer

    async def _hurry(self) -> None:
        client = Client(self.one.port, self.key.secret)
        while self.hurrying:
            if not await self._ask_quickly(client):
                await asyncio.sleep(0.05)
        client.close()

    async def _ask_quickly(self, client: Client) -> bool:
        try:
            answer = await client.ask(document(3, 2, stream=False))
        except Broken:
            self.broken += 1
            return False
        self.answers.append(answer)
        if answer.status == 200:
            return True
        assert answer.status == 503, answer.body
        assert answer.code in ("ledger_unavailable", "draining")
        assert answer.headers["x-should-retry"] == "true"
        self.refused += 1
        return False


def busiest(one: Installation) -> int:
    """The worker with the most connections."""
    return max(one.children("worker"), key=connections)


def kill(*pids: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal them, one right after the other."""
    for pid in pids:
        os.kill(pid, number)
