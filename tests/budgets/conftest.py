"""Real servers for the ledger's tests: the Valkey that comes with the product, Debian's Redis, a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from budgets.client import connect_sync
from budgets.cluster import ClusterConnection
from budgets.connection import RedisConnection
from budgets.rows import LedgerRows
from tests.budgets.cluster import NODE_TIMEOUT_MS, Cluster, Pair, start_cluster, start_pair
from tests.budgets.server import Server, engine_binary, start_server
from tests.budgets.world import World

ENGINES = ["valkey", pytest.param("redis", marks=pytest.mark.debian)]
PATIENCE_MS = 30_000
"""With one round trip: nothing is given up because the machine is busy."""
EVERY_ENGINE = [*ENGINES, pytest.param("cluster", marks=pytest.mark.slow)]
"""What the ledger runs on. A file asks for all: `pytestmark = pytest.mark.parametrize("shared_server",
EVERY_ENGINE, indirect=True)`."""


@dataclass
class Servers:
    """A cluster of three, to be used like one server."""

    cluster: Cluster
    client: Any

    @property
    def url(self) -> str:
        return self.cluster.url

    def stop(self) -> None:
        self.client.close()
        self.cluster.stop()


def start_engine(engine: str, folder: Path) -> Server | Servers:
    if engine != "cluster":
        return start_server(engine_binary(engine), folder)
    cluster = start_cluster(engine_binary("valkey"), folder)
    return Servers(cluster, connect_sync(cluster.url, timeout_s=60))


async def connect(server: Server | Servers) -> RedisConnection | ClusterConnection:
    if isinstance(server, Servers):
        return await ClusterConnection.connect(server.url, timeout_ms=PATIENCE_MS, patience_s=60)
    return await RedisConnection.connect(server.url, timeout_ms=PATIENCE_MS, patience_s=60)


@pytest.fixture(scope="session", params=ENGINES)
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server | Servers]:
    """One server of each engine for the whole run; `server` empties it for each test."""
    server = start_engine(request.param, tmp_path_factory.mktemp(request.param))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:  # or Servers, where a file asks for every engine
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A Valkey of the test's own, with an append-only file, to be killed at will."""
    server = start_server(engine_binary("valkey"), tmp_path, durable=True)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for the whole run; `cluster` empties them for each test, which leaves their slots alone."""
    cluster = start_cluster(engine_binary("valkey"), tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.clear()
    return shared_cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, to be reshaped and broken."""
    cluster = start_cluster(engine_binary("valkey"), tmp_path, timeout_ms=NODE_TIMEOUT_MS)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A primary and its replica for the whole run: to be looked at, not to be changed."""
    pair = start_pair(engine_binary("valkey"), tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A primary and its replica of the test's own."""
    pair = start_pair(engine_binary("valkey"), tmp_path)
    yield pair
    pair.stop()


@pytest.fixture
def redis(server: Server) -> Redis:
    client: Redis = server.client
    return client


@pytest.fixture
def rows(redis: Redis) -> LedgerRows:
    return LedgerRows(redis)


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[RedisConnection | ClusterConnection]:
    connection = await connect(server)
    yield connection
    await connection.close()


@pytest.fixture
def world(redis: Redis, connection: RedisConnection) -> World:
    """A whole ledger with one active key and no limits yet."""
    world = World(redis, connection)
    world.make_whole()
    world.put_key()
    return world
