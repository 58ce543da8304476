"""A process that forks others which use the ledger and nothing else, so that a thousand deaths cost little.

    python -m tests.torture.nursery URL LEASE_MS HEARTBEAT_MS KEY

KEY is a pickled `Terms`, in hexadecimal digits.

Each line on standard input forks one more; the end of input ends all. Whatever a child does it tells on
standard output first or right after, in one short write, which a `kill -9` cannot take back:

    PID born          PID asks ID          PID opened ID HELD
    PID closes ID SPENT DOUBTED            PID closed ID ANSWER (ok, closed or missing)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from budgets.connection import LedgerUnavailable, RedisConnection
from budgets.hold import Hold, Settled
from budgets.ledger import Lease, Ledger, Opened, Versions
from budgets.limit import Attribution, LimitTerms
from metering.event import CostEvent, encode

REQUESTS = 3
"""Requests that a child has open at once."""
WORKING_S = 0.08
"""How long a request takes at most."""
HELD_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """On what the children's requests count."""

    of: Attribution
    versions: Versions
    limits: tuple[LimitTerms, ...]

    def event(self, request_id: str, **known: Any) -> bytes:
        """A cost event of theirs."""
        return encode(
            CostEvent(
                id=request_id,
                account_id=self.of.account_id,
                key_id=self.of.key_id,
                started_ms=time.time_ns() // 1_000_000,
                **known,
            )
        )


def told(*words: object) -> None:
    """One line, at once."""
    os.write(1, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())


async def live(url: str, lease_ms: int, heartbeat_ms: int, terms: Terms) -> None:
    """Open, renew and close until somebody ends it."""
    connection = await RedisConnection.connect(url)
    ledger = Ledger(connection, owner=f"child-{os.getpid()}", lease_ms=lease_ms)
    running: dict[str, Lease] = {}
    chance = random.Random(os.getpid())

    async def renew() -> None:
        while True:
            await asyncio.sleep(heartbeat_ms / 1_000)
            with contextlib.suppress(LedgerUnavailable):
                await ledger.heartbeat([(lease, lease.held_nano // 10) for lease in running.values()])

    async def work(place: int) -> None:
        number = 0
        while True:
            number += 1
            request_id = f"{os.getpid()}-{place}-{number}"
            hold = chance.randint(1_000, HELD_MOST)
            told("asks", request_id)
            opened = await ledger.open(
                of=terms.of,
                request_id=request_id,
                versions=terms.versions,
                lists=(terms.limits,),
                hold=Hold(hold, hold, hold),
                payload=terms.event(request_id),
                now_ms=time.time_ns() // 1_000_000,
            )
            assert isinstance(opened, Opened), opened
            lease = opened.lease
            told("opened", request_id, lease.held_nano)
            running[request_id] = lease
            await asyncio.sleep(chance.uniform(0, WORKING_S))
            del running[request_id]
            spent = chance.randint(0, lease.held_nano)
            doubted = lease.held_nano - spent if chance.random() < 0.2 else 0
            event = terms.event(
                request_id, cost_nano=spent, doubted_nano=doubted, cost_status="priced", status="succeeded"
            )
            told("closes", request_id, spent, doubted)
            answer = await ledger.close(lease, Settled(spent, doubted), status="succeeded", event=event)
            told("closed", request_id, str(answer))

    await asyncio.gather(renew(), *(work(place) for place in range(REQUESTS)))


def main() -> None:
    """Fork on request."""
    url, lease_ms, heartbeat_ms, key = sys.argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave at once
    children = []
    while os.read(0, 1):
        pid = os.fork()
        if pid == 0:
            os.close(0)
            told("born")
            asyncio.run(live(url, int(lease_ms), int(heartbeat_ms), pickle.loads(bytes.fromhex(key))))
        children.append(pid)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
