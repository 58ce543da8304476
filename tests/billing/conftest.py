"""A real database of either engine, and the books of prices, plans and customers on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.planbook import PlanBook
from billing.ratebook import RateBook
from budgets.limit import check_terms
from metering.database import Where, open_database


@pytest.fixture
def engine(database: Where) -> Iterator[Engine]:
    engine = open_database(database)
    yield engine
    engine.dispose()


@pytest.fixture
def plans(engine: Engine) -> PlanBook:
    return PlanBook(engine, None, check_terms)


@pytest.fixture
def customers(engine: Engine) -> CustomerBook:
    return CustomerBook(engine, None, check_terms)


@pytest.fixture
def rates(engine: Engine) -> RateBook:
    return RateBook(engine.connect)
