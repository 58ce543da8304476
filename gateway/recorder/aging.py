"""Removing single events for their age, where `recorder.retention_days` asks for it, beside recording.

Sums of limits that count for a lifetime begin when the limit was made, which may be at noon, and charges by
period when a customer came on its plan: the days of such moments stay exact (metering.retention). Every
recorder looks after it; what one has removed the others find removed.
"""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa
import structlog

from accounts.tables import LIMITS
from billing.chargebook import borders_of
from metering.database import DatabaseError, Where, open_database
from metering.eventstore import EventStore, Removed, StoreUnavailable

FIRST_S, EVERY_S = 60.0, 3_600.0
DAY_MS = 86_400_000

_log = structlog.get_logger(component="aging")


class Aging:
    """Keeps single events for `days` days; None keeps them for good."""

    def __init__(self, database: Where, days: int | None) -> None:
        self._database = database
        self._days = days

    def run(self, stop: threading.Event) -> None:
        """Look once an hour, until `stop` is set. A database that is away is asked again at the next look."""
        wait_s = FIRST_S
        while self._days is not None and not stop.wait(wait_s):
            wait_s = EVERY_S
            try:
                removed = self.pass_once(time.time_ns() // 1_000_000, stop)
            except (DatabaseError, StoreUnavailable) as error:
                _log.warning("database_unavailable", reason=str(error))
                continue
            if removed is not None and removed.events:
                _log.info("events_removed", events=removed.events, before_ms=removed.complete_since_ms)

    def pass_once(self, now_ms: int, stop: threading.Event) -> Removed | None:
        """Remove what is too old now. Raises DatabaseError or StoreUnavailable."""
        if self._days is None:
            return None
        before_ms = now_ms - self._days * DAY_MS
        moments = _sums_begin(self._database, before_ms)
        store = EventStore(self._database, create=False)
        try:
            return store.remove_events(before_ms, moments, stopped=stop.is_set)
        finally:
            store.close()


def _sums_begin(database: Where, before_ms: int) -> list[int]:
    """When limits were made that count for a lifetime, and where charges by period begin inside of hours."""
    engine = open_database(database, create=False)
    try:
        with engine.connect() as connection:
            query = sa.select(LIMITS.c.created_ms).where(LIMITS.c.window_kind == "lifetime").distinct()
            return [*connection.scalars(query), *borders_of(connection, before_ms)]
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(str(error.orig)) from error
    finally:
        engine.dispose()
