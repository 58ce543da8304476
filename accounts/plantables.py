"""The SQL tables of features, plans and customers, as metering/migrations leave them, and their
rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text

from accounts.featureprices import FeaturePrice, FeaturePrices
from accounts.plan import PlanVersion
from accounts.policy import Policy
from accounts.subscription import Deal, Overrides, Paying, Subscription
from metering.statement import EngineName, among, listed, written

_metadata = MetaData()
_AT_ONCE = 1_000
"""Rows that are fetched together where there may be many."""

FEATURES = Table(
    "features",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("feature", Text, primary_key=True),
    Column("name", Text),
    Column("enabled", BigInteger),
    Column("source", Text),
)

PLANS = Table(
    "plans",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("plan", Text, primary_key=True),
    Column("version", BigInteger),
    Column("archived", BigInteger),
)

PLAN_VERSIONS = Table(
    "plan_versions",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("plan", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("document", Text),
    Column("created_ms", BigInteger),
)

CUSTOMERS = Table(
    "customers",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("customer", Text, primary_key=True),
    Column("name", Text),
    Column("created_ms", BigInteger),
    Column("source", Text),
)

SUBSCRIPTIONS = Table(
    "subscriptions",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text),
    Column("customer", Text),
    Column("plan", Text),
    Column("version", BigInteger),
    Column("starts_ms", BigInteger),
    Column("ends_ms", BigInteger),
    Column("anchor", BigInteger),
    Column("overrides", Text),
    Column("created_ms", BigInteger),
    Column("price_nano", BigInteger),
    Column("quantity", BigInteger),
    Column("discount_ppm", BigInteger),
    Column("anchor_month", BigInteger),
    Column("grace_days", BigInteger),
    Column("payment_method", Text),
)

SUBSCRIPTION_CHANGES = Table(
    "subscription_changes",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("changes", BigInteger),
)

FEATURE_PRICES = Table(
    "feature_prices",
    _metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("account_id", Text),
    Column("feature", Text),
    Column("effective_ms", BigInteger),
    Column("price_pico", BigInteger),
    Column("unit_label", Text),
    Column("created_ms", BigInteger),
)

CUSTOMER_POLICIES = Table(
    "customer_policies",
    _metadata,
    Column("account_id", Text, primary_key=True),
    Column("unknown", Text),
    Column("unnamed", Text),
    Column("plan", Text),
)


def subscription_order(engine: EngineName) -> sa.ColumnClause[int]:
    """What grows from one recorded subscription to the next."""
    return sa.literal_column("subscriptions.seq" if engine == "postgresql" else "subscriptions.rowid")


class PlanNotFound(LookupError):
    """There is no such plan, version or customer; the text says which."""


def find_plan(connection: Connection, account_id: str, plan: str, version: int | None = None) -> PlanVersion:
    """A version of a plan, by default the latest. Raises PlanNotFound."""
    if version is None:
        where = (PLANS.c.account_id == account_id, PLANS.c.plan == plan)
        version = connection.scalar(sa.select(PLANS.c.version).where(*where))
        if version is None:
            raise PlanNotFound(f"no plan is called {plan!r}")
    document = connection.scalar(
        sa.select(PLAN_VERSIONS.c.document).where(
            PLAN_VERSIONS.c.account_id == account_id,
            PLAN_VERSIONS.c.plan == plan,
            PLAN_VERSIONS.c.version == version,
        )
    )
    if document is None:
        raise PlanNotFound(f"the plan {plan!r} has no version {version}")
    return PlanVersion.from_document(document)


def policy_of(connection: Connection, account_id: str) -> Policy | None:
    """The account's policy, with the present version of its default plan; None where there is nothing that
    entitlements could depend on."""
    disabled = _DISABLED.run(connection, (account_id,)).scalars().all()
    row = _POLICY.run(connection, (account_id,)).first()
    if row is None:
        planned = _ANY_PLAN.run(connection, (account_id,)).scalar()
        return Policy(disabled=tuple(disabled)) if disabled or planned is not None else None
    version = 0 if row.plan is None else find_plan(connection, account_id, row.plan).version
    return Policy(row.unknown, row.unnamed, row.plan, version, tuple(disabled))


def plan_versions_of(connection: Connection, account_id: str) -> list[PlanVersion]:
    """Every version of every plan, by plan and version."""
    query = sa.select(PLAN_VERSIONS.c.document).where(PLAN_VERSIONS.c.account_id == account_id)
    query = query.order_by(PLAN_VERSIONS.c.plan, PLAN_VERSIONS.c.version)
    return [PlanVersion.from_document(document) for document in connection.scalars(query)]


def registered_of(connection: Connection, account_id: str, customers: Sequence[str]) -> set[str]:
    """Those of the customers that somebody has recorded."""
    return set(_REGISTERED.run(connection, (account_id, listed(connection, customers))).scalars())


def subscriptions_of(
    connection: Connection, account_id: str, customers: Sequence[str]
) -> dict[str, list[Subscription]]:
    """All subscriptions of these customers, by customer, in order of time."""
    found: dict[str, list[Subscription]] = {}
    for row in _SUBSCRIPTIONS.run(connection, (account_id, listed(connection, customers))):
        found.setdefault(row.customer, []).append(subscription_of(row))
    return found


def overridden_values(connection: Connection, account_id: str) -> dict[str, int]:
    """Value ids and values of what customers have otherwise than their plans."""
    found: dict[str, int] = {}
    query = sa.select(SUBSCRIPTIONS).where(
        SUBSCRIPTIONS.c.account_id == account_id, SUBSCRIPTIONS.c.overrides != NO_OVERRIDES
    )
    for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        found |= subscription_of(row).values()
    return found


def subscription_of(row: Any) -> Subscription:
    """The subscription in a row."""
    return Subscription(
        id=row.id,
        plan=row.plan,
        version=row.version,
        starts_ms=row.starts_ms,
        ends_ms=row.ends_ms,
        anchor=row.anchor,
        overrides=Overrides.from_fields(orjson.loads(row.overrides)),
        deal=Deal(row.price_nano, row.quantity, row.discount_ppm),
        paying=Paying(row.grace_days, row.payment_method),
        anchor_month=row.anchor_month,
    )


def feature_price_of(row: Any) -> FeaturePrice:
    """The price in a row."""
    return FeaturePrice(row.feature, row.effective_ms, row.price_pico, row.unit_label, row.created_ms)


def feature_prices_of(connection: Connection, account_id: str) -> FeaturePrices:
    """The prices of the account's features."""
    query = sa.select(FEATURE_PRICES).where(FEATURE_PRICES.c.account_id == account_id)
    rows = connection.execute(query.order_by(FEATURE_PRICES.c.seq))
    return FeaturePrices(map(feature_price_of, rows))


