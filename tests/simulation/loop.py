"""An event loop on virtual time, and the processes that run on it.

Nothing real happens in this loop: its clock jumps to the next timer, its connections are simulated, and what
would leave the process raises. Callbacks run in the order in which asyncio promises it, so a run depends on
nothing but what was put into it.

A `Process` is what an operating system would kill, stop or let go on: every callback that was scheduled by
its code carries its context, and is dropped when it is dead and kept back while it is frozen.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")
START_S = 1_000.0
TURNS_MAX = 20_000
"""So many turns of the loop at one moment are a task that spins: in real time it would burn a processor."""


class Stuck(Exception):
    """Nothing is scheduled and nothing can happen any more, but somebody still waits."""


class Process:
    """A simulated process on the loop. Of a dead one nothing runs any more, not even a finally."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.loop = loop
        self.alive = True
        self.frozen = False
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self._kept_back: list[events.Handle] = []

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this process. A fault that ends it is one of the code, and is told."""
        task = self.loop.create_task(work, context=self.context)
        task.add_done_callback(self._ended, context=self.context)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.alive and not task.cancelled() and (error := task.exception()) is not None:
            self.loop.on_fault(f"a task of {self.name} fails", error)

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> events.TimerHandle:
        """Call back in this process: not when it is dead by then, later when it is frozen."""
        return self.loop.call_later(delay_s, callback, *args, context=self.context)

    def kill(self) -> None:
        """As SIGKILL."""
        self.alive = False
        self._kept_back.clear()

    def freeze(self) -> None:
        """As SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """As SIGCONT: what became due meanwhile is due now."""
        self.frozen = False
        kept_back, self._kept_back = self._kept_back, []
        for handle in kept_back:
            if not handle.cancelled():
                self.loop.requeue(handle)

    def keep_back(self, handle: events.Handle) -> None:
        """Not now: the process is frozen."""
        self._kept_back.append(handle)


class _Gated:
    """A callback that its process decides about when its turn comes."""

    __slots__ = ("callback", "handle", "process")

    def __init__(self, process: Process, callback: Callable[..., object]) -> None:
        self.process = process
        self.callback = callback
        self.handle: events.Handle | None = None

    def __repr__(self) -> str:
        return f"{self.process.name}: {self.callback}"

    def __call__(self, *args: Any) -> None:
        if not self.process.alive:
            return
        if self.process.frozen:
            assert self.handle is not None
            self.process.keep_back(self.handle)
            return
        self.callback(*args)


class _Clock:
    """Stands where a selector would: waiting for events is letting time pass."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise Stuck("everybody waits and nothing is scheduled")
        if timeout > 0:
            self._loop.jump()
            self._turns = 0
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise Stuck(f"somebody spins: {self._loop.next_up()}")
        return ()

    def close(self) -> None:
        pass


class SimulatedLoop(base_events.BaseEventLoop):
    """The loop. `dial` makes connections; it is set by the network."""

    _ready: deque[events.Handle]
    _scheduled: list[events.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._now_s = START_S
        self._selector = _Clock(self)
        self._clock_resolution = 1e-9
        self._sealed = False
        self.dial: Callable[[Process, Callable[[], asyncio.Protocol]], Coroutine[Any, Any, Any]] | None = None
        self.on_fault: Callable[[str, BaseException | None], None] = lambda text, error: None
        self.set_exception_handler(self._on_fault)

    def time(self) -> float:
        return self._now_s

    @property
    def now_us(self) -> int:
        """Virtual microseconds since the start."""
        return round((self._now_s - START_S) * 1e6)

    def jump(self) -> None:
        """Let time pass until the next timer."""
        self._now_s = max(self._now_s, self._scheduled[0].when())

    def next_up(self) -> str:
        """What is about to be called."""
        return f"{[handle._callback for handle in self._ready]}"  # type: ignore[attr-defined]

    def requeue(self, handle: events.Handle) -> None:
        """Run a handle of this loop again."""
        self._ready.append(handle)

    def call_soon(  # type: ignore[override]  # without the link between callback and arguments
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        gated, context = self._gate(callback, context)
        if self._sealed:
            return events.Handle(gated, args, self, context)
        handle = super().call_soon(gated, *args, context=context)
        if isinstance(gated, _Gated):
            gated.handle = handle
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> events.TimerHandle:
        gated, context = self._gate(callback, context)
        if self._sealed:
            return events.TimerHandle(when, gated, args, self, context)
        handle = super().call_at(when, gated, *args, context=context)
        if isinstance(gated, _Gated):
            gated.handle = handle
        return handle

    def _gate(
        self, callback: Callable[..., object], context: contextvars.Context | None
    ) -> tuple[Callable[..., object], contextvars.Context]:
        if context is None:
            context = contextvars.copy_context()
        process = context.get(PROCESS)
        return (callback if process is None else _Gated(process, callback)), context

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        assert self.dial is not None
        return await self.dial(PROCESS.get(), protocol_factory)

    async def create_unix_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        assert self.dial is not None
        return await self.dial(PROCESS.get(), protocol_factory)

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]
        raise AssertionError("threads decide for themselves when they run: none in the simulation")

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _on_fault(self, _loop: Any, context: dict[str, Any]) -> None:
        """An exception that nobody took: a fault of the code under test, or of the simulation."""
        if not self._sealed:
            self.on_fault(context["message"], context.get("exception"))

    def seal(self) -> None:
        """End the run: nothing is called any more, and what still waits is let go quietly."""
        self._sealed = True
        self._ready.clear()
        self._scheduled.clear()
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            pending: Any = task
            pending._log_destroy_pending = False
            try:
                pending.get_coro().close()
            except RuntimeError:
                pass  # a finally that wants to wait: its process is gone
        self.close()
