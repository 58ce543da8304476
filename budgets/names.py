"""How the ledger's keys in Redis are called. Pure.

Every name carries a version (`t1:`), so that an older and a newer gateway can share a server, and a shard
tag (`{00}`..`{63}`), so that everything one script touches lies in one slot of a cluster.

t1:{NN}:meta                    hash    complete_since (ms, Redis time), run_id
t1:{NN}:key:<key id>            hash    st (active|revoked), ver, exp (ms or empty)
t1:{NN}:limit:<id>              hash    value, kind, enforcement, version, window, created (ms)
t1:{NN}:limit:<id>:<window id>  hash    spent, reserved, doubted; expires 40 days after its window
t1:{NN}:open:<request id>       hash    owner, rows (names of counters, spaced), held (on each
                                        of them), at, payload, after a heartbeat hb, ck;
                                string  the status for 10 minutes after the close
t1:{NN}:leases                  zset    request id -> end of the lease (ms, Redis time)
t1:{NN}:outbox                  stream  e = one closed request's cost event
t1:{NN}:seeding                 string  token of the one process that makes the shard whole
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

SHARDS = 64
RETENTION_MS = 40 * 86_400_000
"""How long counters outlive their window: a month's late corrections and a look back still find them."""


def shard_of(account_id: str) -> str:
    """The two digits of the shard on which everything of this account lives."""
    return f"{crc32(account_id.encode()) % SHARDS:02d}"


def all_shards() -> tuple[str, ...]:
    """Every shard, in order: what a reaper or recorder walks over."""
    return tuple(f"{number:02d}" for number in range(SHARDS))


@dataclass(frozen=True, slots=True)
class ShardNames:
    """The names on one shard; prefixes end with their colon."""

    shard: str
    meta: str
    leases: str
    outbox: str
    seeding: str
    key: str
    limit: str
    open: str


@lru_cache(maxsize=SHARDS)
def names_on(shard: str) -> ShardNames:
    """The names on this shard."""
    base = f"t1:{{{shard}}}:"
    return ShardNames(
        shard=shard,
        meta=f"{base}meta",
        leases=f"{base}leases",
        outbox=f"{base}outbox",
        seeding=f"{base}seeding",
        key=f"{base}key:",
        limit=f"{base}limit:",
        open=f"{base}open:",
    )


@lru_cache(maxsize=4_096)
def names_of(account_id: str) -> ShardNames:
    """The names on the account's shard."""
    return names_on(shard_of(account_id))
