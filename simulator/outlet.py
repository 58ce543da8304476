"""Where the bytes of an answer leave: plainly, up to a reset, or one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.connection import Connection

RESET_DELAY_S = 0.01
"""Time for the bytes before a reset to reach a reader, who would otherwise see the reset first."""


class Outlet:
    """Writes to the socket at once."""

    plain = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def blocked(self) -> bool:
        """The reader is slow; whoever produces should wait for `resume`."""
        return self._connection.paused

    def write(self, data: bytes) -> bool:
        """Send `data`. False when none of it can leave any more."""
        self._connection.write(data)
        return True

    def finish(self, done: Callable[[], None]) -> None:
        """Call `done` when everything written has been handed to the socket."""
        done()

    def stop(self) -> None:
        """The connection is gone."""


class ResettingOutlet(Outlet):
    """Sends a number of bytes, then resets the connection."""

    plain = False

    def __init__(self, connection: Connection, limit: int) -> None:
        super().__init__(connection)
        self._left = limit
        self._resetting = False

    @property
    def blocked(self) -> bool:
        return self._resetting or super().blocked

    def write(self, data: bytes) -> bool:
        part = data[: self._left]
        self._left -= len(part)
        if part:
            super().write(part)
        if not self._left and not self._resetting:
            self._resetting = True
            self._connection.loop.call_later(RESET_DELAY_S, self._connection.reset)
        return bool(part)

    def finish(self, done: Callable[[], None]) -> None:
        if not self._resetting:
            done()


class DribblingOutlet(Outlet):
    """Sends one byte at a time."""

    plain = False

    def __init__(self, connection: Connection, interval_s: float) -> None:
        super().__init__(connection)
        self._interval_s = interval_s
        self._waiting = bytearray()
        self._timer_runs = False
        self._done: Callable[[], None] | None = None
        self._stopped = False

    @property
    def blocked(self) -> bool:
        return bool(self._waiting) or super().blocked

    def write(self, data: bytes) -> bool:
        self._waiting += data
        if not self._timer_runs:
            self._timer_runs = True
            self._drip()
        return True

    def finish(self, done: Callable[[], None]) -> None:
        if self._waiting:
            self._done = done
        else:
            done()

    def stop(self) -> None:
        self._stopped = True

    def _drip(self) -> None:
        if self._stopped:
            return
        super().write(bytes(self._waiting[:1]))
        del self._waiting[:1]
        if self._waiting:
            self._connection.loop.call_later(self._interval_s, self._drip)
            return
        self._timer_runs = False
        if self._done is not None:
            self._done()
        else:
            self._connection.resume_delivery()
