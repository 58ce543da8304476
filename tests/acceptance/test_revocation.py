"""A key is revoked while its clients are at it: nothing is admitted from then on, whatever still runs."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from .audit import audit
from .client import Answer, Client
from .conftest import Install
from .installation import until

CLIENTS, STREAMS = 40, 12
LIMIT_NANO = 10**10


def document(tokens: int, pace_ms: float, *, stream: bool) -> dict[str, Any]:
    """A request for an answer of so many tokens."""
    return {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "What is the capital of Mexico?"}],
        "max_completion_tokens": 2 * tokens,
        "stream": stream,
        "metadata": {"simulate": f"tokens={tokens} pace_ms={pace_ms}"},
    }


async def test_no_paid_call_is_forwarded_after_revoke_has_returned(install: Install) -> None:
    # No heartbeat falls into the test, and no stream ends before it.
    one = await install(ledger="{timeout_ms: 20000, heartbeat_ms: 300000, lease_ms: 600000}")
    key, other = one.key(LIMIT_NANO), one.key(LIMIT_NANO)
    port, simulator = one.port, one.simulator
    told: list[tuple[float, Answer]] = []  # when asked, and what was answered
    revoked = asyncio.Event()

    async def insist() -> None:
        """Ask and ask, on a connection that is kept, and a few times more after the key is revoked."""
        client = Client(port, key.secret)
        left = 3
        while left:
            left -= revoked.is_set()
            asked = monotonic()
            told.append((asked, await client.ask(document(4, 3, stream=False))))
        client.close()

    watchers = [Client(port, key.secret) for _ in range(STREAMS)]
    streaming = [asyncio.create_task(each.ask(document(4_000, 60, stream=True))) for each in watchers]
    insisting = [asyncio.create_task(insist()) for _ in range(CLIENTS)]
    await until(lambda: simulator.open()["streams"] >= STREAMS and len(told) >= 5 * CLIENTS)
    code, said = await one.command("keys", "revoke", key.id)
    returned = monotonic()
    revoked.set()
    # Whoever was admitted before is open still, or waits in the outbox, or is stored: looked at in the order
    # in which a request passes, so that none slips through.
    admitted = one.open_ids()
    admitted |= {event.id for event in one.outbox()}
    admitted |= {event.id for event in one.events()}
    assert code == 0, said
    assert key.id in said
    seen = [watcher.received for watcher in watchers]
    await asyncio.gather(*insisting)
    await until(lambda: all(now.received > then for now, then in zip(watchers, seen, strict=True)))
    assert simulator.open()["streams"] == STREAMS, "cut by the next heartbeat, not at once"
    for task, watcher in zip(streaming, watchers, strict=True):
        task.cancel()
        watcher.close()
    await asyncio.wait(streaming)
    await one.settled()

    before = [answer for asked, answer in told if asked < returned]
    after = [answer for asked, answer in told if asked >= returned]
    assert sum(answer.status == 200 for answer in before) >= 5 * CLIENTS
    assert len(after) >= 3 * CLIENTS
    assert {(answer.status, answer.code) for answer in after} == {(401, "invalid_api_key")}
    assert {answer.status for answer in before} <= {200, 401}
    billed = {entry["id"] for entry in simulator.bill()["requests"]}
    assert billed
    assert billed <= admitted
    assert not billed & {answer.request_id for answer in after}
    figures = audit(one, key, [answer for _, answer in told])
    assert figures.statuses["cancelled"] == STREAMS

    # The other key knows nothing of it.
    client = Client(port, other.secret)
    assert (await client.ask(document(4, 0, stream=False))).status == 200
    client.close()
    assert await one.stop() == 0
    print(f"{len(before)} asked before revoke had returned; {len(after)} after, none forwarded; {figures}")
