"""What running requests hold on rows, by their open records: to compare with what the rows say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from budgets.drift import Place
from budgets.names import ShardNames
from budgets.rowset import read_record
from budgets.running import run_script
from budgets.scripts import REHOLD

RECORDS_AT_ONCE = 500
OPEN_MAX = 1_000
"""Open requests of a shard up to which holds are counted in one step: each takes the server about 6 us."""
ROWS_AT_ONCE = 500
_RATES = frozenset("qk")


def held_by_open(redis: Any, names: ShardNames) -> dict[Place, int]:
    """The sum of holds on each row. Requests come and go while it is made, so it is a hint, no more."""
    held: dict[Place, int] = {}
    ids = redis.zrange(names.leases, 0, -1)
    for start in range(0, len(ids), RECORDS_AT_ONCE):
        pipeline = redis.pipeline(transaction=False)
        for request_id in ids[start : start + RECORDS_AT_ONCE]:
            pipeline.hmget(names.open + request_id.decode(), "rows", "held", "meters")
        for record in pipeline.execute(raise_on_error=False):
            if not isinstance(record, Exception):
                for place, amount in _holds(names.shard, record):
                    held[place] = held.get(place, 0) + amount
    return held


def _holds(shard: str, record: Sequence[bytes | None]) -> list[tuple[Place, int]]:
    rows, amounts, meters = record
    if not rows or amounts is None or meters is None:
        return []
    try:
        found = read_record(shard, rows.decode(), meters.decode())
        of_meter: Mapping[str, int] = dict(zip(found.meters, map(int, amounts.split()), strict=True))
        return [
            ((found.hashes[ord(found.shape[3 * at]) - 48], field), of_meter[found.shape[3 * at + 1]])
            for at, field in enumerate(found.fields)
            if found.shape[3 * at + 1] not in _RATES
        ]
    except (ValueError, IndexError, KeyError):
        return []  # the reaper reports it when it comes to that


def set_holds(redis: Any, names: ShardNames, places: Sequence[Place]) -> dict[Place, int] | None:
    """Set what these rows say is reserved to what open records hold; by how much each was too high.

    None when more requests run than can be counted in one step without holding the server up.
    """
    surplus: dict[Place, int] = {}
    for start in range(0, len(places), ROWS_AT_ONCE):
        batch = places[start : start + ROWS_AT_ONCE]
        keys = (names.leases, *(name for name, _ in batch))
        args = (names.base, names.open, OPEN_MAX, *(field for _, field in batch))
        answer = run_script(redis, REHOLD, keys, args)
        if answer is None:
            return None
        surplus.update(zip(batch, map(int, answer), strict=True))
    return surplus
