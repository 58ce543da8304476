"""One demo from start to verdict: an installation, keys, a minute of traffic, and the comparison.

However it ends, the installation is stopped, and a temporary directory is gone.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rich.console import Console

from accounts.keyring import ACCOUNT
from billing.marginbook import MarginBook
from budgets.names import names_of
from gateway.demo.audit import audit, bill_of
from gateway.demo.closing import Evidence, accepted_ids, sections, verdicts
from gateway.demo.display import Display, print_section, print_verdicts, shown
from gateway.demo.drive import Driver, Tally
from gateway.demo.earnings import Earnings, earnings_section, earnings_verdicts
from gateway.demo.installation import Installation, InstallationFailed
from gateway.demo.keys import DemoKey, budgets, make_keys
from gateway.demo.plans import PLANS, make_plans
from gateway.demo.traffic import Call, plan
from gateway.serve.lock import Running
from metering.database import DatabaseError
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.money import nano_to_usd
from reports.figures import cost_report
from reports.question import Question

SETTLING_S = 20.0
"""Patience with the last closes, and with the recorder, which stores events shortly after."""
POLL_S = 0.1
DISAGREES = 1
INTERRUPTED = 130
"""Exit codes; the second as a shell gives it for SIGINT."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):
    """The demo could not be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `data_dir` None: a temporary directory, removed at the end."""

    seconds: float
    rate: float
    seed: int
    data_dir: Path | None


def run_demo(wish: Wish, console: Console) -> int:
    """Carry it out; the exit code, 0 when everything agrees. Raises DemoFailed."""
    data_dir = wish.data_dir or Path(tempfile.mkdtemp(prefix="tollkeeper-demo-"))
    try:
        return asyncio.run(Session(wish, Installation(data_dir), console).run())
    except (InstallationFailed, DatabaseError) as error:
        raise DemoFailed(str(error)) from None
    except (httpx2.HTTPError, RedisError) as error:
        raise DemoFailed(f"the installation could not be asked: {error!r}") from None
    finally:
        if wish.data_dir is None:
            shutil.rmtree(data_dir, ignore_errors=True)


class Session:
    """One run. The first signal ends the traffic, and what was sent is compared; any other ends the run."""

    def __init__(self, wish: Wish, installation: Installation, console: Console) -> None:
        self._wish = wish
        self._installation = installation
        self._console = console
        self._stop = asyncio.Event()
        self._sending = False

    async def run(self) -> int:
        """The exit code; the installation has ended when this returns."""
        work = asyncio.create_task(self._carry_out(), name="demo")

        def interrupted() -> None:
            if self._sending and not self._stop.is_set():
                self._stop.set()
            else:
                work.cancel()

        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, interrupted)
        try:
            return await work
        except asyncio.CancelledError:
            return INTERRUPTED
        finally:
            await self._installation.stop()

    async def _carry_out(self) -> int:
        wish, installation, say = self._wish, self._installation, self._console.print
        installation.prepare()
        calls = await asyncio.to_thread(plan, wish.seed, wish.seconds, wish.rate)
        keys = await asyncio.to_thread(make_keys, installation.database, calls)
        await asyncio.to_thread(make_plans, installation.database)
        say("Starting Tollkeeper and its simulated provider: nothing leaves this machine.")
        state = await installation.start()
        say(
            f"It serves at {state.base_url}. For {wish.seconds:g} s {len(calls):,} requests of "
            f"{len(keys)} customers come, by seed {wish.seed}. Ctrl-C ends them early.\n",
            soft_wrap=True,
        )
        with closing(EventStore(installation.database)) as store, closing(_redis(state)) as redis:
            evidence = await self._send_and_compare(calls, keys, state, store, redis)
            earnings = _earnings(store, evidence.since_ms)
        for section in (*sections(evidence), earnings_section(earnings)):
            print_section(self._console, section)
        found = [*verdicts(evidence), *earnings_verdicts(earnings, evidence.events)]
        print_verdicts(self._console, found)
        if not all(verdict.holds for verdict in found):
            return DISAGREES
        return INTERRUPTED if self._stop.is_set() else 0

    async def _send_and_compare(
        self,
        calls: Sequence[Call],
        keys: Sequence[DemoKey],
        state: Running,
        store: EventStore,
        redis: Redis,
    ) -> Evidence:
        _, place = store.arrivals()
        since_ms = time.time_ns() // 1_000_000
        tally = Tally()
        driver = Driver(state.base_url, {key.customer: key.secret for key in keys}, tally)
        display = Display(tally, keys, lambda: budgets(redis, keys), self._wish.seconds)
        self._sending = True
        async with shown(display, self._console):
            await driver.run(calls, self._stop)
        self._sending = False
        if self._stop.is_set():
            self._console.print("Interrupted: what was sent is compared; once more ends at once.")
        bill, unsettled = await _settled(state, store, redis, keys, tally)
        events = _recorded(store, place, keys)
        rows = store.cost_by(("customer", "feature"), since_ms)
        return Evidence(
            tally=tally,
            report=cost_report(Question(("customer", "feature"), since_ms), rows),
            events=events,
            audit=audit(events, bill),
            keys=keys,
            budgets=budgets(redis, keys),
            since_ms=since_ms,
            unsettled=unsettled,
        )


def _earnings(store: EventStore, since_ms: int) -> Earnings:
    """Revenue beside cost, from the first request until now."""
    until_ms = time.time_ns() // 1_000_000
    view = MarginBook(store).margins(("customer",), since_ms, until_ms)
    return Earnings(view, PLANS, since_ms, until_ms)


def _redis(state: Running) -> Redis:
    return Redis.from_url(str(state.redis_url), protocol=2, socket_timeout=5, retry=Retry(NoBackoff(), 0))


async def _settled(
    state: Running, store: EventStore, redis: Redis, keys: Sequence[DemoKey], tally: Tally
) -> tuple[dict[str, int], str | None]:
    """The provider's bill once nothing runs, nothing is held and every event is stored, within SETTLING_S.

    The text says what was waited for in vain, None when all is settled.
    """
    client: Any = redis
    outbox = names_of(ACCOUNT).outbox
    deadline = time.monotonic() + SETTLING_S
    async with httpx2.AsyncClient(base_url=f"{state.simulator_url}/_simulator", trust_env=False) as provider:
        while True:
            running = (await provider.get("/open")).json()["requests"]
            held_nano = sum(budget.reserved for budget in budgets(redis, keys))
            waiting = client.xlen(outbox)
            late = time.monotonic() > deadline
            if late or not (running or held_nano or waiting):
                bill = bill_of((await provider.get("/bill")).json())
                expected = accepted_ids(tally.answers, bill)
                missing = len(expected) - len(store.recorded(expected))
                if not (running or held_nano or waiting or missing):
                    return bill, None
                if late:
                    return bill, (
                        f"{SETTLING_S:.0f} s after the last answer {running} requests run at the provider, "
                        f"${nano_to_usd(held_nano)} is held, {waiting} events wait in the outbox and "
                        f"{missing} are not in the store"
                    )
            await asyncio.sleep(POLL_S)


def _recorded(store: EventStore, place: int, keys: Sequence[DemoKey]) -> list[CostEvent]:
    """The events of these keys that were stored after `place`."""
    ours = {key.key_id for key in keys}
    found: list[CostEvent] = []
    while True:
        arrived, place = store.arrivals(place)
        if not arrived:
            return found
        found += (event for event in arrived if event.key_id in ours)