def overrides_text(overrides: Overrides) -> str:
    """As the record keeps them."""
    return orjson.dumps(overrides.to_fields(), option=orjson.OPT_SORT_KEYS).decode()


NO_OVERRIDES = overrides_text(Overrides())


# Asked for every group of reported events: written out once.
_OF_ACCOUNT: sa.BindParameter[str] = sa.bindparam("of_account")
_DISABLED = written(
    lambda _engine: (
        sa.select(FEATURES.c.feature)
        .where(FEATURES.c.account_id == _OF_ACCOUNT, FEATURES.c.enabled == sa.literal_column("0"))
        .order_by(FEATURES.c.feature)
    )
)
_POLICY = written(
    lambda _engine: sa.select(CUSTOMER_POLICIES).where(CUSTOMER_POLICIES.c.account_id == _OF_ACCOUNT)
)
_ANY_PLAN = written(
    lambda _engine: sa.select(sa.func.min(PLANS.c.plan)).where(PLANS.c.account_id == _OF_ACCOUNT)
)
_SUBSCRIPTIONS = written(
    lambda engine: (
        sa.select(SUBSCRIPTIONS)
        .where(SUBSCRIPTIONS.c.account_id == _OF_ACCOUNT, among(engine, SUBSCRIPTIONS.c.customer))
        .order_by(SUBSCRIPTIONS.c.customer, SUBSCRIPTIONS.c.starts_ms)
    )
)
_REGISTERED = written(
    lambda engine: sa.select(CUSTOMERS.c.customer).where(
        CUSTOMERS.c.account_id == _OF_ACCOUNT, among(engine, CUSTOMERS.c.customer)
    )
)
