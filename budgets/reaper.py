"""Ends reservations whose holder vanished, in two passes, so that no clock can make it end a live one.

Pass one notes every expired lease and its heartbeat count. Pass two, at least one heartbeat interval later
on this process' monotonic clock, ends those whose count has not moved; the script checks that once more
(the fence). What the vanished worker knew last becomes the event: its estimate is spent, and on hard limits
the rest of its hold is doubted, because the true cost lies between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from budgets.client import SyncClient, clock_us
from budgets.closing import close_call
from budgets.names import ShardNames, all_shards, names_on
from budgets.orphan import Orphan, orphan_event
from budgets.running import run_script
from budgets.scripts import CLOSE
from metering.event import encode

LEASES_PER_PASS = 1_000
"""Expired leases looked at on one shard in one pass; the rest waits for the next."""

_FIELDS = ("held", "hb", "ck", "at", "rows", "meters", "payload")
_NO_HEARTBEAT = b"0"


@dataclass(frozen=True, slots=True)
class _Sighting:
    """An expired lease as first seen: its heartbeat count, and our monotonic clock."""

    heartbeats: bytes
    at_ms: int


class Reaper:
    """One suffices for all shards; two do no harm, since every end is fenced and happens once.

    `redis` is a client of a server or of a cluster that gives bytes (decode_responses off).
    """

    def __init__(self, redis: SyncClient, *, heartbeat_ms: int) -> None:
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable
        # Half an interval more than needed: after an outage a live worker may be late by its reconnection.
        self._patience_ms = heartbeat_ms + heartbeat_ms // 2
        self._seen: dict[tuple[str, str], _Sighting] = {}

    def pass_once(self, monotonic_ms: int) -> list[str]:
        """Look over all shards once; returns the ids of the requests that were ended now.

        To be called every few seconds with a clock that never steps. Raises redis.RedisError; the next
        pass goes on where this one stopped.
        """
        ended: list[str] = []
        seen: dict[tuple[str, str], _Sighting] = {}
        for names, request_id, heartbeats in self._expired():
            place = (names.shard, request_id)
            sighting = self._seen.get(place)
            if sighting is None or sighting.heartbeats != heartbeats:
                seen[place] = _Sighting(heartbeats, monotonic_ms)
            elif monotonic_ms - sighting.at_ms < self._patience_ms:
                seen[place] = sighting
            elif self._end(names, request_id, heartbeats):
                ended.append(request_id)
        self._seen = seen
        return ended

    def _expired(self) -> list[tuple[ShardNames, str, bytes]]:
        """Open requests whose lease has ended, with their heartbeat counts."""
        found = list(self._expired_leases())
        if not found:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for names, request_id in found:
            pipeline.hmget(names.open + request_id, "held", "hb")
        open_still = []
        for (names, request_id), reply in zip(found, pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(reply, Exception):
                if not _is_marker(reply):
                    raise reply
                self._redis.zrem(names.leases, request_id)  # a closed request's marker
            elif reply[0] is None:
                self._redis.zrem(names.leases, request_id)  # no record at all
            else:
                open_still.append((names, request_id, reply[1] or _NO_HEARTBEAT))
        return open_still

    def _expired_leases(self) -> Iterator[tuple[ShardNames, str]]:
        """By the clock of the server that holds them, which is asked only where anything runs."""
        shards = [names_on(shard) for shard in all_shards()]
        pipeline = self._redis.pipeline(transaction=False)
        for names in shards:
            pipeline.zrange(names.leases, 0, 0, withscores=True)
        running = [
            (names, oldest[0][1]) for names, oldest in zip(shards, pipeline.execute(), strict=True) if oldest
        ]
        for names, earliest_ms in running:
            now_ms = clock_us(self._redis, names.leases) // 1_000
            if earliest_ms > now_ms:
                continue
            for request_id in self._redis.zrangebyscore(
                names.leases, "-inf", now_ms, start=0, num=LEASES_PER_PASS
            ):
                yield names, request_id.decode()

    def _end(self, names: ShardNames, request_id: str, heartbeats: bytes) -> bool:
        try:
            values = self._redis.hmget(names.open + request_id, *_FIELDS)
        except ResponseError as error:
            if not _is_marker(error):
                raise
            return False  # it ended since we looked first
        if values[0] is None or (values[1] or _NO_HEARTBEAT) != heartbeats:
            return False  # it ended or moved since; the next pass sees which
        orphan = Orphan.of_record(request_id, names.shard, values)
        now_ms = clock_us(self._redis, names.leases) // 1_000
        event, settled = orphan_event(request_id, orphan, now_ms)
        keys, args = close_call(
            request_id,
            orphan.rows,
            settled,
            status=event.status,
            event=encode(event),
            at_ms=orphan.opened_ms,
            fence=orphan.heartbeats.decode(),
        )
        return bool(self._close(keys, args) == b"ok")

    def _close(self, keys: list[Any], args: list[Any]) -> Any:
        return run_script(self._redis, CLOSE, keys, args)


def _is_marker(error: Exception) -> bool:
    """Whether this says that the record is a closed request's marker: a string, not a hash."""
    return str(error).startswith("WRONGTYPE")
