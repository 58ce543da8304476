"""Work beside the requests: tasks that nobody waits for, and the waits between attempts of one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterator
from typing import Any

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0


def waits(patience_s: float | None) -> Iterator[float]:
    """Seconds to wait between attempts, each twice as long as the last one, up to LONGEST_WAIT_S.

    They end where the next one would outlast the patience, which begins with the first one asked for; with
    None they never end. For the running loop.
    """
    clock = asyncio.get_running_loop().time
    deadline = float("inf") if patience_s is None else clock() + patience_s
    wait_s = FIRST_WAIT_S
    while clock() + wait_s < deadline:
        yield wait_s
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


class Background(Collection[asyncio.Task[Any]]):
    """The tasks of one owner that still run. It keeps them (an event loop does not), and tells the owner's
    log when one fails.
    """

    def __init__(self, log: Any) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._log = log

    def start(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run it from the loop's next turn on. Who wants to know when it has ended waits for the task."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, patience_s: float) -> None:
        """Wait until all have ended, those too that others start meanwhile; what runs on after the patience
        is cancelled, and has ended when this returns."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while self._tasks and (left_s := deadline - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._log.error("background_fault", task=task.get_name(), exc_info=fault)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)
