"""Publishes to the ledger what its scripts check: keys, lists of limits, and the values of limits.

The record of all lies elsewhere (SQL); these are the enforced copies. What a call writes holds for the next
request everywhere when it returns, and every command touches one shard only, so that a cluster takes them
unchanged. Raises redis.RedisError when the server cannot be reached.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from budgets.client import SyncClient, clock_us
from budgets.limit import LimitTerms, check_terms
from budgets.names import RETENTION_MS, all_shards, names_of, names_on, shard_of
from budgets.rowset import ACCRUED

BATCH = 1_000
"""How many commands or fields go to the server at once."""
_PUT_ACCOUNT = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])"


class KeyTerms(Protocol):
    """What `open` checks of a key, and the document that callers read, under a name of its own."""

    @property
    def key_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def expires_ms(self) -> int | None: ...
    @property
    def document_name(self) -> str: ...
    @property
    def document(self) -> bytes: ...


class LedgerRows:
    """The writing side of what the ledger checks. `redis` is a client of a server or of a cluster."""

    def __init__(self, redis: SyncClient) -> None:
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable

    def now_ms(self, account_id: str) -> int:
        """The clock of the server on which the account lives."""
        return clock_us(self._redis, names_of(account_id).meta) // 1_000

    def put_key(self, account_id: str, key: KeyTerms) -> None:
        """What `open` checks of a key, and the document that callers read.

        A caller with an older version is told that its copy is stale, and finds the document in force. That
        is found by a secret alone, so it lies on a shard of its own and is written first: until the row
        follows, callers of the newer document are as good as those of the older one.
        """
        self._redis.set(key.document_name, key.document)
        self._redis.hset(names_of(account_id).key + key.key_id, mapping=_key_row(key))

    def put_keys(self, account_id: str, keys: Sequence[KeyTerms]) -> None:
        """Many keys of an account, in a few round trips."""
        prefix = names_of(account_id).key
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            pipeline = self._redis.pipeline(transaction=False)
            for key in batch:
                pipeline.set(key.document_name, key.document)
            pipeline.execute()
            for key in batch:
                pipeline.hset(prefix + key.key_id, mapping=_key_row(key))
            pipeline.execute()

    def put_former(self, documents: Sequence[tuple[str, bytes, int]]) -> None:
        """Documents under other names: (name, document, the moment (ms) at which it goes)."""
        for start in range(0, len(documents), BATCH):
            pipeline = self._redis.pipeline(transaction=False)
            for name, document, ends_ms in documents[start : start + BATCH]:
                pipeline.set(name, document, pxat=ends_ms)
            pipeline.execute()

    def drop_documents(self, names: Sequence[str]) -> None:
        """Forget documents. Each is a command of its own: they lie on shards of their own."""
        for name in names:
            self._redis.delete(name)

    def put_limits(self, account_id: str, limits: Sequence[LimitTerms]) -> None:
        """Put the values of limits in force. Counters stay: a value below what is spent refuses, no more.

        Raises ValueError, before anything is written, for a limit that could not be kept exactly.
        """
        values = {}
        for limit in limits:
            try:
                check_terms(limit)
            except ValueError as error:
                raise ValueError(f"limit {limit.id}: {error}") from None
            values[limit.id] = limit.value
        name = names_of(account_id).limits
        fields = list(values)
        for start in range(0, len(fields), BATCH):
            self._redis.hset(name, mapping={field: values[field] for field in fields[start : start + BATCH]})

    def put_plans(self, account_id: str, documents: Mapping[str, bytes], values: Mapping[str, int]) -> None:
        """Versions of plans, by their labels, and the values that they name. They never change again."""
        self.put_values(account_id, values)
        prefix = f"{names_of(account_id).base}plan:{account_id}:"
        pipeline = self._redis.pipeline(transaction=False)
        for label, document in documents.items():
            pipeline.set(prefix + label, document)
        pipeline.execute()

    def put_values(self, account_id: str, values: Mapping[str, int]) -> None:
        """Put values in force that plans and customers on them name."""
        name = names_of(account_id).limits
        fields = list(values)
        for start in range(0, len(fields), BATCH):
            self._redis.hset(name, mapping={field: values[field] for field in fields[start : start + BATCH]})

    def drop_limit(self, account_id: str, limit_id: str) -> None:
        """Forget a limit's value. Its counters stay until they expire: open requests settle on them."""
        self._redis.hdel(names_of(account_id).limits, limit_id)

    def keep_limits(self, kept: Mapping[str, Iterable[str]]) -> int:
        """Forget every value on every shard but those of these limits of each account; returns how many.

        Values of windows, which are made here alone, are forgotten with the counters of their window.
        """
        known: dict[str, set[str]] = {shard: set() for shard in all_shards()}
        for account_id, ids in kept.items():
            known[shard_of(account_id)].update(ids)
        dropped = 0
        expired_ms = time.time_ns() // 1_000_000 - RETENTION_MS
        for shard, ids in known.items():
            name = names_on(shard).limits
            gone = [
                field
                for field, _ in self._redis.hscan_iter(name, count=BATCH)
                if field.decode() not in ids and not _counts_on(field, expired_ms)
            ]
            for start in range(0, len(gone), BATCH):
                dropped += self._redis.hdel(name, *gone[start : start + BATCH])
        return dropped

    def put_account(self, account_id: str, version: int, document: bytes) -> None:
        """The account's list of limits and its version, in one step."""
        names = names_of(account_id)
        self._redis.eval(
            _PUT_ACCOUNT, 2, names.account + account_id, names.meta, document, f"ver:{account_id}", version
        )

    def put_customers(self, account_id: str, lists: Sequence[tuple[str, int, bytes]]) -> None:
        """Lists of customers' own limits: (customer, version, document), each in one step."""
        prefix = f"{names_of(account_id).customer}{account_id}:"
        for start in range(0, len(lists), BATCH):
            pipeline = self._redis.pipeline(transaction=False)
            for customer, version, document in lists[start : start + BATCH]:
                pipeline.hset(prefix + customer, mapping={"ver": version, "doc": document})
            pipeline.execute()


def _counts_on(field: bytes, expired_ms: int) -> bool:
    """Whether this is the value of a window whose counters are still there."""
    prefix, _, rest = field.partition(b":")
    ends = rest.partition(b":")[0]
    return prefix + b":" == ACCRUED.encode() and ends.isdigit() and int(ends) > expired_ms


def _key_row(key: KeyTerms) -> dict[str, Any]:
    return {"st": key.status, "ver": key.version, "exp": "" if key.expires_ms is None else key.expires_ms}
