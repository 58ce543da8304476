"""Makes an empty or doubtful shard of the ledger whole again, from what is recorded.

A shard knows all that was spent since `complete_since`. Where that is missing (a new server, a flush, a
restart that is not trusted) `open` answers COLD, until `seed_ledger` has written the counters of every
current window: what the event store counts, what the outbox holds beyond it, and the holds of requests
whose open records are still there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from budgets.limit import AMOUNT_MAX, LimitTerms
from budgets.names import RETENTION_MS, ShardNames, names_of
from budgets.scripts import SEED
from budgets.window import window_at
from metering.event import CostEvent, EventError, decode

SpentOf = Callable[[LimitTerms, int, int], tuple[int, int]]
"""(limit, start_ms, end_ms) -> recorded (spent, doubted) nano-USD of requests started in that span."""
RecordedOf = Callable[[Sequence[str]], Collection[str]]
"""Event ids -> those of them that the event store already has."""

LOCK_MS = 3_000
"""Renewed with each sum. It spares double work only (the script decides once), so one that a killed process
leaves must not keep the ledger away for long."""
ATTEMPTS_MAX = 50
"""Sums are made anew when a request ends meanwhile; a busy shard needs a few rounds."""

_IF_OURS = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call({}) end return 0"
_RENEW = _IF_OURS.format("'PEXPIRE', KEYS[1], ARGV[2]")
_UNLOCK = _IF_OURS.format("'DEL', KEYS[1]")


class SeedError(Exception):
    """The shard could not be made whole; the text says why."""


def distrust_restarted(redis: Redis, account_id: str) -> bool:
    """Take back `complete_since` if the server is not the run that the shard was seeded on.

    A server that came back may have lost its last writes (a power cut, a failover): what it holds is then
    to be compared with what is recorded. True when the shard now needs seeding.
    """
    client: Any = redis
    names = names_of(account_id)
    since, seeded_on = client.hmget(names.meta, "complete_since", "run_id")
    if since is None:
        return True
    if _text(seeded_on) == _run_id(client):
        return False
    client.hdel(names.meta, "complete_since")
    return True


def seed_ledger(
    redis: Redis,
    account_id: str,
    limits: Sequence[LimitTerms],
    spent_of: SpentOf,
    *,
    recorded_of: RecordedOf | None = None,
) -> bool:
    """Write the counters of every limit's current window and set `complete_since`; False if it was whole.

    `limits` are all limits of the account, already published. `recorded_of` keeps an outbox entry from
    being counted twice while a recorder runs; without it, entries in the outbox are taken as not recorded.
    Only one process seeds a shard at a time. Raises SeedError when another one is at it, or when requests
    end faster than sums can be made; redis.RedisError.
    """
    client: Any = redis
    names = names_of(account_id)
    if client.hexists(names.meta, "complete_since"):
        return False
    token = secrets.token_hex(16)
    if not client.set(names.seeding, token, nx=True, px=LOCK_MS):
        raise SeedError(f"another process is making shard {names.shard} whole; try again")
    try:
        for _ in range(ATTEMPTS_MAX):
            client.eval(_RENEW, 1, names.seeding, token, LOCK_MS)
            answer = _seed_once(client, names, limits, spent_of, recorded_of)
            if answer in (b"SEEDED", b"WHOLE"):
                return bool(answer == b"SEEDED")
    finally:
        client.eval(_UNLOCK, 1, names.seeding, token)
    raise SeedError(
        f"requests on shard {names.shard} end faster than their sums can be made; stop traffic first"
    )


def _seed_once(
    client: Any,
    names: ShardNames,
    limits: Sequence[LimitTerms],
    spent_of: SpentOf,
    recorded_of: RecordedOf | None,
) -> bytes:
    seconds, micros = client.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    last_id, waiting = _outbox(client, names)
    ids = [event.id for event in waiting]
    recorded = frozenset(recorded_of(ids)) if recorded_of else frozenset()
    keys = [names.meta, names.leases, names.outbox]
    args: list[Any] = [_run_id(client), last_id, names.open, RETENTION_MS]
    waiting_of: dict[str | None, list[CostEvent]] = {}
    for event in waiting:
        if event.id not in recorded:
            waiting_of.setdefault(event.key_id, []).append(event)
    for limit, created_ms in zip(limits, _created(client, names, limits), strict=True):
        window = window_at(limit.window, now_ms)
        # A limit counts from its making, here as everywhere: what was spent before was not under it.
        start_ms = max(window.start_ms, min(created_ms, window.end_ms))
        spent, doubted = spent_of(limit, start_ms, window.end_ms)
        for event in waiting_of.get(limit.scope_id, ()):
            if start_ms <= event.started_ms < window.end_ms:
                spent += event.cost_nano or 0
                doubted += event.doubted_nano
        if max(spent, doubted) > AMOUNT_MAX or min(spent, doubted) < 0:
            raise SeedError(
                f"limit {limit.id}: {spent} spent, {doubted} doubted nano-USD cannot be counted exactly"
            )
        keys.append(f"{names.limit}{limit.id}:{window.id}")
        args += (spent, doubted, window.end_ms)
    if recorded_of and frozenset(recorded_of(ids)) != recorded:
        return b"AGAIN"  # the recorder moved an event while we summed
    answer: bytes = client.eval(SEED.source, len(keys), *keys, *args)
    return answer


def _outbox(client: Any, names: ShardNames) -> tuple[str, list[CostEvent]]:
    """The stream's last id, and the events it still holds, each once."""
    try:
        last_id = _text(client.xinfo_stream(names.outbox)["last-generated-id"])
    except ResponseError:
        return "0-0", []  # no such stream: nothing has ended on this shard yet
    events: dict[str, CostEvent] = {}
    for _, entry in client.xrange(names.outbox, "-", last_id):
        try:
            event = decode(entry[b"e"])
        except (EventError, KeyError):
            continue  # the recorder reports it; it names no money that could be counted
        events.setdefault(event.id, event)
    return last_id, list(events.values())


def _created(client: Any, names: ShardNames, limits: Sequence[LimitTerms]) -> list[int]:
    pipeline = client.pipeline(transaction=False)
    for limit in limits:
        pipeline.hget(names.limit + limit.id, "created")
    return [int(created or 0) for created in pipeline.execute()]


def _run_id(client: Any) -> str:
    return _text(client.info("server")["run_id"])


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
