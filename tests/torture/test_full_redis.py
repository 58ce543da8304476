"""Redis is full: new work is refused, running work goes on to its end, and room is all it takes to resume.

pytest tests/torture/test_full_redis.py -s
"""

from __future__ import annotations

import asyncio

from tests.acceptance.installation import until
from tests.acceptance.load import LIMIT_NANO, document

from .client import Asked, BookedClient
from .conftest import Build, Serve
from .rate import Rate, first_success_s
from .truth import account_for

STREAMS, TOKENS, PACE_MS = 20, 150, 15.0
"""Streams of more than two seconds, which run through several heartbeats."""
PER_S = 50
LEDGER = "{lease_ms: 1000, heartbeat_ms: 250, reap_every_ms: 100}"


async def test_full_redis_refuses_new_work_and_lets_running_work_end(build: Build, valkey: Serve) -> None:
    server = valkey()
    one = await build(redis_url=server.url, ledger=LEDGER)
    key = one.key(100 * LIMIT_NANO)
    book: list[Asked] = []
    clients = [BookedClient(one.port, key.secret, book) for _ in range(STREAMS)]
    streaming = [asyncio.create_task(each.ask(document(TOKENS, PACE_MS, stream=True))) for each in clients]
    await until(lambda: all(each.received for each in clients))

    server.client.config_set("maxmemory", "1")
    full = Rate(one, key, PER_S, book=book)
    full.begin()
    answers = await asyncio.gather(*streaming)
    await full.rest()
    # Even now everything that had begun is recorded, and nothing was taken for dead.
    await one.settled()
    assert server.client.info("memory")["maxmemory"] == 1
    refused = [asked for asked in book if asked.status != 200]
    assert all(answer.done for answer in answers)
    assert len(refused) == len(book) - STREAMS >= PER_S
    assert {(asked.status, asked.answer and asked.answer.code) for asked in refused} == {
        (503, "ledger_unavailable")
    }

    server.client.config_set("maxmemory", "0")
    freed_s = max(asked.asked_s for asked in book)
    again = Rate(one, key, PER_S, book=book)
    again.begin()
    await until(lambda: first_success_s(book, freed_s))
    await until(lambda: len(again.book) >= len(refused) + STREAMS + PER_S)
    await again.rest()
    await one.settled()
    found = account_for(one, key, book)
    assert found.statuses == {"succeeded": found.answered}
    assert found.refused == len(refused), "not one more since there was room"
    assert await one.stop() == 0
    for client in clients:
        client.close()
    print(f"full: {len(refused)} x 503, {STREAMS} streams ended whole; {found}")
