"""The records of plans and customers, and their copies: versions stay, spans do not overlap."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from accounts.customerbook import CustomerBook
from accounts.feature import Feature
from accounts.limitbook import LimitBook
from accounts.plan import PlanRule, PlanVersion
from accounts.planbook import PlanBook
from accounts.plantables import PLAN_VERSIONS, SUBSCRIPTIONS, PlanNotFound
from accounts.policy import Policy
from accounts.publishing import ACCOUNT
from accounts.subscription import Override, Overrides
from budgets.limit import check_terms
from budgets.names import names_of
from budgets.rows import LedgerRows
from metering.database import writing

NAMES = names_of(ACCOUNT)
RULE = PlanRule("requests", "month", 10, "search")
PRO = PlanVersion("pro", 0, ("search",), False, (RULE,))
HOUR_MS = 3_600_000


@pytest.fixture
def plans(engine: Engine, redis: Any) -> PlanBook:
    return PlanBook(engine, LedgerRows(redis), check_terms)


@pytest.fixture
def customers(engine: Engine, redis: Any) -> CustomerBook:
    return CustomerBook(engine, LedgerRows(redis), check_terms)


def document(redis: Any, customer: str) -> dict[str, Any]:
    return orjson.loads(redis.hget(f"{NAMES.customer}{ACCOUNT}:{customer}", "doc"))  # type: ignore[no-any-return]


def version(redis: Any) -> int:
    return int(redis.hget(NAMES.meta, f"ver:{ACCOUNT}") or 0)


def test_a_version_can_neither_be_changed_nor_taken_away(engine: Engine, plans: PlanBook) -> None:
    plans.put_plan(PRO)
    for statement in (sa.update(PLAN_VERSIONS).values(document="{}"), sa.delete(PLAN_VERSIONS)):
        with pytest.raises(IntegrityError, match="version of a plan"), writing(engine) as connection:
            connection.execute(statement)
    assert plans.plan("pro") == plans.plan("pro", 1)


def test_a_plan_with_many_customers_is_published_once(
    engine: Engine, redis: Any, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(PRO)
    for n in range(30):
        customers.subscribe(f"c{n}", "pro")
    redis.flushall()
    published = LimitBook(engine, LedgerRows(redis)).publish_all()
    assert (published.plans, published.customers) == (1, 30)
    assert redis.hgetall(NAMES.limits) == {b"pro@1/search/requests/month": b"10"}
    assert redis.keys(f"{NAMES.base}plan:*") == [f"{NAMES.base}plan:{ACCOUNT}:pro@1".encode()]
    assert b"search" not in redis.hget(f"{NAMES.customer}{ACCOUNT}:c7", "doc")
    assert len(redis.hget(f"{NAMES.customer}{ACCOUNT}:c7", "doc")) < 300


def test_every_change_makes_the_copies_that_it_concerns_old_and_no_others(
    redis: Any, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(PRO)
    plans.set_policy(Policy("deny"))
    customers.subscribe("a", "pro")
    customers.add_customer("b")
    account, a, b = version(redis), document(redis, "a")["version"], document(redis, "b")["version"]
    customers.subscribe("a", "pro")
    assert (version(redis), document(redis, "b")["version"]) == (account, b)
    assert document(redis, "a")["version"] == a + 1
    assert int(redis.hget(f"{NAMES.customer}{ACCOUNT}:a", "ver")) == a + 1
    for change in (
        lambda: plans.put_feature(Feature("search", enabled=False)),
        lambda: plans.set_policy(Policy("allow")),
        lambda: plans.put_plan(PlanVersion("pro", 0, ("search",), True)),
    ):
        change()
        account += 1
        assert version(redis) == account
        change()  # nothing new
        assert version(redis) == account
    assert document(redis, "a")["version"] == a + 1


def test_the_first_customer_makes_workers_ask_for_documents(
    redis: Any, plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(PRO)

    def account() -> dict[str, Any]:
        return orjson.loads(redis.get(NAMES.account + ACCOUNT))  # type: ignore[no-any-return]

    assert (account()["has_customer_terms"], account()["policy"]["unknown"]) == (False, "allow")
    before = account()["version"]
    customers.add_customer("a")
    assert account()["has_customer_terms"]
    assert account()["version"] == before + 1
    customers.add_customer("b")
    assert account()["version"] == before + 1


def test_spans_do_not_overlap_and_what_comes_later_is_replaced(
    engine: Engine, plans: PlanBook, customers: CustomerBook
) -> None:
    for key in ("trial", "pro", "max"):
        plans.put_plan(PlanVersion(key, 0, ("search",)))
    now_ms = customers.now_ms()
    customers.subscribe("a", "trial", starts_ms=now_ms, ends_ms=now_ms + 10 * HOUR_MS)
    customers.subscribe("a", "pro", starts_ms=now_ms + 10 * HOUR_MS)
    customers.subscribe("a", "max", starts_ms=now_ms + 20 * HOUR_MS)
    customers.subscribe("a", "max", starts_ms=now_ms + 5 * HOUR_MS, ends_ms=now_ms + 6 * HOUR_MS)
    spans = customers.customer("a").subscriptions
    assert [(each.plan, each.starts_ms - now_ms, (each.ends_ms or 0) - now_ms) for each in spans] == [
        ("trial", 0, 5 * HOUR_MS),
        ("max", 5 * HOUR_MS, 6 * HOUR_MS),
    ]
    customers.unsubscribe("a", ends_ms=now_ms + HOUR_MS)
    (only,) = customers.customer("a").subscriptions
    assert only.ends_ms == now_ms + HOUR_MS
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SUBSCRIPTIONS)) == 1
    with pytest.raises(ValueError, match="after its start"):
        customers.subscribe("a", "pro", starts_ms=now_ms, ends_ms=now_ms)


def test_a_customer_keeps_its_day_and_what_it_has_otherwise_where_that_fits(
    plans: PlanBook, customers: CustomerBook
) -> None:
    plans.put_plan(PRO)
    customers.subscribe("a", "pro", anchor=17)
    customers.override("a", Overrides({"search/requests/month": Override(50)}, {"beta": True}))
    changed = PlanVersion("pro", 0, ("search",), False, (RULE, PlanRule("money", "month", 5)))
    plans.put_plan(changed)
    assert customers.migrate("pro") == ["a"]
    present = customers.customer("a").at(customers.now_ms())
    assert present is not None
    assert (present.version, present.anchor) == (2, 17)
    assert present.overrides == Overrides({"search/requests/month": Override(50)}, {"beta": True})
    plans.put_plan(PlanVersion("pro", 0, ("search",)))
    customers.migrate("pro")
    present = customers.customer("a").at(customers.now_ms())
    assert present is not None
    assert (present.overrides.limits, present.overrides.features) == ({}, {"beta": True})
    assert customers.migrate("pro") == []
    for wrong in (Override(), Override(-1), Override(None, "lenient")):
        plans.put_plan(PRO)
        customers.migrate("pro")
        with pytest.raises(ValueError, match=r"override|from 0|enforcement"):
            customers.override("a", Overrides({"search/requests/month": wrong}))


def test_a_configuration_is_recorded_whole_or_not_at_all(plans: PlanBook) -> None:
    features, policy = [Feature("search", "Search")], Policy("default_plan", plan="pro")
    with pytest.raises(PlanNotFound):
        plans.apply(features, [PlanVersion("other", 0)], policy)
    assert (plans.features(), plans.plans(), plans.policy()) == ([], [], Policy())
    applied = plans.apply(features, [PRO], policy)
    assert (applied.plans, applied.features, applied.policy) == (("pro@1",), ("search",), True)
    again = plans.apply(features, [PRO], policy)
    assert (again.plans, again.features, again.policy) == ((), (), False)
    assert plans.policy() == Policy("default_plan", "allow", "pro", 1)
