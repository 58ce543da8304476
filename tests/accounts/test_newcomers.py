"""Customers and features that events make, on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.feature import Feature
from accounts.newcomers import AUTO_CREATED, Newcomers, add_newcomers
from accounts.planbook import PlanBook
from accounts.tables import ACCOUNT_TERMS, CUSTOMER_TERMS
from metering.database import Where, open_database, writing

ACCOUNT = "default"


@pytest.fixture
def engine(database: Where) -> Iterator[Engine]:
    engine = open_database(database)
    yield engine
    engine.dispose()


def add(engine: Engine, customers: list[str], features: list[str], account_id: str = ACCOUNT) -> Newcomers:
    with writing(engine) as connection:
        return add_newcomers(connection, account_id, customers, features, 7)


def found(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_only_those_are_made_that_nobody_has_recorded(engine: Engine) -> None:
    CustomerBook(engine, None).add_customer("acme", "Acme Inc.")
    PlanBook(engine, None).put_feature(Feature("chat", "Chat", enabled=False))
    made = add(engine, ["acme", "bolt", "bolt"], ["chat", "search"])
    assert made == Newcomers(("bolt",), ("search",), first=False)
    assert add(engine, ["acme", "bolt"], ["chat", "search"]) == Newcomers()
    customers = found(engine, "SELECT customer, name, created_ms, source FROM customers ORDER BY customer")
    assert [row[:2] + row[3:] for row in customers] == [
        ("acme", "Acme Inc.", "manual"),
        ("bolt", "", AUTO_CREATED),
    ]
    assert found(engine, "SELECT feature, name, enabled, source FROM features ORDER BY feature") == [
        ("chat", "Chat", 0, "manual"),
        ("search", "", 1, AUTO_CREATED),
    ]


def test_the_first_customer_of_an_account_changes_its_document(engine: Engine) -> None:
    assert add(engine, ["acme"], []).first
    assert not add(engine, ["bolt"], []).first
    assert add(engine, ["acme"], [], account_id="another").first
    with engine.connect() as connection:
        versions = connection.execute(sa.select(ACCOUNT_TERMS.c.account_id, ACCOUNT_TERMS.c.version)).all()
        mine = connection.execute(sa.select(CUSTOMER_TERMS.c.customer, CUSTOMER_TERMS.c.version)).all()
    assert sorted(map(tuple, versions)) == [("another", 1), (ACCOUNT, 1)]
    assert sorted(map(tuple, mine)) == [("acme", 1), ("acme", 1), ("bolt", 1)]


def test_names_that_no_plan_could_have_stay_with_their_events(engine: Engine) -> None:
    assert add(engine, ["a/b"], ["a/b", "*", "fine"]).features == ("fine",)


def test_many_at_once(engine: Engine) -> None:
    names = [f"c{number:04}" for number in range(2_500)]
    assert add(engine, names, names) == Newcomers(tuple(names), tuple(names), first=True)
    assert add(engine, names, names) == Newcomers()
