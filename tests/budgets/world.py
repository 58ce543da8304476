"""World: one account with one key, what a test needs to open and close requests and to look at counters."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import orjson
from redis.cluster import RedisCluster

from budgets.hold import Hold, Settled
from budgets.ledger import Lease, Ledger, LedgerConnection, Opened, Refused, Versions
from budgets.limit import Attribution, Limit, scope_key
from budgets.names import names_of
from budgets.rows import LedgerRows
from budgets.rowset import Row, place_of
from metering.event import CostEvent, encode

ACCOUNT = "default"
KEY = "key_1"
_ids = count()


@dataclass(frozen=True)
class Published:
    """A key as it is handed over to be published."""

    key_id: str
    status: str = "active"
    version: int = 1
    expires_ms: int | None = None
    document: bytes = b"{}"

    @property
    def document_name(self) -> str:
        return f"t2:key:{self.key_id}"


class World:
    """`of`: whom requests count for unless told otherwise. `limits`: what is checked, in one list."""

    def __init__(
        self,
        redis: Any,
        connection: LedgerConnection,
        *,
        owner: str = "w1",
        lease_ms: int = 30_000,
        account: str = ACCOUNT,
    ) -> None:
        self.redis = redis
        self.rows = LedgerRows(redis)
        self.account = account
        self.names = names_of(account)
        self.connection = connection
        self.ledger = Ledger(connection, owner=owner, lease_ms=lease_ms)
        self.limits: list[Limit] = []
        self.of = Attribution(account, KEY)
        self._editions: dict[tuple[Limit, ...], int] = {}

    @property
    def now_ms(self) -> int:
        """Redis' clock: the server runs on this machine."""
        return time.time_ns() // 1_000_000

    def make_whole(self, since_ms: int | None = None, *, run_id: str | None = None) -> None:
        since_ms = self.now_ms if since_ms is None else since_ms
        run_id = run_id or self.connection.run_id_for(self.names.meta)
        self.redis.hset(self.names.meta, mapping={"complete_since": since_ms, "run_id": run_id})

    def put_key(self, *, status: str = "active", version: int = 1, expires_ms: int | None = None) -> None:
        self.rows.put_key(self.account, Published(KEY, status, version, expires_ms))

    def limit(
        self,
        value: int,
        *,
        window: str = "month",
        enforcement: str = "hard",
        kind: str = "money",
        scope: str = "key",
        scope_id: str | None = None,
        **terms: Any,
    ) -> Limit:
        """Define and attach a limit; by default on money of the key."""
        if scope_id is None:
            scope_id = scope_key(scope, self.of)
        assert scope_id is not None
        limit = Limit(f"lim{next(_ids)}", scope, scope_id, window, kind, enforcement, value, **terms)
        self.set_value(limit, value)
        self.limits.append(limit)
        return limit

    def set_value(self, limit: Limit, value: int) -> None:
        self.redis.hset(self.names.limits, limit.id, value)

    def row(self, limit: Limit, of: Attribution | None = None) -> Row:
        """Where the limit's current row lies."""
        key = scope_key(limit.scope, of or self.of)
        assert key is not None
        return place_of(limit, key, self.account, self.now_ms)

    def counters(self, limit: Limit, of: Attribution | None = None) -> tuple[int, int, int]:
        """(spent, reserved, doubted) of the limit's current window."""
        row = self.row(limit, of)
        found = self.redis.hget(row.hash, row.field)
        return unpacked(found)

    def set_counters(
        self,
        limit: Limit,
        *,
        spent: int = 0,
        reserved: int = 0,
        doubted: int = 0,
        of: Attribution | None = None,
    ) -> None:
        row = self.row(limit, of)
        self.redis.hset(row.hash, row.field, struct.pack("<3q", spent, reserved, doubted))

    def versions(self) -> Versions:
        """A new version of the account's list whenever `limits` is another one."""
        edition = self._editions.setdefault(tuple(self.limits), len(self._editions) + 1)
        return Versions(1, edition)

    async def open(
        self,
        hold: Hold | int,
        *,
        request_id: str | None = None,
        of: Attribution | None = None,
        versions: Versions | None = None,
        now_ms: int | None = None,
        payload: bytes | None = None,
        again: bool = False,
    ) -> Opened | Refused:
        request_id = request_id or new_id()
        return await self.ledger.open(
            of=of or self.of,
            request_id=request_id,
            versions=versions or self.versions(),
            lists=(tuple(self.limits),),
            hold=Hold(hold, hold, hold) if isinstance(hold, int) else hold,
            payload=encode(CostEvent(id=request_id, key_id=KEY)) if payload is None else payload,
            now_ms=self.now_ms if now_ms is None else now_ms,
            again=again,
        )

    async def granted(self, hold: Hold | int, **options: Any) -> Opened:
        opened = await self.open(hold, **options)
        assert isinstance(opened, Opened), opened
        return opened

    async def refused(self, hold: Hold | int, **options: Any) -> Refused:
        refused = await self.open(hold, **options)
        assert isinstance(refused, Refused), refused
        return refused

    async def close(
        self, lease: Lease, spent: int = 0, doubted: int = 0, *, cost: int | None = None, **counts: int
    ) -> str:
        return await self.ledger.close(
            lease,
            Settled(spent, doubted, **counts),
            status="succeeded",
            event=event_bytes(lease.request_id, spent if cost is None else cost, doubted, self.account),
        )

    def outbox(self) -> list[dict[str, Any]]:
        entries = self.redis.xrange(self.names.outbox)
        return [orjson.loads(entry[b"e"]) for _, entry in entries if b"e" in entry]

    def notices(self) -> list[tuple[str, str, int, int, int]]:
        """(limit, row, percent, spent, value) of each crossing that was told."""
        return [
            (
                entry[b"limit"].decode(),
                entry[b"row"].decode(),
                int(entry[b"percent"]),
                int(entry[b"spent"]),
                int(entry[b"value"]),
            )
            for _, entry in self.redis.xrange(self.names.notices)
        ]


