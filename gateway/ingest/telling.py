"""Telling: the reports of one request, told with one key, one after the other. Pure.

What is the same for all of them (what the key is bound to, says by default, and may speak for) is settled
once, and their ids are made together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.key import KeyRecord
from gateway.admission import attribute
from gateway.attribution import Headers, HeaderTable
from gateway.ingest.making import Report, make_report
from gateway.ingest.pricing import Pricer
from gateway.ingest.reported import Reported
from metering.ids import new_ids


class Telling:
    """At most `count` reports of one key; `table`: which attribution must be told here."""

    def __init__(self, key: KeyRecord, pricer: Pricer, table: HeaderTable, count: int, now_ms: int) -> None:
        self._key = key
        self._pricer = pricer
        self._table = table
        self._now_ms = now_ms
        self._ids = iter(new_ids(count))
        defaults = (key.customer or key.default_customer, key.feature or key.default_feature)
        self._defaults = defaults if any(each is not None for each in defaults) else None
        # Whom a key may speak for depends on customer and feature alone, unless more must be told.
        self._each = bool(table.required or key.required)
        self._allowed: set[tuple[str, str]] = set()

    def with_own_names(self, item: Mapping[str, Any], customer: str, feature: str) -> Mapping[str, Any]:
        """The event with what its key is bound to, or says by default, under these names where it says
        none."""
        if self._defaults is None:
            return item
        added = {
            name: value
            for name, value in zip((customer, feature), self._defaults, strict=True)
            if value is not None and item.get(name) is None
        }
        return {**item, **added} if added else item

    def report(self, reported: Reported) -> Report:
        """The report, if the key may speak for whom it is of. Raises Forbidden, BadRequest, Refused."""
        pair = (reported.customer, reported.feature)
        if self._each or pair not in self._allowed:
            self._attribute(reported)
            self._allowed.add(pair)
        key = self._key
        return make_report(
            reported,
            self._pricer,
            event_id=next(self._ids),
            account_id=key.account_id,
            key_id=key.id,
            now_ms=self._now_ms,
        )

    def _attribute(self, reported: Reported) -> None:
        """As it is for a request whose headers say the same."""
        found = Headers()
        found.customer, found.feature = reported.customer, reported.feature
        found.workspace, found.user = reported.workspace, reported.user
        found.task_id, found.trace_id = reported.task, reported.trace
        found.properties = dict(reported.properties)
        attribute(self._key, found, self._table, {})
