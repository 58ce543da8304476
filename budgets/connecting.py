"""Connecting to the ledger, whatever it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from budgets.address import addresses_of
from budgets.cluster import ClusterConnection
from budgets.connection import BACKOFF_FIRST_S, BACKOFF_MAX_S, RedisConnection
from budgets.greeting import shown
from budgets.scripts import ON_EVERY_REQUEST, Script
from budgets.seeds import FAULTS, first_of, introduce
from budgets.wire import LedgerUnavailable


async def connect_ledger(
    url: str,
    *,
    scripts: Sequence[Script] = ON_EVERY_REQUEST,
    timeout_ms: int = 1_000,
    patience_s: float = 10.0,
) -> RedisConnection | ClusterConnection:
    """A connection to what is behind the URL: one server (or a primary and its replicas), or a cluster.

    The first of the URL's servers that answers decides. Raises as `RedisConnection.connect`.
    """
    addresses = addresses_of(url)
    loop = asyncio.get_running_loop()
    end, backoff_s = loop.time() + patience_s, BACKOFF_FIRST_S
    while True:
        try:
            server = await first_of(introduce(address, timeout_ms / 1000) for address in addresses)
            break
        except FAULTS as error:
            if loop.time() + backoff_s > end:
                where = ", ".join(address.shown for address in addresses)
                reason = f"Redis at {where} cannot be used: {shown(error)}"
                raise LedgerUnavailable(reason, sent=False) from None
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
    kind = ClusterConnection if server.cluster else RedisConnection
    patience_s = max(0.0, end - loop.time())
    return await kind.connect(url, scripts=scripts, timeout_ms=timeout_ms, patience_s=patience_s)
