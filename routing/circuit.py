"""Circuit: whether a target is asked first, set aside, or on trial, by how its last attempts went. Pure.

    closed --(failures within the window: enough, and a large part)--> open
    open --(its time is over: one request at a time tries)--> trial --failed--> open, for longer
    trial --succeeded--> warming: a growing part of the requests --failed--> open
    warming --(its time is over)--> closed

Moments are milliseconds of a clock that all workers of a machine share and that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WINDOW_MS = 10_000
"""Half of what is remembered: attempts of the current and of the former stretch of this length count."""
TRIAL_MS = 8_000
"""How long a trial may go on before another request may try as well."""
WARMING_MS = 5_000
"""From the first success until all requests come back, so that they do not come back at once."""
WARMING_SHARE = 0.1
"""The part of the requests that comes back at once."""


@dataclass(frozen=True, slots=True)
class CircuitTerms:
    """When a circuit opens, and for how long at first and at most (it doubles in between)."""

    failures: int = 5
    percent: int = 50
    open_ms: int = 5_000
    open_max_ms: int = 20_000


class State(Enum):
    """How a target stands. FREE: asked in its turn. TRIAL: one request may try. ASIDE: only if none is
    left."""

    FREE = "free"
    TRIAL = "trial"
    ASIDE = "set aside"


@dataclass(slots=True)
class Circuit:
    """One target's record, as the workers share it. 0 stands for "does not apply" in every moment."""

    open_until_ms: int = 0
    opened: int = 0
    """How often it opened without having closed in between."""
    trial_until_ms: int = 0
    warming_since_ms: int = 0
    window_ms: int = 0
    failed: int = 0
    passed: int = 0
    failed_before: int = 0
    passed_before: int = 0
    aside_until_ms: int = 0
    """Its provider asked to be left alone until then (a rate limit, or a refused credential)."""

    @property
    def quiet(self) -> bool:
        """Nothing keeps a request from it, now or later."""
        return not (self.open_until_ms or self.warming_since_ms or self.aside_until_ms)

    def word(self, now_ms: int) -> str:
        """closed, open, half-open (its next request is a trial, or one is under way) or warming."""
        if self.open_until_ms:
            return "open" if now_ms < self.open_until_ms else "half-open"
        if self.warming_since_ms and now_ms - self.warming_since_ms < WARMING_MS:
            return "warming"
        return "closed"

    def state(self, now_ms: int, draw: float) -> State:
        """How it stands for one request; `draw` in [0, 1) decides who belongs to the warming share."""
        if now_ms < self.aside_until_ms:
            return State.ASIDE
        if self.open_until_ms:
            if now_ms < self.open_until_ms or now_ms < self.trial_until_ms:
                return State.ASIDE
            return State.TRIAL
        if self.warming_since_ms:
            gone = (now_ms - self.warming_since_ms) / WARMING_MS
            return State.FREE if draw < WARMING_SHARE + gone * (1 - WARMING_SHARE) else State.ASIDE
        return State.FREE

    def tidy(self, now_ms: int) -> None:
        """Forget what is over."""
        if now_ms >= self.aside_until_ms:
            self.aside_until_ms = 0
        if self.warming_since_ms and now_ms - self.warming_since_ms >= WARMING_MS:
            self.warming_since_ms = self.opened = 0

    def try_it(self, now_ms: int) -> bool:
        """Take the trial, if it is still there to be taken."""
        if self.state(now_ms, 0.0) is not State.TRIAL:
            return False
        self.trial_until_ms = now_ms + TRIAL_MS
        return True

    def succeeded(self, now_ms: int, times: int = 1) -> None:
        """Note answers; one is enough to end an open circuit."""
        self._turn(now_ms)
        self.passed += times
        if self.open_until_ms:
            self.open_until_ms = self.trial_until_ms = 0
            self.warming_since_ms = now_ms
            self.failed = self.failed_before = 0
        self.tidy(now_ms)

    def failed_once(self, now_ms: int, terms: CircuitTerms, draw: float) -> bool:
        """Note a failure; True where the circuit opens by it."""
        self.tidy(now_ms)
        self._turn(now_ms)
        self.failed += 1
        if self.open_until_ms and now_ms < self.open_until_ms:
            return False  # asked although it was set aside, because nothing else was left
        if self.open_until_ms or self.warming_since_ms:
            self._open(now_ms, terms, draw)
            return True
        failed = self.failed + self.failed_before
        if failed < terms.failures or failed * 100 < terms.percent * (
            failed + self.passed + self.passed_before
        ):
            return False
        self._open(now_ms, terms, draw)
        return True

    def set_aside(self, until_ms: int) -> None:
        """Leave it alone until then."""
        self.aside_until_ms = max(self.aside_until_ms, until_ms)

    def _open(self, now_ms: int, terms: CircuitTerms, draw: float) -> None:
        """Open for a time that doubles, a fifth of it random: circuits that opened together try apart."""
        length = min(terms.open_ms * 2 ** min(self.opened, 20), terms.open_max_ms)
        self.opened += 1
        self.open_until_ms = now_ms + max(1, round(length * (0.8 + 0.2 * draw)))
        self.trial_until_ms = self.warming_since_ms = 0

    def _turn(self, now_ms: int) -> None:
        """Begin a new stretch of the window where the current one is over."""
        gone = now_ms - self.window_ms
        if gone < WINDOW_MS:
            return
        recent = gone < 2 * WINDOW_MS
        self.failed_before, self.passed_before = (self.failed, self.passed) if recent else (0, 0)
        self.failed = self.passed = 0
        self.window_ms = self.window_ms + WINDOW_MS if recent else now_ms
