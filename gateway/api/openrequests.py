"""Requests that run now, as the ledger knows them: an account's open records, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from budgets.client import SyncClient
from budgets.names import names_of
from metering.event import CostEvent, EventError, decode

BATCH = 200
"""Open records read at once."""
MONEY = "m"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One open record: its event as far as it is known, what is held for it, and what it has cost so far."""

    event: CostEvent
    held_nano: int
    known_nano: int


def open_requests(redis: SyncClient, account_id: str, before: str | None = None) -> Iterator[OpenRequest]:
    """The account's open requests by id, newest first, those older than `before`. Raises RedisError.

    Each batch is read when it is asked for; who ended meanwhile is left out.
    """
    client: Any = redis
    names = names_of(account_id)
    ids: list[str] = sorted((each.decode() for each in client.zrange(names.leases, 0, -1)), reverse=True)
    if before is not None:
        ids = [each for each in ids if each < before]
    for start in range(0, len(ids), BATCH):
        pipeline = client.pipeline(transaction=False)
        for request_id in ids[start : start + BATCH]:
            pipeline.hmget(names.open + request_id, "held", "meters", "ck", "payload")
        # Of a request that has ended there is a string for a while, which is no record.
        for record in pipeline.execute(raise_on_error=False):
            found = None if isinstance(record, Exception) else _read(record)
            if found is not None and found.event.account_id == account_id:
                yield found


def _read(record: Sequence[bytes | None]) -> OpenRequest | None:
    held, meters, known, payload = record
    if not payload:
        return None
    try:
        event = decode(payload)
    except EventError:
        return None
    amounts = dict(zip((meters or MONEY.encode()).decode(), (held or b"").split(), strict=False))
    return OpenRequest(event, int(amounts.get(MONEY, 0)), int(known or 0))
