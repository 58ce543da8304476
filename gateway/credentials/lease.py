"""A lease: something that lasts for a while, fetched in a thread, and again ahead of its end."""

from __future__ import annotations

import asyncio
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any, Generic, TypeVar

import structlog

from gateway.credentials.credential import CredentialFault

T = TypeVar("T")

AHEAD_S = 300.0
"""How long before its end the next one is fetched. Google and Amazon have the next one ready by then."""
MARGIN_S = 5.0
"""What is about to end is not used: it must be valid where it arrives, by another clock."""
WAIT_MAX_S = 20.0
"""How long a request waits for a fetch."""
RETRY_S, RETRY_MAX_S = 1.0, 30.0
"""The wait after a fetch that failed; it doubles."""
TOLD_EVERY_S = 600.0
"""How often the log tells of the same failure."""
REJECTED_EVERY_S = 60.0
"""How often a refusal by the provider makes us fetch again: it need not be the credential's fault."""


@dataclass(frozen=True, slots=True)
class Lease(Generic[T]):
    """`ends_at`: seconds since 1970, None for never."""

    value: T
    ends_at: float | None = None

    def __repr__(self) -> str:
        return f"Lease(ends_at={self.ends_at})"


def due_in_s(left_s: float) -> float:
    """When to fetch the next one, of a lease that lasts so long: AHEAD_S before its end. A short one, or the
    last part of one that was fetched by someone else, is halved instead."""
    return left_s - AHEAD_S if left_s > 2 * AHEAD_S else left_s / 2


class Leased(Generic[T]):
    """Holds the lease in force, and fetches the next one: one fetch at a time, however many wait for it.

    `fetch` may block; it runs in a thread of its own, which nobody waits for at the end of the process. It
    raises CredentialFault. While fetching fails, the lease there is stays in force until its end; after that
    `get` raises what the last fetch raised, at once, until a later fetch succeeds.
    """

    def __init__(
        self, name: str, fetch: Callable[[], Lease[T]], *, clock: Callable[[], float] = time
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._lease: Lease[T] | None = None
        self._until = 0.0
        self._fetched_at = float("-inf")
        self._fault: CredentialFault | None = None
        self._retry_s = RETRY_S
        self._told_at = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._log = structlog.get_logger("gateway.credentials")

    @property
    def current(self) -> T | None:
        """What was fetched last, ended or not."""
        return self._lease.value if self._lease is not None else None

    def start(self) -> None:
        """Fetch now, unless that is under way. For a running loop."""
        if self._running is None and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._running = asyncio.get_running_loop().create_task(self._refresh())

    async def get(self) -> T:
        """What is in force. Waits only where nothing is. Raises CredentialFault."""
        lease = self._lease
        if lease is not None and self._clock() < self._until:
            return lease.value
        if self._running is None and self._fault is None:
            self.start()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=WAIT_MAX_S)
            lease = self._lease
            if lease is not None and self._clock() < self._until:
                return lease.value
        fault = self._fault
        if fault is not None:
            raise CredentialFault(str(fault), refused=fault.refused)
        raise CredentialFault(f"No credential for {self._name} within {WAIT_MAX_S:g} s.", refused=False)

    def rejected(self) -> None:
        """The provider refused what was fetched: fetch again, if that is not just done."""
        if self._clock() - self._fetched_at >= REJECTED_EVERY_S:
            self.start()

    def close(self) -> None:
        """Fetch nothing any more; a fetch that runs is left to its thread."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()

    async def _refresh(self) -> None:
        try:
            lease = await _in_thread(self._fetch, f"credential-{self._name}")
        except CredentialFault as fault:
            self._failed(fault)
        except Exception as error:  # noqa: BLE001
            # Not foreseen, and so a fault of ours. What it says may hold anything; where it was cannot.
            where = "".join(traceback.format_tb(error.__traceback__))
            self._log.error("credential_fetch_broke", provider=self._name, where=where)
            name = type(error).__name__
            self._failed(CredentialFault(f"Credential of {self._name}: {name}.", refused=True))
        else:
            self._took(lease)
        finally:
            self._running = None

    def _took(self, lease: Lease[T]) -> None:
        now = self._clock()
        left_s = float("inf") if lease.ends_at is None else lease.ends_at - now
        if left_s <= MARGIN_S:
            why = f"Credential of {self._name}: it was over when it came; is the clock of this machine right?"
            self._failed(CredentialFault(why, refused=True))
            return
        if self._fault is not None:
            self._log.info("credential_fetched_again", provider=self._name)
        self._lease, self._fault, self._fetched_at = lease, None, now
        self._until = now + left_s - MARGIN_S
        self._retry_s = RETRY_S
        if lease.ends_at is None:
            return
        self._start_in(due_in_s(left_s))

    def _failed(self, fault: CredentialFault) -> None:
        now, left_s = self._clock(), self._until - self._clock()
        if str(fault) != str(self._fault) or now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            self._log.warning(
                "credential_not_fetched",
                provider=self._name,
                why=str(fault),
                refused=fault.refused,
                in_force_s=round(left_s) if 0 < left_s < float("inf") else None,
            )
        self._fault = fault
        self._start_in(self._retry_s)
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    def _start_in(self, wait_s: float) -> None:
        # Workers fetched at the same moment; they need not do it again together.
        wait_s *= random.uniform(0.9, 1.0)
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.start()


async def _in_thread(work: Callable[[], T], name: str) -> T:
    """Run it in a daemon thread: a server that does not answer must not hold up the end of the process, as a
    thread of the loop's own executor would."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def tell(set_it: Callable[[Any], None], value: object) -> None:
        if not result.done():
            set_it(value)

    def run() -> None:
        told: tuple[Callable[[Any], None], object]
        try:
            told = (result.set_result, work())
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            told = (result.set_exception, error)
        try:
            loop.call_soon_threadsafe(tell, *told)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody waits

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result
