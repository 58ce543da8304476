"""What one open and one close cost, in the gateway's process and in Redis', by how many rows a request has.

    python -m benchmarks.ledger                     11 interleaved rounds, less than a minute
    python -m benchmarks.ledger --rounds 31

The ledger's own client and scripts, over the product's own embedded server with its append-only file; no
HTTP, no provider. In each round every number of rows is measured once, one after the other, so that what
else the machine does meets all of them alike; told are medians of the rounds, and of their differences.
"gateway" is CPU of this thread, "Redis" CPU of the server's process (`process.py`), "scripts" what the server
itself says its script calls took, of that.

Microseconds are those of one machine in one minute. The bars are meant for a machine on which nginx takes
NGINX_US for a request that it forwards, so nginx is measured in every round, too, and each round's figures
are judged as they would be there. Without nginx figures are told, and not judged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
import uvloop

from benchmarks.figures import Spread
from benchmarks.lane import LANES
from benchmarks.process import cpu_ns
from benchmarks.programs import CannotBuild
from benchmarks.staging import staged
from budgets.connection import RedisConnection
from budgets.hold import Hold, Settled
from budgets.ledger import Closed, Ledger, Opened, Versions
from budgets.limit import Attribution, Limit
from budgets.names import names_of
from gateway.serve.valkey import EmbeddedValkey

ACCOUNT, KEY = "default", "key_1"
ROWS = (1, 4, 16)
WINDOWS = ("month", "day")
SCOPES = ("key", "customer", "account", "feature", "customer_feature", "plan", "route", "workspace")
OF = Attribution(ACCOUNT, KEY, "acme", "north", "summarize", plan="gold", route="gpt-5")
HOLD = Hold(500_000, 300_000, 100_000, input_tokens=900, output_tokens=(4_096, 1_024, 256))
SETTLED = Settled(300_000, input_tokens=300, output_tokens=150)
PAYLOAD, EVENT = b"p" * 900, b"e" * 1_200  # as long as usual ones
SIDE_US, MORE_US = 60.0, 40.0
"""The bars: four rows on either side, and what sixteen cost more on both together."""
NGINX_US, YARDSTICK = 13.5, "nonstream-64"
"""nginx' CPU for a request of this lane on the machine that the bars are meant for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU for one open and one close."""

    gateway: float
    redis: float
    scripts: float

    @property
    def both(self) -> float:
        return self.gateway + self.redis


