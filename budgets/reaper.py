"""Ends reservations whose holder vanished, in two passes, so that no clock can make it end a live one.

Pass one notes every expired lease and its heartbeat count. Pass two, at least one heartbeat interval later
on this process' monotonic clock, ends those whose count has not moved; the script checks that once more
(the fence). What the vanished worker knew last becomes the event: its estimate is spent, and the rest of
its hold is doubted, because the true cost lies between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import NoScriptError

from budgets.ledger import MARKER_MS
from budgets.names import ShardNames, all_shards, names_on
from budgets.scripts import CLOSE
from metering.event import CostEvent, EventError, decode, encode

LEASES_PER_PASS = 1_000
"""Expired leases looked at on one shard in one pass; the rest waits for the next."""

_FIELDS = ("held", "hb", "ck", "at", "rows", "payload")
_NO_HEARTBEAT = b"0"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sighting:
    """An expired lease as first seen: its heartbeat count, and our monotonic clock."""

    heartbeats: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Orphan:
    """An open record whose holder is gone."""

    heartbeats: bytes
    checkpoint_nano: int
    held_nano: int
    opened_ms: int
    rows: tuple[str, ...]
    payload: bytes


class Reaper:
    """One suffices for all shards; two do no harm, since every end is fenced and happens once.

    `redis` is a client that gives bytes (decode_responses off).
    """

    def __init__(self, redis: Redis, *, heartbeat_ms: int) -> None:
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
        seconds, micros = self._redis.time()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        shards = [names_on(shard) for shard in all_shards()]
        pipeline = self._redis.pipeline(transaction=False)
        for names in shards:
            pipeline.zrangebyscore(names.leases, "-inf", now_ms, start=0, num=LEASES_PER_PASS)
        found = [
            (names, request_id.decode())
            for names, expired in zip(shards, pipeline.execute(), strict=True)
            for request_id in expired
        ]
        pipeline = self._redis.pipeline(transaction=False)
        for names, request_id in found:
            pipeline.hmget(names.open + request_id, "held", "hb")
        replies = pipeline.execute(raise_on_error=False) if found else []
        open_still = []
        for (names, request_id), reply in zip(found, replies, strict=True):
            if isinstance(reply, Exception):
                if not str(reply).startswith("WRONGTYPE"):
                    raise reply
                self._redis.zrem(names.leases, request_id)  # a closed request's marker
            elif reply[0] is None:
                self._redis.zrem(names.leases, request_id)  # no record at all
            else:
                open_still.append((names, request_id, reply[1] or _NO_HEARTBEAT))
        return open_still

    def _end(self, names: ShardNames, request_id: str, heartbeats: bytes) -> bool:
        values = self._redis.hmget(names.open + request_id, *_FIELDS)
        if values[0] is None or (values[1] or _NO_HEARTBEAT) != heartbeats:
            return False  # it ended or moved since; the next pass sees which
        orphan = Orphan(
            heartbeats=heartbeats,
            checkpoint_nano=int(values[2] or 0),
            held_nano=int(values[0]),
            opened_ms=int(values[3]),
            rows=tuple(values[4].decode().split()) if values[4] else (),
            payload=values[5],
        )
        event, spent_nano, doubted_nano = orphan_event(request_id, orphan, self._now_ms())
        keys = (names.open + request_id, names.leases, names.outbox, names.meta, *orphan.rows)
        args = (
            request_id,
            spent_nano,
            doubted_nano,
            event.status,
            MARKER_MS,
            encode(event),
            orphan.heartbeats,
            orphan.opened_ms,
        )
        return bool(self._close(keys, args) == b"ok")

    def _close(self, keys: tuple[str, ...], args: tuple[Any, ...]) -> Any:
        try:
            return self._redis.evalsha(CLOSE.sha, len(keys), *keys, *args)
        except NoScriptError:
            return self._redis.eval(CLOSE.source, len(keys), *keys, *args)

    def _now_ms(self) -> int:
        seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000


def orphan_event(request_id: str, orphan: Orphan, now_ms: int) -> tuple[CostEvent, int, int]:
    """The event of a request whose holder vanished, with the money to spend and to doubt. Pure.

    The estimate is the greater of the payload's and the last checkpoint. A payload that cannot be read
    still gives an event, with the id and the money, because the hold has to end in one.
    """
    try:
        event = decode(orphan.payload)
    except EventError as error:
        _log.error("orphan_payload_unreadable", request_id=request_id, reason=str(error))
        event = CostEvent(id=request_id, started_ms=orphan.opened_ms)
    estimate = max(event.cost_nano or 0, orphan.checkpoint_nano)
    doubted = max(0, orphan.held_nano - estimate) if orphan.rows else 0
    if estimate or event.cost_nano is not None:
        event.cost_nano = estimate
        event.cost_status = "estimated"
    event.id = request_id
    event.status = "orphaned"
    event.outcome = "unknown"
    event.closed_by = "reaper"
    event.cost_upper_nano = max(estimate, orphan.held_nano)
    event.held_nano = orphan.held_nano
    event.doubted_nano = doubted
    event.ended_ms = now_ms
    return event, estimate, doubted
