"""Calls that the gateway made itself and has not recorded yet: who reports one under the id that it was
answered with reports it a second time, however soon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError

from budgets.client import SyncClient
from budgets.names import names_of
from gateway.ingest.making import Report


class Calls:
    """Asks the ledger, which knows a call from its opening until ten minutes after its end; the record knows
    it by then."""

    def __init__(self, redis: SyncClient) -> None:
        self._redis: Any = redis  # redis-py types every reply as maybe awaitable

    def own(self, reports: Sequence[Report]) -> set[str]:
        """Those of the reports' keys that are ids of such calls. Nothing where the ledger cannot be asked:
        then it has answered no call that is not recorded, but for those in journals."""
        asked = [report for report in reports if report.key is not None and _is_id(report.key)]
        found: set[str] = set()
        try:
            for report in asked:
                assert report.key is not None
                if self._redis.exists(names_of(report.event.account_id).open + report.key):
                    found.add(report.key)
        except RedisError:
            return set()
        return found


def _is_id(key: str) -> bool:
    """Whether a request of ours can have this id (metering.ids)."""
    if len(key) != 36 or key[14] != "7":
        return False
    try:
        return str(UUID(key)) == key
    except ValueError:
        return False
