"""Healing as the recorder's process does it: it joins the ledger, the record of limits, and that of events.

The database may be away, or be another one by now. A ledger that was compared with another database than the
one that requests are recorded in would be wronged, so a pass counts only while the path leads to the file
that was opened, or the server has not been started anew; and no database is ever made here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Select

from accounts.limitbook import LimitBook
from accounts.publishing import ACCOUNT, plan_values
from accounts.tables import KEYS, LIMITS
from budgets.client import SyncClient
from budgets.counted import LimitIndex
from budgets.healer import GRACE_S, Healer, HealerCounters
from budgets.movements import Spilled
from budgets.reconcile import Reconciler
from budgets.rows import LedgerRows
from gateway.planmeters import plans_state, recorded_meters
from gateway.recorder.spill import FOLDER
from gateway.recorder.spilled import SpilledDocuments
from metering.database import DatabaseError, Where, identity, is_busy, open_database, shown
from metering.eventstore import EventStore, StoreUnavailable
from metering.statement import EngineName, whole_sum, written

RECONCILE_EVERY_S = 60.0
NIGHTLY_HOUR = 3
BUSY_MS = 500
"""Publishing needs the write lock; who waits for it heals nothing meanwhile."""
ACCOUNTS_EVERY_S = 1.0
"""How often new accounts are looked for; less often where that takes long."""
ACCOUNTS_SHARE = 200


class RecordedTerms:
    """Accounts and their limits as SQL has them; read anew only when they have changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._book = LimitBook(engine, None)
        self._accounts: list[str] = []
        self._accounts_until = 0.0
        self._indexes: dict[str, tuple[tuple[object, ...], LimitIndex]] = {}

    def accounts(self) -> Sequence[str]:
        """Every account that has keys or limits, and the one that every installation has."""
        began = time.monotonic()
        if began >= self._accounts_until:
            with self._engine.connect() as connection:
                found = {ACCOUNT}
                for table in (KEYS, LIMITS):
                    last: str | None = ""
                    least = sa.func.min(table.c.account_id)
                    while last is not None:  # from account to account along the index, not over all rows
                        last = connection.scalar(sa.select(least).where(table.c.account_id > last))
                        found.update([last] if last is not None else ())
            self._accounts = sorted(found)
            now = time.monotonic()
            self._accounts_until = now + max(ACCOUNTS_EVERY_S, ACCOUNTS_SHARE * (now - began))
        return self._accounts

    def index(self, account_id: str, connection: Connection | None = None) -> LimitIndex:
        """All limits of the account as they are now, those of plans too. `connection`: one that is open on
        the database, to look with whether any has changed."""
        with self._engine.connect() if connection is None else nullcontext(connection) as open_one:
            state = tuple(_STATE.run(open_one, (account_id,)).one()) + plans_state(open_one, account_id)
        known = self._indexes.get(account_id)
        if known is None or known[0] != state:
            limits = self._book.list(account_id)
            with self._engine.connect() as connection:
                meters = recorded_meters(connection, account_id)
                values = plan_values(connection, account_id)
            known = self._indexes[account_id] = (state, LimitIndex(account_id, limits, meters, values))
        return known[1]


class Healing:
    """Opens what a healer needs, at the first pass and again after each failure, and keeps its counters.

    `spill_folder`: where a recorder of this machine keeps what it could not store; by default beside the
    database's file.
    """

    def __init__(
        self,
        redis: SyncClient,
        database: Where,
        *,
        grace_s: float = GRACE_S,
        reconcile_every_s: float = RECONCILE_EVERY_S,
        nightly_hour: int = NIGHTLY_HOUR,
        spill_folder: Path | None = None,
    ) -> None:
        self.counters = HealerCounters()
        self._redis = redis
        self._database = database
        self._grace_s = grace_s
        self._reconcile_every_s = reconcile_every_s
        self._nightly_hour = nightly_hour
        if spill_folder is None:
            assert isinstance(database, Path), "a database on a server is in no directory"
            spill_folder = database.parent / FOLDER
        self._spilled = spilled_in(spill_folder)
        self._opened: _Opened | None = None

    def pass_once(self, monotonic_ms: int) -> None:
        """Do what can be done now; to be called often. Raises redis.RedisError, StoreUnavailable."""
        try:
            self._healer().pass_once(monotonic_ms)
        except sa.exc.DBAPIError as error:
            if not is_busy(error):
                self.close()
            raise StoreUnavailable(str(error.orig)) from error
        except (StoreUnavailable, DatabaseError) as error:
            self.close()
            raise StoreUnavailable(str(error)) from error

    def close(self) -> None:
        """Close the database; the next pass opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _healer(self) -> Healer:
        opened = self._opened
        if opened is not None and opened.identity != identity(self._database, opened.engine):
            self.close()
        if self._opened is None:
            if identity(self._database) is None:
                raise StoreUnavailable(f"{shown(self._database)}: No such file or directory")
            engine = open_database(self._database, create=False, patience_ms=BUSY_MS)
            present = identity(self._database, engine)
            store = EventStore(self._database, create=False)
            reconciler = Reconciler(
                self._redis,
                store,
                every_s=self._reconcile_every_s,
                nightly_hour=self._nightly_hour,
                spilled=self._spilled,
                counters=self.counters.reconcile,
            )
            healer = Healer(
                self._redis,
                store,
                RecordedTerms(engine),
                LimitBook(engine, LedgerRows(self._redis)).publish_all,
                grace_s=self._grace_s,
                spilled=self._spilled,
                reconciler=reconciler,
                counters=self.counters,
            )
            self._opened = _Opened(present, engine, store, healer)
        return self._opened.healer


class _Opened:
    """What is open for one database."""

    def __init__(self, identity: object, engine: Engine, store: EventStore, healer: Healer) -> None:
        self.identity = identity
        self.healer = healer
        self.engine = engine
        self._store = store

    def close(self) -> None:
        self._store.close()
        self.engine.dispose()


def spilled_in(folder: Path) -> Spilled:
    """What waits in the folder's segments."""
    found = SpilledDocuments(folder)
    return Spilled(found.events, found.adjustments, found.state, found.batches)


def _state(_engine: EngineName) -> Select[Any]:
    """What differs when the account's limits do."""
    found = sa.select(sa.func.count(), whole_sum(LIMITS.c.version), sa.func.max(LIMITS.c.created_ms))
    return cast("Select[Any]", found.where(LIMITS.c.account_id == sa.bindparam("of_account")))


_STATE = written(_state)
