"""Processes written with blocking calls, on the simulated loop: one runs at a time, when it is its turn.

Each has a thread of its own, but threads never run side by side: the loop hands over to one and waits until
that blocks again (in a socket, in a sleep) or ends. So the product's blocking code runs unchanged, may be
interrupted between any two of its commands, and still does the same for the same seed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.simulation.loop import Process, SimulatedLoop


class Killed(BaseException):
    """Raised inside the thread of a process that is dead, wherever it blocks. Nothing may come of it."""


class BlockingProcess(Process):
    """Runs `body`, which may call only `wait`, `sleep` and simulated sockets to block."""

    def __init__(self, loop: SimulatedLoop, name: str, body: Callable[[BlockingProcess], None]) -> None:
        super().__init__(loop, name)
        self._body = body
        # Locks that one side takes and the other gives back: the cheapest way to hand over.
        self._go = threading.Lock()
        self._go.acquire()
        self._back = threading.Lock()
        self._back.acquire()
        self._thread: threading.Thread | None = None
        self._turn = 0
        self.ended = False
        self.fault: BaseException | None = None

    def start(self, delay_s: float = 0.0) -> None:
        """Begin at some time."""
        self.call_later(delay_s, self._begin)

    def wait(self, timeout_s: float | None) -> None:
        """Block until `wake` or the timeout. Only from inside the thread."""
        self.check()
        turn = self._turn
        timer = None if timeout_s is None else self.call_later(timeout_s, self.wake, turn)
        self._back.release()
        self._go.acquire()
        self.check()
        if timer is not None:
            timer.cancel()

    def wake(self, turn: int | None = None) -> None:
        """Let the thread go on, if it still waits for this. Only from the loop."""
        if turn is None or turn == self._turn:
            self._hand_over()

    def sleep(self, seconds: float) -> None:
        """Block for a time. Only from inside the thread."""
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > 1e-9:
            self.wait(left)

    def kill(self) -> None:
        """As SIGKILL. The thread unwinds, but every call it still makes raises again."""
        if self.alive:
            super().kill()
            if self._thread is not None and not self.ended:
                self._hand_over()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        self._back.acquire()

    def _hand_over(self) -> None:
        if not self.ended:
            self._turn += 1
            self._go.release()
            self._back.acquire()

    def check(self) -> None:
        """Raise Killed in the thread of a dead process."""
        if not self.alive:
            raise Killed(self.name)

    def _run(self) -> None:
        try:
            self._body(self)
        except Killed:
            pass
        except BaseException as error:  # told to the simulation, which ends with it
            self.fault = error
        finally:
            self.ended = True
            self._back.release()
