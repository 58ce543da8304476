"""How the ledger's keys in Redis are called. Pure.

Every name carries a version (`t2:`), so that an older and a newer gateway can share a server, and a shard
tag (`{00}`..`{63}`), so that everything one script touches lies in one slot of a cluster.

t2:{NN}:meta               hash    complete_since (ms, Redis time), run_id (of the server when it was made
                                   whole), seeder (who makes it so) and published:<who> (for which run keys
                                   and limits were put in force): gone with the memory they speak of,
                                   unsure (an end came to light that its rows may lack), ver:<account id>
                                   (version of the account's list of limits)
t2:{NN}:key:<key id>       hash    st (active|revoked), ver, exp (ms or empty)
t2:{NN}:account:<account>  string  the account's list of limits, JSON
t2:{NN}:customer:<account>:<customer>
                           hash    ver, doc: the customer's own list, JSON; absent where it never had one
t2:{NN}:plan:<account>:<plan>@<version>
                           string  a version of a plan, JSON; never changes
t2:{NN}:limits             hash    limit id -> its value in force (nano-USD or a count), decimal; also
                                   <plan>@<version>/<rule> and <subscription>/<rule>, and of what accumulates
                                   acc:<end of the window>:<for whom>:<row>
t2:{NN}:accrued            hash    row -> the last window of what accumulates: its end, value, and what of it
                                   had been carried over
t2:{NN}:w:<window id>      hash    counters of one window: row -> spent, reserved, doubted, each a signed
                                   64-bit integer, little-endian; !<row> -> highest threshold told.
                                   Expires 40 days after the window's end
t2:{NN}:now                hash    the same for limits on concurrency, where only reserved moves
t2:{NN}:trace:<account>:<trace>
                           hash    the same for all limits on one trace, also those on rates and concurrency;
                                   expires 40 days after its last request
t2:{NN}:rates              hash    rows of rates: row -> theoretical arrival time (us, Redis time), decimal
t2:{NN}:open:<request id>  hash    owner, held (an amount for each meter, spaced), meters, rows, at, payload,
                                   after a heartbeat hb, ck;
                           string  the status for 10 minutes after the close
t2:{NN}:leases             zset    request id -> end of the lease (ms, Redis time)
t2:{NN}:outbox             stream  e = one closed request's cost event, a = an adjustment of one, or c = what
                                   recorded events have been counted (budgets.batch)
t2:{NN}:notices            stream  account, limit, row, percent, spent, value, at: a threshold was crossed
t2:{NN}:adjusted:<adjustment id>, t2:{NN}:counted:<batch id>
                           string  the marker of one that has been counted, for 7 days
t2:{NN}:dead               stream  reason, entry (its id in the outbox), then the entry's own fields
t2:{NN}:seeding            string  token of the one process that makes the shard whole

A row is called like its limit, or `<limit id>:<scope key>` where each thing of a scope has its own.
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
    base: str
    meta: str
    key: str
    account: str
    customer: str
    limits: str
    window: str
    now: str
    trace: str
    rates: str
    open: str
    leases: str
    outbox: str
    notices: str
    dead: str
    seeding: str


@lru_cache(maxsize=SHARDS)
def names_on(shard: str) -> ShardNames:
    """The names on this shard."""
    base = f"t2:{{{shard}}}:"
    return ShardNames(
        shard=shard,
        base=base,
        meta=f"{base}meta",
        key=f"{base}key:",
        account=f"{base}account:",
        customer=f"{base}customer:",
        limits=f"{base}limits",
        window=f"{base}w:",
        now=f"{base}now",
        trace=f"{base}trace:",
        rates=f"{base}rates",
        open=f"{base}open:",
        leases=f"{base}leases",
        outbox=f"{base}outbox",
        notices=f"{base}notices",
        dead=f"{base}dead",
        seeding=f"{base}seeding",
    )


@lru_cache(maxsize=4_096)
def names_of(account_id: str) -> ShardNames:
    """The names on the account's shard."""
    return names_on(shard_of(account_id))
