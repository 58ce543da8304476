"""The limit book: the record of limits of every scope, and their copy where requests are decided.

SQL is the record and is written first, but for a lowered value, which goes to the enforced copy first, so
that nothing is admitted between the two. A limit is known by its scope, kind and window. Changing its value
or enforcement keeps what it has counted; another time zone or anchor begins other windows, so it is then a
new limit that counts from now on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from accounts.enforcedcopy import EnforcedCopy
from accounts.key import KeyLimit
from accounts.publishing import ACCOUNT, Published, Publisher, has_customer_terms
from accounts.tables import (
    KEYS,
    LIMITS,
    KeyNotFound,
    held_by,
    key_and_below,
    limit_of,
    new_id,
    row_of,
    select_limits,
    touch,
)
from accounts.terms import holder_of
from metering.database import writing

Check = Callable[[KeyLimit], None]
"""Raises ValueError, naming what is wrong, for a limit that the ledger could not keep."""


@dataclass(frozen=True, slots=True)
class Change:
    """A limit as it is now set, and as it was before."""

    limit: KeyLimit
    before: KeyLimit | None

    @property
    def restarted(self) -> bool:
        """True when it replaced a limit with other windows, and what that one had counted is left behind."""
        return self.before is not None and self.before.id != self.limit.id


class LimitBook:
    """Limits of every scope. `engine` is on a migrated database; errors of SQL and of the copy are theirs.

    `check` judges a limit before it is recorded; the tables' own constraints are the last word.
    """

    def __init__(self, engine: Engine, copy: EnforcedCopy | None, check: Check | None = None) -> None:
        self._engine = engine
        self._publisher = Publisher(engine, copy)
        self._check = check

    def set(
        self,
        scope: str,
        scope_id: str,
        kind: str,
        window: str,
        value: int,
        *,
        account_id: str = ACCOUNT,
        enforcement: str | None = None,
        time_zone: str | None = None,
        anchor: int | None = None,
        thresholds: Sequence[int] | None = None,
    ) -> Change:
        """Set a limit. What is not told stays as it is; a new limit is hard, in UTC, anchored to the first
        day, and has no thresholds.

        `value`: nano-USD for the kind money, else a count. `scope_id` is `*` for a limit on each. Raises
        KeyNotFound for a key that the account does not have, ValueError for what cannot be a limit.
        """
        before = self._find(account_id, scope, scope_id, kind, window)
        unset = KeyLimit("", scope, scope_id, window, kind, "hard", value, version=0)

        def changed(before: KeyLimit | None) -> KeyLimit:
            was = before or unset
            return replace(
                was,
                value=value,
                version=was.version + 1,
                enforcement=was.enforcement if enforcement is None else enforcement,
                time_zone=was.time_zone if time_zone is None else time_zone,
                anchor=was.anchor if anchor is None else anchor,
                thresholds=was.thresholds if thresholds is None else tuple(thresholds),
            )

        after = changed(before)
        if self._check is not None:
            self._check(after)
        copy = self._publisher.copy
        if copy is not None and before is not None and _same_windows(before, after) and value < before.value:
            copy.put_limits(account_id, [after])
        with writing(self._engine) as connection:
            # Read again: from here on nobody else changes it.
            before = _find(connection, account_id, scope, scope_id, kind, window)
            after = changed(before)
            if before is None or not _same_windows(before, after):
                created_ms = self._publisher.now_ms(account_id)
                after = replace(after, id=new_id("lim_"), version=1, created_ms=created_ms)
            self._record(connection, account_id, before, after)
        self._publish(account_id, scope, scope_id)
        change = Change(after, before)
        if change.restarted and copy is not None and before is not None:
            copy.drop_limit(account_id, before.id)
        return change

    def clear(
        self, scope: str, scope_id: str, kind: str, window: str, *, account_id: str = ACCOUNT
    ) -> KeyLimit | None:
        """Take the limit away; None when there was none. Running requests still settle on its counters."""
        with writing(self._engine) as connection:
            limit = _find(connection, account_id, scope, scope_id, kind, window)
            if limit is not None:
                self._record(connection, account_id, limit, None)
        # Also when none is recorded: perhaps the copy could not be told when it was cleared.
        self._publish(account_id, scope, scope_id)
        if limit is not None and self._publisher.copy is not None:
            self._publisher.copy.drop_limit(account_id, limit.id)
        return limit

    def list(
        self,
        account_id: str = ACCOUNT,
        *,
        scope: str | None = None,
        scope_ids: Sequence[str] | None = None,
        customer: str | None = None,
    ) -> list[KeyLimit]:
        """The account's limits, the oldest first: all, or those of a scope, or those on these of its ids, or
        those of one customer, its workspaces and its use of features.
        """
        query = select_limits().where(LIMITS.c.account_id == account_id)
        if customer is not None:
            query = query.where(held_by(account_id, "customer", [customer]))
        if scope is not None:
            query = query.where(LIMITS.c.scope == scope)
        if scope_ids is not None:
            query = query.where(LIMITS.c.scope_id.in_(scope_ids))
        with self._engine.connect() as connection:
            return [limit_of(row) for row in connection.execute(query)]

    def publish_all(self) -> Published:
        """Copy everything recorded, keys too, to the enforced copy: at a start, or after it was lost."""
        return self._publisher.publish_all()

    def _record(
        self, connection: Connection, account_id: str, before: KeyLimit | None, after: KeyLimit | None
    ) -> None:
        """Write the change of one limit, and make copies stale of every list that it changes."""
        limit = after or before
        assert limit is not None
        had_customers = has_customer_terms(connection, account_id)
        if before is not None and after is not None and before.id == after.id:
            row = row_of(account_id, after)
            connection.execute(sa.update(LIMITS).where(LIMITS.c.id == after.id).values(row))
            if replace(after, value=before.value, version=before.version) == before:
                return  # workers need not know: the value in force is not theirs
        else:
            if before is not None:
                connection.execute(sa.delete(LIMITS).where(LIMITS.c.id == before.id))
            if after is not None:
                connection.execute(sa.insert(LIMITS).values(row_of(account_id, after)))
        holder, holder_id = holder_of(account_id, limit.scope, limit.scope_id)
        if holder == "key":
            mine = sa.and_(key_and_below(holder_id), KEYS.c.account_id == account_id)
            bumped = sa.update(KEYS).where(mine).values(version=KEYS.c.version + 1)
            if not connection.execute(bumped).rowcount:
                raise KeyNotFound(f"no key has the id {holder_id!r}")
        if holder == "customer":
            touch(connection, account_id, holder_id)
        if holder == "account" or has_customer_terms(connection, account_id) != had_customers:
            touch(connection, account_id)

    def _publish(self, account_id: str, scope: str, scope_id: str) -> None:
        """Bring the document up to the record in which a limit on this is published."""
        holder, holder_id = holder_of(account_id, scope, scope_id)
        self._publisher.publish(
            account_id,
            key_id=holder_id if holder == "key" else None,
            customer=holder_id if holder == "customer" else None,
        )

    def _find(self, account_id: str, scope: str, scope_id: str, kind: str, window: str) -> KeyLimit | None:
        with self._engine.connect() as connection:
            return _find(connection, account_id, scope, scope_id, kind, window)


def _find(
    connection: Connection, account_id: str, scope: str, scope_id: str, kind: str, window: str
) -> KeyLimit | None:
    query = select_limits().where(
        LIMITS.c.account_id == account_id,
        LIMITS.c.scope == scope,
        LIMITS.c.scope_id == scope_id,
        LIMITS.c.kind == kind,
        LIMITS.c.window_kind == window,
    )
    row = connection.execute(query).first()
    return None if row is None else limit_of(row)


def _same_windows(one: KeyLimit, other: KeyLimit) -> bool:
    return (one.time_zone, one.anchor) == (other.time_zone, other.anchor)
