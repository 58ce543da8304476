"""Limits with what is spent, reserved and doubted on them, for people to read.

A limit that names one thing has one row. A limit on each thing of a scope has a row for everything that has
been used in its window, and `read_each` finds those that are used most.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from budgets.client import SyncClient, clock_us
from budgets.limit import RATE_KINDS, LimitTerms, names_one
from budgets.limitusage import ROW, EachUsage, LimitUsage, usage_of
from budgets.names import names_of
from budgets.rowset import Row, place_of

BATCH = 1_000
"""How many rows one command asks for."""


def read_usage(redis: SyncClient, account_id: str, limits: Sequence[LimitTerms]) -> list[LimitUsage]:
    """Each of these limits, which name one thing each, in the order given. Raises redis.RedisError."""
    return read_rows(redis, account_id, [(limit, limit.scope_id) for limit in limits])


def read_rows(
    redis: SyncClient, account_id: str, wanted: Sequence[tuple[LimitTerms, str]]
) -> list[LimitUsage]:
    """The row of each limit for a scope key of its scope, in the order given. Raises redis.RedisError."""
    client: Any = redis
    now_us = clock_us(redis, names_of(account_id).meta)
    places = [place_of(limit, key, account_id, now_us // 1_000) for limit, key in wanted]
    found = _fields(client, [(place.hash, place.field) for place in places])
    values = _values(client, account_id, places)
    return [
        usage_of(place, key, value, content, now_us)
        for place, (_, key), value, content in zip(places, wanted, values, found, strict=True)
    ]


def read_each(
    redis: SyncClient, account_id: str, limit: LimitTerms, *, rows_max: int | None = None
) -> EachUsage:
    """A limit on each thing of a scope, with the `rows_max` rows of which least remains, or with all.

    Walks over all rows that lie where the limit's do (over all names, for traces), in small steps that do
    not hold the server up. Raises ValueError for a limit that names one thing; redis.RedisError.
    """
    if names_one(limit):
        raise ValueError(f"limit {limit.id} is on one {limit.scope}, not on each")
    client: Any = redis
    now_us = clock_us(redis, names_of(account_id).meta)
    place = place_of(limit, "", account_id, now_us // 1_000)
    (value,) = _values(client, account_id, [place])
    contents = dict(_contents(client, account_id, limit, place))  # a walk may come over a row twice
    usages = [usage_of(place, key, value, content, now_us) for key, content in contents.items()]
    used = [usage for usage in usages if usage.remaining != usage.value]
    most = len(used) if rows_max is None else rows_max
    rows = heapq.nsmallest(most, used, key=lambda usage: (usage.remaining, usage.key))
    in_force = limit.value if value is None else value
    return EachUsage(limit, place.window, in_force, value is not None, tuple(rows), len(used))


def _contents(client: Any, account_id: str, limit: LimitTerms, place: Row) -> Iterator[tuple[str, bytes]]:
    """Scope key and content of every row of a limit on each."""
    prefix = f"{limit.id}:"
    if limit.scope == "trace":  # each trace's rows lie apart
        start = f"{names_of(account_id).trace}{account_id}:"
        names = client.scan_iter(match=f"{_literal(start)}*", count=BATCH)
        traces = [name.decode().removeprefix(start) for name in names]
        found = _fields(client, [(start + trace, prefix + trace) for trace in traces])
        yield from ((trace, content) for trace, content in zip(traces, found, strict=True) if content)
        return
    for field, content in client.hscan_iter(place.hash, match=f"{_literal(prefix)}*", count=BATCH):
        # What is told of thresholds stands beside the row, and is no row.
        if len(content) == ROW.size or limit.kind in RATE_KINDS:
            yield field.decode().removeprefix(prefix), content


def _values(client: Any, account_id: str, places: Sequence[Row]) -> list[int | None]:
    """The values in force."""
    name = names_of(account_id).limits
    found = _fields(client, [(name, place.value_field) for place in places])
    return [None if value is None else int(value) for value in found]


def _fields(client: Any, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
    """The content of fields of hashes of one shard, in the order given, in few commands."""
    by_hash: dict[str, list[int]] = {}
    for at, (name, _) in enumerate(places):
        by_hash.setdefault(name, []).append(at)
    asked = [
        (name, positions[start : start + BATCH])
        for name, positions in by_hash.items()
        for start in range(0, len(positions), BATCH)
    ]
    found: list[bytes | None] = [None] * len(places)
    for first in range(0, len(asked), BATCH):
        pipeline = client.pipeline(transaction=False)
        for name, positions in asked[first : first + BATCH]:
            pipeline.hmget(name, [places[at][1] for at in positions])
        for (_, positions), contents in zip(asked[first : first + BATCH], pipeline.execute(), strict=True):
            for at, content in zip(positions, contents, strict=True):
                found[at] = content
    return found


def _literal(text: str) -> str:
    """The text as a pattern that fits it alone."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in text)


__all__ = ["EachUsage", "LimitUsage", "read_each", "read_rows", "read_usage"]
