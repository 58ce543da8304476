"""The profile book: the record of what is known of customers, and of their workspaces.

Requests are not decided by it, so nothing of it is published. Who has a profile is recorded as a customer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Select, Table, Text

from accounts.plantables import CUSTOMERS, PlanNotFound
from accounts.profile import UNKNOWN, Profile, Workspace
from metering.database import writing
from metering.statement import EngineName, listed, written
from metering.statement import among as is_among

_metadata = MetaData()
PROFILES = Table(
    "customer_profiles",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("customer", Text, primary_key=True),
    Column("email", Text),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("phone", Text),
    Column("address", Text),
    Column("stripe_id", Text),
    Column("internal", BigInteger),
    Column("archived_ms", BigInteger),
)
WORKSPACES = Table(
    "workspaces",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("customer", Text, primary_key=True),
    Column("workspace", Text, primary_key=True),
    Column("name", Text),
    Column("created_ms", BigInteger),
    Column("archived_ms", BigInteger),
)


class WorkspaceExists(Exception):
    """The customer has a workspace of this name."""


class ProfileBook:
    """Profiles and workspaces of one account. `engine` is on a migrated database; errors of SQL are its."""

    def __init__(self, engine: Engine, account_id: str) -> None:
        self._engine = engine
        self._account = account_id

    def linked_with(self, stripe_id: str) -> list[str]:
        """Customers that are this one at Stripe; two of them suffice to say that it is not clear which."""
        query = sa.select(PROFILES.c.customer).where(
            PROFILES.c.account_id == self._account, PROFILES.c.stripe_id == stripe_id
        )
        with self._engine.connect() as connection:
            return list(connection.scalars(query.order_by(PROFILES.c.customer).limit(2)))

    def profiles(self, customers: Sequence[str]) -> dict[str, Profile]:
        """Of these customers, those of which something is known."""
        query = sa.select(PROFILES).where(
            PROFILES.c.account_id == self._account, PROFILES.c.customer.in_(customers)
        )
        with self._engine.connect() as connection:
            return {row.customer: _profile(row) for row in connection.execute(query)}

    def profile(self, customer: str) -> Profile:
        """What is known of the customer."""
        return self.profiles([customer]).get(customer, UNKNOWN)

    def put_profile(self, customer: str, profile: Profile) -> None:
        """Record it. Raises PlanNotFound for a customer that nobody has recorded."""
        mine = {"account_id": self._account, "customer": customer}
        values: dict[str, Any] = asdict(profile) | {"internal": int(profile.internal)}
        where = (PROFILES.c.account_id == self._account, PROFILES.c.customer == customer)
        with writing(self._engine) as connection:
            self._check_recorded(connection, customer)
            if not connection.execute(sa.update(PROFILES).where(*where).values(**values)).rowcount:
                connection.execute(sa.insert(PROFILES).values(**mine, **values))

    def workspaces(
        self, customer: str, *, after: str = "", limit: int = 100, archived: bool | None = None
    ) -> list[Workspace]:
        """The customer's workspaces by name, those after this one; archived ones, the others, or both."""
        query = sa.select(WORKSPACES).where(
            WORKSPACES.c.account_id == self._account,
            WORKSPACES.c.customer == customer,
            WORKSPACES.c.workspace > after,
        )
        if archived is not None:
            is_so = WORKSPACES.c.archived_ms.is_not(None)
            query = query.where(is_so if archived else sa.not_(is_so))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(WORKSPACES.c.workspace).limit(limit))
            return [_workspace(row) for row in rows]

    def workspace(self, customer: str, workspace: str) -> Workspace:
        """One of them. Raises PlanNotFound."""
        with self._engine.connect() as connection:
            row = connection.execute(self._one(customer, workspace)).first()
        if row is None:
            raise PlanNotFound("no such workspace")
        return _workspace(row)

    def add_workspace(self, workspace: Workspace) -> None:
        """Record one. Raises PlanNotFound for a customer that nobody has recorded, WorkspaceExists."""
        with writing(self._engine) as connection:
            self._check_recorded(connection, workspace.customer)
            if connection.execute(self._one(workspace.customer, workspace.workspace)).first() is not None:
                raise WorkspaceExists
            row = asdict(workspace) | {"account_id": self._account}
            connection.execute(sa.insert(WORKSPACES).values(**row))

    def change_workspace(self, workspace: Workspace) -> None:
        """Record its name, and whether it is archived. Raises PlanNotFound."""
        where = (
            WORKSPACES.c.account_id == self._account,
            WORKSPACES.c.customer == workspace.customer,
            WORKSPACES.c.workspace == workspace.workspace,
        )
        values = {"name": workspace.name, "archived_ms": workspace.archived_ms}
        with writing(self._engine) as connection:
            if not connection.execute(sa.update(WORKSPACES).where(*where).values(**values)).rowcount:
                raise PlanNotFound("no such workspace")

    def _one(self, customer: str, workspace: str) -> sa.Select[Any]:
        return sa.select(WORKSPACES).where(
            WORKSPACES.c.account_id == self._account,
            WORKSPACES.c.customer == customer,
            WORKSPACES.c.workspace == workspace,
        )

    def _check_recorded(self, connection: Connection, customer: str) -> None:
        query = sa.select(CUSTOMERS.c.customer).where(
            CUSTOMERS.c.account_id == self._account, CUSTOMERS.c.customer == customer
        )
        if connection.execute(query).first() is None:
            raise PlanNotFound("no such customer")


