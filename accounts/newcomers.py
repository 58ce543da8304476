"""Newcomers: customers and features that nobody has recorded and that a reported event names.

They are recorded in the transaction that stores the event, so that no event is of a customer that is not
there; copies for requests are made afterwards (`Publisher.publish_customers`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from accounts.feature import check_feature
from accounts.plantables import CUSTOMERS, FEATURES, registered_of
from accounts.tables import CUSTOMER_TERMS, touch
from metering.statement import among, insert_into, listed, written

AUTO_CREATED = "event_auto_created"
"""The source of what an event has made. Of what somebody recorded it is `manual`."""


@dataclass(frozen=True, slots=True)
class Newcomers:
    """What was recorded now. `first`: the account had no customers before, so its own document changes."""

    customers: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    first: bool = False


def add_newcomers(
    connection: Connection,
    account_id: str,
    customers: Collection[str],
    features: Collection[str],
    now_ms: int,
) -> Newcomers:
    """Record those of these that nobody has; inside a transaction that holds the write lock."""
    known = registered_of(connection, account_id, list(customers))
    new = tuple(sorted(set(customers) - known))
    first = False
    if new:
        anyone = sa.select(CUSTOMERS.c.customer).where(CUSTOMERS.c.account_id == account_id).limit(1)
        first = not known and connection.scalar(anyone) is None
        rows = [(account_id, name, "", now_ms, AUTO_CREATED) for name in new]
        connection.exec_driver_sql(_ADD_CUSTOMER.on(connection), rows)
        connection.exec_driver_sql(_TOUCH.on(connection), [(account_id, name, 1) for name in new])
        if first:
            touch(connection, account_id)  # from now on customers' documents must be asked for
    return Newcomers(new, _add_features(connection, account_id, features), first)


def _add_features(connection: Connection, account_id: str, features: Collection[str]) -> tuple[str, ...]:
    """A new feature is switched on, as one that nobody recorded is, so no document changes."""
    names = [name for name in features if _can_be(name)]
    known = set(_KNOWN_FEATURES.run(connection, (account_id, listed(connection, names))).scalars())
    new = tuple(sorted(set(names) - known))
    if new:
        rows = [(account_id, name, "", 1, AUTO_CREATED) for name in new]
        connection.exec_driver_sql(_ADD_FEATURE.on(connection), rows)
    return new


def _can_be(feature: str) -> bool:
    """Whether a feature can be recorded so; events may carry names that no plan could."""
    try:
        check_feature(feature)
    except ValueError:
        return False
    return True


def _row(table: Table) -> dict[str, sa.BindParameter[object]]:
    return {column.name: sa.bindparam(column.name) for column in table.columns}


_KNOWN_FEATURES = written(
    lambda engine: sa.select(FEATURES.c.feature).where(
        FEATURES.c.account_id == sa.bindparam("of_account"), among(engine, FEATURES.c.feature)
    )
)
_ADD_CUSTOMER = written(lambda engine: insert_into(engine, CUSTOMERS).values(_row(CUSTOMERS)).inline())
_ADD_FEATURE = written(lambda engine: insert_into(engine, FEATURES).values(_row(FEATURES)).inline())
_TOUCH = written(
    lambda engine: (
        insert_into(engine, CUSTOMER_TERMS)
        .values(_row(CUSTOMER_TERMS))
        .on_conflict_do_update(
            index_elements=list(CUSTOMER_TERMS.primary_key.columns),
            set_={"version": CUSTOMER_TERMS.c.version + sa.literal_column("1")},
        )
        .inline()
    )
)