def new_id() -> str:
    return f"r{next(_ids)}-{os.getpid()}"


def unpacked(row: bytes | None) -> tuple[int, int, int]:
    """(spent, reserved, doubted) as a row holds them."""
    spent, reserved, doubted = struct.unpack("<3q", row) if row else (0, 0, 0)
    return spent, reserved, doubted


def event_bytes(request_id: str, cost_nano: int, doubted_nano: int = 0, account: str = ACCOUNT) -> bytes:
    return encode(
        CostEvent(
            id=request_id,
            account_id=account,
            key_id=KEY,
            cost_nano=cost_nano,
            doubted_nano=doubted_nano,
            cost_status="priced",
            started_ms=time.time_ns() // 1_000_000,
        )
    )


def refusal(
    reason: str, limit: Limit, value: int, spent: int, free: int, retry_ms: int | None = None
) -> Refused:
    """As the ledger tells it of a limit with one row."""
    return Refused(reason, limit, limit.id, value, spent, free, retry_ms)  # type: ignore[arg-type]


async def busy(world: World, hold: Hold | int) -> Refused:
    """A refusal that only others' holds are behind, without the moment at which the oldest lease ends."""
    refused = await world.refused(hold)
    assert refused.reason == "BUSY"
    assert refused.retry_ms is not None
    assert 0 <= refused.retry_ms <= 30_000
    return replace(refused, retry_ms=None)


def commands(redis: Any) -> dict[str, int]:
    """How often each command ran, on all servers."""
    ran: dict[str, int] = {}
    for stats in _everywhere(redis, "info", "commandstats"):
        for name, figures in stats.items():
            name = name.removeprefix("cmdstat_")
            ran[name] = ran.get(name, 0) + figures["calls"]
    return ran


def set_everywhere(redis: Any, name: str, value: str) -> None:
    """Set an option of every server."""
    _everywhere(redis, "config_set", name, value)


def _everywhere(redis: Any, command: str, *args: str) -> list[Any]:
    if not isinstance(redis, RedisCluster):
        return [getattr(redis, command)(*args)]
    answers: Any = getattr(redis, command)(*args, target_nodes="primaries")
    return list(answers.values()) if isinstance(answers, dict) else [answers]
