"""Publishes to the ledger what its scripts check: keys and the definitions of limits.

The record of both lies elsewhere (SQL); these are the enforced copies. Every call is one atomic write,
so it holds for the next request everywhere. Raises redis.RedisError when the server cannot be reached.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from budgets.limit import LimitTerms, check_terms
from budgets.names import names_of


class LedgerRows:
    """The writing side of the ledger's key and limit rows."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable

    def now_ms(self) -> int:
        """The ledger's clock."""
        seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def put_key(
        self,
        *,
        account_id: str,
        key_id: str,
        status: str,
        version: int,
        expires_ms: int | None,
        document_name: str,
        document: bytes,
    ) -> None:
        """What `open` checks of a key, and the document that callers read, in one step.

        A caller with another version is told that its copy is stale, and finds the document in force.
        """
        row = {"st": status, "ver": version, "exp": "" if expires_ms is None else expires_ms}
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(document_name, document)
        pipeline.hset(names_of(account_id).key + key_id, mapping=row)
        pipeline.execute()

    def put_limit(self, account_id: str, limit: LimitTerms, *, created_ms: int) -> None:
        """Define or change a limit. Counters stay: lowering a value below what is spent refuses, no more."""
        check_terms(limit)
        row = {
            "value": limit.value_nano,
            "kind": limit.kind,
            "enforcement": limit.enforcement,
            "version": limit.version,
            "window": limit.window,
            "created": created_ms,
        }
        self._redis.hset(names_of(account_id).limit + limit.id, mapping=row)

    def drop_limit(self, account_id: str, limit_id: str) -> None:
        """Forget a limit's definition. Its counters stay until they expire: open requests settle on them."""
        self._redis.delete(names_of(account_id).limit + limit_id)
