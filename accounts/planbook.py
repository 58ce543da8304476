"""The plan book: the record of features, plans and the policy on customers, and its enforced copy.

SQL is the record and is written first. A change holds for the next request everywhere when the call returns:
it raises the version of the account's document, by which `open` tells old copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection

from accounts.book import Book
from accounts.feature import Feature
from accounts.featureprices import FeaturePrice, FeaturePrices, check_feature_price
from accounts.plan import PlanVersion, check_plan
from accounts.plantables import (
    CUSTOMER_POLICIES,
    FEATURE_PRICES,
    FEATURES,
    PLAN_VERSIONS,
    PLANS,
    PlanNotFound,
    feature_prices_of,
    find_plan,
    plan_versions_of,
    policy_of,
)
from accounts.policy import Policy, check_policy
from accounts.tables import touch
from metering.database import writing


@dataclass(frozen=True, slots=True)
class Applied:
    """What reading a configuration changed: versions made; features, policies, prices of features written."""

    plans: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    policy: bool = False
    prices: tuple[str, ...] = ()


class PlanBook(Book):
    """Features, plans and the policy of one account."""

    # Features.

    def put_feature(self, feature: Feature) -> bool:
        """Record a feature, or what changed of it; False when nothing did."""
        with writing(self._engine) as connection:
            changed = self._put_feature(connection, feature)
        self._publisher.publish(self._account)
        return changed

    def features(self) -> list[Feature]:
        """Every recorded feature, by key."""
        query = sa.select(FEATURES).where(FEATURES.c.account_id == self._account)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(FEATURES.c.feature)).all()
        return [Feature(row.feature, row.name, bool(row.enabled)) for row in rows]

    def put_feature_price(self, price: FeaturePrice) -> bool:
        """Add a price of a feature; False where that is the one in force at its beginning and until another
        begins. Nothing is published: requests are not decided by it. Raises ValueError.

        Events that began before and are stored already keep their revenue.
        """
        check_feature_price(price)
        with writing(self._engine) as connection:
            return self._put_feature_price(connection, price)

    def feature_prices(self) -> FeaturePrices:
        """Every price that a feature ever had."""
        with self._engine.connect() as connection:
            return feature_prices_of(connection, self._account)

    # Plans.

    def put_plan(self, plan: PlanVersion) -> tuple[PlanVersion, bool]:
        """Record a plan; a new version where it differs from the latest one. Gives the version that is the
        latest now, and whether it is new. Customers stay on the version that they are on.

        Raises ValueError for what cannot be a plan.
        """
        check_plan(plan, self._check_limit)
        with writing(self._engine) as connection:
            latest, new = self._put_plan(connection, plan)
        self._publisher.publish_plans(self._account)
        return latest, new

    def plans(self) -> list[tuple[PlanVersion, bool]]:
        """The latest version of every plan, by key, and whether it is archived."""
        with self._engine.connect() as connection:
            versions = {each.label: each for each in plan_versions_of(connection, self._account)}
            query = sa.select(PLANS).where(PLANS.c.account_id == self._account).order_by(PLANS.c.plan)
            rows = connection.execute(query).all()
        return [(versions[f"{row.plan}@{row.version}"], bool(row.archived)) for row in rows]

    def plan(self, plan: str, version: int | None = None) -> PlanVersion:
        """A version of a plan, by default the latest. Raises PlanNotFound."""
        with self._engine.connect() as connection:
            return find_plan(connection, self._account, plan, version)

    def archive(self, plan: str, *, archived: bool = True) -> None:
        """Let a plan take no new customers, or take some again. Who is on it stays. Raises PlanNotFound."""
        with writing(self._engine) as connection:
            where = (PLANS.c.account_id == self._account, PLANS.c.plan == plan)
            if not connection.execute(sa.update(PLANS).where(*where).values(archived=int(archived))).rowcount:
                raise PlanNotFound(f"no plan is called {plan!r}")

    def policy(self) -> Policy:
        """What holds for customers that are on no plan."""
        with self._engine.connect() as connection:
            return policy_of(connection, self._account) or Policy()

    def set_policy(self, policy: Policy) -> bool:
        """Set it (`version` and `disabled` are worked out here); False when it was so. Raises ValueError,
        PlanNotFound."""
        check_policy(policy)
        with writing(self._engine) as connection:
            changed = self._set_policy(connection, policy)
        self._publisher.publish(self._account)
        return changed

    def apply(
        self,
        features: Sequence[Feature],
        plans: Sequence[PlanVersion],
        policy: Policy | None,
        prices: Sequence[FeaturePrice] = (),
    ) -> Applied:
        """Record what a configuration says, all or nothing, without publishing it. What it does not name
        stays as it is. Raises ValueError, PlanNotFound."""
        for plan in plans:
            check_plan(plan, self._check_limit)
        for price in prices:
            check_feature_price(price)
        if policy is not None:
            check_policy(policy)
        with writing(self._engine) as connection:
            changed = tuple(each.key for each in features if self._put_feature(connection, each))
            made = [self._put_plan(connection, plan) for plan in plans]
            policed = policy is not None and self._set_policy(connection, policy)
            priced = tuple(each.feature for each in prices if self._put_feature_price(connection, each))
        return Applied(tuple(latest.label for latest, new in made if new), changed, policed, priced)

    # Inside a transaction.

    def _put_feature(self, connection: Connection, feature: Feature) -> bool:
        where = (FEATURES.c.account_id == self._account, FEATURES.c.feature == feature.key)
        row = connection.execute(sa.select(FEATURES).where(*where)).first()
        values = {"name": feature.name, "enabled": int(feature.enabled)}
        if row is None:
            mine = {"account_id": self._account, "feature": feature.key}
            connection.execute(sa.insert(FEATURES).values(**mine, **values))
        elif (row.name, row.enabled) == (feature.name, int(feature.enabled)):
            return False
        else:
            connection.execute(sa.update(FEATURES).where(*where).values(**values))
        touch(connection, self._account)
        return True

    def _put_feature_price(self, connection: Connection, price: FeaturePrice) -> bool:
        present = feature_prices_of(connection, self._account).at(price.feature, price.effective_ms)
        if present is None and price.price_pico is None:
            return False
        if present is not None and (present.price_pico, present.unit_label) == (
            price.price_pico,
            price.unit_label,
        ):
            return False
        connection.execute(
            sa.insert(FEATURE_PRICES).values(
                account_id=self._account,
                feature=price.feature,
                effective_ms=price.effective_ms,
                price_pico=price.price_pico,
                unit_label=price.unit_label,
                created_ms=self.now_ms(),
            )
        )
        return True

    def _put_plan(self, connection: Connection, plan: PlanVersion) -> tuple[PlanVersion, bool]:
        where = (PLANS.c.account_id == self._account, PLANS.c.plan == plan.plan)
        last = connection.scalar(sa.select(PLANS.c.version).where(*where))
        if last is not None:
            latest = find_plan(connection, self._account, plan.plan, last)
            if latest.content() == plan.content():
                return latest, False
        latest = replace(plan, version=(last or 0) + 1, _terms={})
        mine = {"account_id": self._account, "plan": plan.plan, "version": latest.version}
        document = latest.to_document().decode()
        connection.execute(
            sa.insert(PLAN_VERSIONS).values(document=document, created_ms=self.now_ms(), **mine)
        )
        if last is None:
            connection.execute(sa.insert(PLANS).values(archived=0, **mine))
        else:
            connection.execute(sa.update(PLANS).where(*where).values(version=latest.version))
        touch(connection, self._account)
        return latest, True

    def _set_policy(self, connection: Connection, policy: Policy) -> bool:
        if policy.plan is not None:
            find_plan(connection, self._account, policy.plan, None)
        where = CUSTOMER_POLICIES.c.account_id == self._account
        row = connection.execute(sa.select(CUSTOMER_POLICIES).where(where)).first()
        if row is not None and (row.unknown, row.unnamed, row.plan) == (
            policy.unknown,
            policy.unnamed,
            policy.plan,
        ):
            return False
        values = {"unknown": policy.unknown, "unnamed": policy.unnamed, "plan": policy.plan}
        if row is None:
            connection.execute(sa.insert(CUSTOMER_POLICIES).values(account_id=self._account, **values))
        else:
            connection.execute(sa.update(CUSTOMER_POLICIES).where(where).values(**values))
        touch(connection, self._account)
        return True
