"""HealthBoard: how targets do, in memory that the workers of one machine share.

A file in memory (or, without one, memory of this process) with a fixed number of places. A place is found by
the hash of its name, so workers of different configurations agree without talking. A request reads one
number, the gate: 0 says that nothing is the matter. Everything else happens only when something fails, and
once a second: then a place is read, changed by `routing.circuit` and written back under a lock of the file.

Times to the first byte stand beside it and are written without the lock: two workers that write at once lose
one measurement of a moving average, and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from routing.circuit import Circuit, CircuitTerms, State

FILE = "health.board"
PLACES = 4_096
WIDTH = 16
"""Numbers of 64 bit in a place: name's hash, gate, the circuit's ten, two times, two to spare."""
_NAME, _GATE, _CIRCUIT, _TIMES = 0, 1, 2, 12
_FIELDS = (
    "open_until_ms",
    "opened",
    "trial_until_ms",
    "warming_since_ms",
    "window_ms",
    "failed",
    "passed",
    "failed_before",
    "passed_before",
    "aside_until_ms",
)
_SMOOTHING = 0.2
"""What one measurement weighs in the moving average of times to the first byte."""
_LOCK_TRIES = 2_000


def now_ms() -> int:
    """Milliseconds since the machine started: the same in every process, and never set back."""
    return time.monotonic_ns() // 1_000_000


class HealthBoard:
    """The board. `path` None: this process' own. A file that another version left is begun anew."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], int] = now_ms) -> None:
        size = PLACES * WIDTH * 8
        self._descriptor: int | None = None
        if path is None:
            self._map = mmap.mmap(-1, size)
        else:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._descriptor).st_size != size:
                os.ftruncate(self._descriptor, 0)
                os.ftruncate(self._descriptor, size)
            self._map = mmap.mmap(self._descriptor, size)
        whole = memoryview(self._map)
        self._numbers = whole.cast("q")
        self._times = whole.cast("d")
        self._places: dict[str, int] = {}
        self._passed: dict[int, int] = {}
        self._clock = clock

    def place(self, name: str) -> int:
        """Where a name's record stands; taken when first asked for. Names share the last place if all are."""
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = self._take(name)
        return found

    def free(self, place: int) -> bool:
        """Nothing is known against it: the one question of a request that goes well."""
        return self._numbers[place + _GATE] == 0

    def state(self, place: int) -> State:
        """How it stands for one request."""
        if self._numbers[place + _GATE] == 0:
            return State.FREE
        now = self._clock()
        circuit = self._read(place)
        state = circuit.state(now, random.random())  # shares of traffic, no secret
        if state is State.FREE:
            with self._changing(place) as current:
                current.tidy(now)
        return state

    def word(self, place: int) -> str:
        """closed, open, half-open or warming."""
        return "closed" if self.free(place) else self._read(place).word(self._clock())

    def aside_ms(self, place: int) -> int:
        """Milliseconds for which its provider asked to be left alone; 0 when it did not."""
        return max(0, self._read(place).aside_until_ms - self._clock())

    def try_it(self, place: int) -> bool:
        """Take the trial of an open circuit; one request of all workers can."""
        with self._changing(place) as circuit:
            return circuit.try_it(self._clock())

    def passed(self, place: int) -> None:
        """Note an answer."""
        passed = self._passed
        passed[place] = passed.get(place, 0) + 1
        if self._numbers[place + _GATE]:
            self._tell(place)

    def timed(self, place: int, first_byte_s: float, *, stream: bool) -> None:
        """Note how long an answer took to begin."""
        times, at = self._times, place + _TIMES + stream
        former = times[at]
        times[at] = former + (first_byte_s - former) * _SMOOTHING if former else first_byte_s

    def first_byte_s(self, place: int, *, stream: bool) -> float | None:
        """The moving average of times to the first byte; None before the first one."""
        return self._times[place + _TIMES + stream] or None

    def failed(self, place: int, terms: CircuitTerms) -> bool:
        """Note a failure; True where the circuit opens by it."""
        now, passed = self._clock(), self._passed.pop(place, 0)
        with self._changing(place) as circuit:
            if passed and circuit.quiet:
                circuit.succeeded(now, passed)
            return circuit.failed_once(now, terms, random.random())

    def set_aside(self, place: int, for_ms: int) -> None:
        """Leave it alone for so long."""
        with self._changing(place) as circuit:
            circuit.set_aside(self._clock() + for_ms)

    def tell(self) -> None:
        """Tell the other workers of the answers since the last time. Once a second."""
        for place in list(self._passed):
            self._tell(place)

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._times.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _tell(self, place: int) -> None:
        passed = self._passed.pop(place, 0)
        if passed:
            with self._changing(place) as circuit:
                circuit.succeeded(self._clock(), passed)

    def _read(self, place: int) -> Circuit:
        start = place + _CIRCUIT
        return Circuit(*self._numbers[start : start + len(_FIELDS)])

    @contextmanager
    def _changing(self, place: int) -> Iterator[Circuit]:
        with self._lock():
            circuit = self._read(place)
            yield circuit
            numbers = self._numbers
            for at, name in enumerate(_FIELDS, place + _CIRCUIT):
                numbers[at] = getattr(circuit, name)
            numbers[place + _GATE] = 0 if circuit.quiet else 1

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = self._descriptor
        if descriptor is None or not _locked(descriptor):
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _take(self, name: str) -> int:
        hashed = int.from_bytes(blake2b(name.encode(), digest_size=7).digest()) + 1
        with self._lock():
            for step in range(PLACES - 1):
                place = (hashed + step) % (PLACES - 1) * WIDTH
                if self._numbers[place + _NAME] in (0, hashed):
                    self._numbers[place + _NAME] = hashed
                    return place
        return (PLACES - 1) * WIDTH


def _locked(descriptor: int) -> bool:
    """Take the lock, within a millisecond or so; False where a process that was stopped keeps it.

    Then the change is made without: a lost count is a smaller evil than workers that wait.
    """
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
