"""WaitingRoom: requests that only others' holds keep out wait a moment for money to be freed, in order.

Each row of a limit has its line. Only its first tries again, when a request of this worker has ended or a
short time has passed (other workers' requests end unseen); whoever comes while there is a line joins its
end. The room is bounded and so is the wait: a full room or the end of patience is a refusal, told with
Retry-After.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from budgets.ledger import Opened, Refused

PLACES = 1_000
PATIENCE_S = 2.0
TICK_S = 0.1
"""How long the first of a line waits for news before it tries anyway."""

Try = Callable[[], Awaitable[Opened | Refused]]


class _Place:
    """One waiting request: woken when it becomes the first of its line, and then by news."""

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = asyncio.Event()


class WaitingRoom:
    """The lines of one worker, by the row of the limit that is waited for."""

    def __init__(self, *, places: int = PLACES, patience_s: float = PATIENCE_S) -> None:
        self._places = places
        self._patience_s = patience_s
        self._lines: dict[str, deque[_Place]] = {}
        self._waiting = 0
        self._closed = False

    def close(self) -> None:
        """Nobody waits any more: those who do try once more, at once."""
        self._closed = True
        for line in self._lines.values():
            for place in line:
                place.woken.set()

    def line_of(self, rows: Sequence[str]) -> str | None:
        """The row with a line that a request counting on these rows has to join; None without one."""
        if not self._lines:
            return None
        return next((row for row in rows if row in self._lines), None)

    def freed(self) -> None:
        """A request of this worker has ended: the first of each line may try."""
        for line in self._lines.values():
            line[0].woken.set()

    async def wait(self, row: str, attempt: Try, refused: Refused | None = None) -> Opened | Refused:
        """Try until something else than BUSY is answered or patience ends; then the last refusal.

        `refused`: what an earlier try was answered. A request that finds the room full is tried once.
        """
        if self._waiting >= self._places:
            return refused or await attempt()
        place = _Place()
        line = self._lines.setdefault(row, deque())
        line.append(place)
        self._waiting += 1
        try:
            return await self._in_line(line, place, attempt, refused)
        finally:
            self._leave(row, line, place)

    async def _in_line(
        self, line: deque[_Place], place: _Place, attempt: Try, refused: Refused | None
    ) -> Opened | Refused:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            first = line[0] is place
            left_s = deadline - loop.time()
            if left_s > 0 and not self._closed and not (first and refused is None):
                await _until(place.woken, min(TICK_S, left_s) if first else left_s)
                place.woken.clear()
            patient = not self._closed and loop.time() < deadline
            if line[0] is place or not patient:
                answer = await attempt()
                if isinstance(answer, Opened) or answer.reason != "BUSY" or not patient:
                    return answer
                refused = answer

    def _leave(self, row: str, line: deque[_Place], place: _Place) -> None:
        self._waiting -= 1
        was_first = line[0] is place
        line.remove(place)
        if not line:
            del self._lines[row]
        elif was_first:
            line[0].woken.set()


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
