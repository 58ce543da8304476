"""One of several processes that spend the same budget at once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from budgets.connection import RedisConnection
from budgets.ledger import Closed, Hold, Ledger, Opened
from budgets.limit import Limit
from tests.budgets.server import ACCOUNT, KEY, event_bytes


@dataclass
class Told:
    """What one process was told by the ledger."""

    asked: int = 0
    opened: int = 0
    exhausted: int = 0
    busy: int = 0
    spent: int = 0
    doubted: int = 0
    repeated_closes: int = 0


def race(url: str, limits: list[Limit], number: int, coroutines: int, asks: int, now_ms: int) -> Told:
    """Ask `asks` times in all from that many coroutines; every hold is opened, used and closed."""
    return asyncio.run(_race(url, limits, number, coroutines, asks, now_ms))


async def _race(url: str, limits: list[Limit], number: int, coroutines: int, asks: int, now_ms: int) -> Told:
    connection = await RedisConnection.connect(url)
    ledger = Ledger(connection, owner=f"racer-{number}", lease_ms=30_000)
    chance = random.Random(number)
    told = Told()

    async def spend() -> None:
        while told.asked < asks:
            told.asked += 1
            request_id = f"{number}-{told.asked}"
            full = chance.randrange(400_000, 1_200_000)
            answer = await ledger.open(
                account_id=ACCOUNT,
                request_id=request_id,
                key_id=KEY,
                key_version=1,
                limits=limits,
                hold=Hold(full, full // 2, full // 8) if chance.random() < 0.5 else Hold(full, full, full),
                payload=b"{}",
                now_ms=now_ms,
            )
            if not isinstance(answer, Opened):
                told.exhausted += answer.reason == "EXHAUSTED"
                told.busy += answer.reason == "BUSY"
                continue
            told.opened += 1
            lease = answer.lease
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            spent = chance.choice((0, lease.held_nano, chance.randrange(lease.held_nano + 1)))
            doubted = lease.held_nano - spent if chance.random() < 0.1 else 0
            told.spent += spent
            told.doubted += doubted
            event = event_bytes(request_id, spent, doubted)
            ends = [
                await ledger.close(
                    lease, spent_nano=spent, doubted_nano=doubted, status="succeeded", event=event
                )
                for _ in range(2 if chance.random() < 0.1 else 1)
            ]
            assert ends[0] is Closed.OK
            told.repeated_closes += ends[1:] == [Closed.CLOSED]

    await asyncio.gather(*(spend() for _ in range(coroutines)))
    await connection.close()
    return told