def limits_of(rows: int) -> tuple[Limit, ...]:
    """So many hard limits: by month and by day, on the key, on each customer, and so on."""
    made = []
    for number in range(rows):
        scope = SCOPES[number // len(WINDOWS)]
        on = {"key": KEY, "account": ACCOUNT}.get(scope, "*")
        window = WINDOWS[number % len(WINDOWS)]
        made.append(Limit(f"lim_{rows}_{number}", scope, on, window, "money", "hard", 9 * 10**15))
    return tuple(made)


class Lane:
    """Requests that count on so many rows."""

    def __init__(self, rows: int, ledger: Ledger, server: redis.Redis, pid: int) -> None:
        self.rows = rows
        self._ledger = ledger
        self._server = server
        self._pid = pid
        self._limits = limits_of(rows)
        self._count = 0
        server.hset(names_of(ACCOUNT).limits, mapping={limit.id: limit.value for limit in self._limits})

    async def measure(self, requests: int, in_flight: int) -> Cost:
        """The cost of one of so many requests, with so many under way at a time."""
        # Each lane's list of limits is a version of its own, and a caller's copy is usually the one in force.
        self._server.hset(names_of(ACCOUNT).meta, f"ver:{ACCOUNT}", self.rows)
        self._server.config_resetstat()
        server_ns, own_ns = cpu_ns(self._pid), time.thread_time_ns()
        for _ in range(requests // in_flight):
            await asyncio.gather(*(self._request() for _ in range(in_flight)))
        own_ns = time.thread_time_ns() - own_ns
        server_ns = cpu_ns(self._pid) - server_ns
        said = self._server.info("commandstats")["cmdstat_evalsha"]
        self._server.delete(names_of(ACCOUNT).outbox)
        done = requests // in_flight * in_flight
        return Cost(own_ns / done / 1_000, server_ns / done / 1_000, said["usec"] / done)

    async def _request(self) -> None:
        self._count += 1
        opened = await self._ledger.open(
            of=OF,
            request_id=f"{self.rows}-{self._count}",
            versions=Versions(1, self.rows, 0),
            lists=(self._limits,),
            hold=HOLD,
            payload=PAYLOAD,
            now_ms=time.time_ns() // 1_000_000,
        )
        if not isinstance(opened, Opened) or opened.step != "full":
            raise SystemExit(f"benchmarks/ledger: the ledger did not grant a request: {opened}")
        if await self._ledger.close(opened.lease, SETTLED, status="succeeded", event=EVENT) is not Closed.OK:
            raise SystemExit("benchmarks/ledger: the ledger did not end a request")


async def measure(
    folder: Path, rounds: int, requests: int, in_flight: int, yardstick: Callable[[int], None]
) -> dict[int, list[Cost]]:
    """The costs of each number of rows, round by round; each round begins with the yardstick."""
    valkey = EmbeddedValkey(folder)
    await valkey.start()
    try:
        server = redis.Redis(unix_socket_path=str(valkey.socket))
        connection = await RedisConnection.connect(valkey.url)
        names = names_of(ACCOUNT)
        server.hset(names.meta, mapping={"complete_since": 1, "run_id": connection.run_id_for(names.meta)})
        server.hset(names.key + KEY, mapping={"st": "active", "ver": 1, "exp": ""})
        ledger = Ledger(connection, owner="benchmark", lease_ms=30_000)
        lanes = [Lane(rows, ledger, server, valkey.pid) for rows in ROWS]
        costs: dict[int, list[Cost]] = {rows: [] for rows in ROWS}
        for number in range(-1, rounds):  # the first one warms up
            if number >= 0:
                yardstick(number)
            for lane in lanes if number % 2 else lanes[::-1]:
                cost = await lane.measure(requests, in_flight)
                if number >= 0:
                    costs[lane.rows].append(cost)
        await connection.close()
        server.close()
        return costs
    finally:
        await valkey.stop()


def report(costs: dict[int, list[Cost]], nginx_us: Sequence[float]) -> tuple[list[str], bool]:
    """Lines for people, and whether the bars hold. `nginx_us`: of each round; empty where it is not here."""
    lines = ["rows     gateway us         Redis us           scripts us         both us"]
    for rows, measured in costs.items():
        parts = [
            [getattr(cost, name) for cost in measured] for name in ("gateway", "redis", "scripts", "both")
        ]
        lines.append(f"{rows:4d}  " + "".join(f"{Spread.of(part).text():>19}" for part in parts))
    if not nginx_us:
        return [*lines, "not judged: nginx or a C compiler is not here"], True
    lines.append(f"nginx: {Spread.of(nginx_us).text()} us a request; the bars are for {NGINX_US} us")
    four, sixteen = costs[4], costs[16]
    judged = [
        ("4 rows, gateway", [cost.gateway for cost in four], SIDE_US),
        ("4 rows, Redis", [cost.redis for cost in four], SIDE_US),
        (
            "16 rows more than 4, both",
            [many.both - few.both for few, many in zip(four, sixteen, strict=True)],
            MORE_US,
        ),
    ]
    held = True
    for what, found, bar in judged:
        there = Spread.of([us * NGINX_US / nginx for us, nginx in zip(found, nginx_us, strict=True)])
        held = held and there.median <= bar
        state = "ok  " if there.median <= bar else "FAIL"
        here = Spread.of(found).text()
        lines.append(f"{state} {what}: {here} us here, {there.text()} there, bar {bar:.0f}")
    return lines, held


def run(
    folder: Path, rounds: int, requests: int, in_flight: int
) -> tuple[dict[int, list[Cost]], list[float]]:
    """The costs, and nginx' of each round; none where it cannot be measured."""
    cores = os.sched_getaffinity(0)
    nginx_us: list[float] = []

    def without(_number: int) -> None: ...

    try:
        with staged(gateways=(), tell=lambda text: None) as (contest, subjects, _):
            os.sched_setaffinity(0, cores)  # the stage keeps its own programs apart; we are the measured one

            def yardstick(number: int) -> None:
                (sample,) = contest.run(LANES[YARDSTICK].briefly(), 1, first_round=number)
                nginx_us.append(sample.of("nginx"))

            beside = yardstick if subjects else without
            return uvloop.run(measure(folder, rounds, requests, in_flight, beside)), nginx_us
    except CannotBuild:
        return uvloop.run(measure(folder, rounds, requests, in_flight, without)), []


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and tell; 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--requests", type=int, default=2_000, help="in each round, for each number of rows")
    parser.add_argument("--in-flight", type=int, default=32)
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tollkeeper-benchmark-") as folder:
        costs, nginx_us = run(Path(folder), chosen.rounds, chosen.requests, chosen.in_flight)
        lines, held = report(costs, nginx_us)
    if not held:
        print("A bar did not hold; as many rounds again before judging.", flush=True)
        with tempfile.TemporaryDirectory(prefix="tollkeeper-benchmark-") as folder:
            more, more_us = run(Path(folder), chosen.rounds, chosen.requests, chosen.in_flight)
        together = {rows: [*measured, *more[rows]] for rows, measured in costs.items()}
        lines, held = report(together, [*nginx_us, *more_us])
    print("\n".join(lines))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
