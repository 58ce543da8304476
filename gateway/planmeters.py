"""What limits of plans count, for those who make the ledger whole and compare it with the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.plan import OWN_DAY, PlanVersion
from accounts.plantables import PLAN_VERSIONS, SUBSCRIPTIONS, plan_versions_of, subscription_order
from budgets.limit import COUNT_KINDS
from budgets.meter import Meter
from metering.statement import written


def plans_state(connection: Connection, account_id: str) -> tuple[object, ...]:
    """Differs when `recorded_meters` or the values of plans do: versions and subscriptions are only added."""
    versions = _VERSIONS.run(connection, (account_id,)).scalar()
    return versions, _LATEST_SUBSCRIPTION.run(connection).scalar()


def recorded_meters(connection: Connection, account_id: str) -> list[Meter]:
    """The meters of every version of every plan, on every day that customers of it have or had."""
    query = sa.select(SUBSCRIPTIONS.c.plan, SUBSCRIPTIONS.c.version, SUBSCRIPTIONS.c.anchor).distinct()
    days: dict[tuple[str, int], set[int]] = {}
    for plan, version, day in connection.execute(query.where(SUBSCRIPTIONS.c.account_id == account_id)):
        days.setdefault((plan, version), set()).add(day)
    return meters_of(plan_versions_of(connection, account_id), days)


def meters_of(versions: Iterable[PlanVersion], days: Mapping[tuple[str, int], set[int]]) -> list[Meter]:
    """What these versions count, each thing once with the labels of all that count it. Customers without a
    subscription, on a default plan, have day 1."""
    labels: dict[str, set[str]] = {}
    found: dict[str, Meter] = {}
    for version in versions:
        own = {1, *days.get((version.plan, version.version), ())}
        for day in own if version.anchor == OWN_DAY else (version.anchor,):
            terms = version.terms(day)
            for limit, rule in zip(terms.limits, version.rules, strict=True):
                if limit.kind not in COUNT_KINDS:
                    continue
                labels.setdefault(limit.id, set()).add(terms.label)
                found[limit.id] = Meter(
                    id=limit.id,
                    feature=rule.feature,
                    kind=limit.kind,
                    window=limit.window,
                    time_zone=limit.time_zone,
                    anchor=limit.anchor,
                    labels=frozenset(labels[limit.id]),
                )
    return list(found.values())


_VERSIONS = written(
    lambda _engine: (
        sa.select(sa.func.count())
        .select_from(PLAN_VERSIONS)
        .where(PLAN_VERSIONS.c.account_id == sa.bindparam("of_account"))
    )
)
_LATEST_SUBSCRIPTION = written(
    lambda engine: (
        sa.select(SUBSCRIPTIONS.c.id)
        .order_by(subscription_order(engine).desc())
        .limit(sa.literal_column("1"))
        .offset(sa.literal_column("0"))
    )
)