def recorded_names(
    connection: Connection, account_id: str, *, after: str, limit: int, archived: bool | None
) -> list[str]:
    """Names of recorded customers in order, those after this one: archived ones, the others, or both."""
    query = sa.select(CUSTOMERS.c.customer).where(
        CUSTOMERS.c.account_id == account_id, CUSTOMERS.c.customer > after
    )
    if archived is not None:
        is_so = (
            sa.select(PROFILES.c.customer)
            .where(
                PROFILES.c.account_id == account_id,
                PROFILES.c.customer == CUSTOMERS.c.customer,
                PROFILES.c.archived_ms.is_not(None),
            )
            .exists()
        )
        query = query.where(is_so if archived else sa.not_(is_so))
    return list(connection.scalars(query.order_by(CUSTOMERS.c.customer).limit(limit)))


def archived_among(connection: Connection, account_id: str, names: Sequence[str]) -> set[str]:
    """Those of the customers that are archived."""
    query = sa.select(PROFILES.c.customer).where(
        PROFILES.c.account_id == account_id,
        PROFILES.c.customer.in_(names),
        PROFILES.c.archived_ms.is_not(None),
    )
    return set(connection.scalars(query))


def internal_customers(
    connection: Connection, account_id: str, among: Collection[str] | None = None
) -> frozenset[str]:
    """Customers of which it was said that they are the operator's own use, whatever their names; of all, or
    of these."""
    if among is None:
        found = _INTERNAL.run(connection, (account_id,))
    else:
        found = _INTERNAL_AMONG.run(connection, (account_id, listed(connection, among)))
    return frozenset(found.scalars())


def _profile(row: Any) -> Profile:
    return Profile(
        row.email,
        row.first_name,
        row.last_name,
        row.phone,
        row.address,
        row.stripe_id,
        bool(row.internal),
        row.archived_ms,
    )


def _workspace(row: Any) -> Workspace:
    return Workspace(row.customer, row.workspace, row.name, row.created_ms, row.archived_ms)


def _internal(_engine: EngineName) -> Select[Any]:
    return sa.select(PROFILES.c.customer).where(
        PROFILES.c.account_id == sa.bindparam("of_account"), PROFILES.c.internal == sa.literal_column("1")
    )


_INTERNAL = written(_internal)
_INTERNAL_AMONG = written(lambda engine: _internal(engine).where(is_among(engine, PROFILES.c.customer)))
