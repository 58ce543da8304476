"""redis-py clients for what is not on a request's way: seeding, reaping, recording, publishing, reading.

    client = connect_sync(url, timeout_s=5)

gives a client of one server (of several addresses: of the primary, also after the next failover) or of a
cluster, whichever is there. Replies are bytes, protocol 2, and nothing is repeated that may have been done:
a lost connection is a redis.ConnectionError, and the caller decides. What both kinds of client can do:

    client.hget(name, ...), client.eval(script, 1, name)     one command, or a script whose keys share a shard
    pipeline = client.pipeline(transaction=False)            commands of any shards, EVALSHA and XREADGROUP
    pipeline.execute(raise_on_error=False)                   too; replies in order, errors in their place
    client.pipeline(transaction=True)                        one step; on a cluster of one shard's keys
    client.hscan_iter(name)

What belongs to a server and not to a key has a function here: `run_id_of` and `clock_us` ask the server that
holds a name, `every_server` gives a plain client of each primary, and `read_groups` reads many streams, which
on a cluster cannot be one command.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import (
    ConnectionError,  # noqa: A004  # not the built-in one
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from budgets.address import Address, addresses_of
from budgets.primary import PrimaryConnection, PrimarySSLConnection
from budgets.shardpipeline import LedgerCluster
from budgets.slots import read_slots, slot_of

POLL_S = 0.05
"""Between looks at the streams of a cluster, where no single command can wait for them all."""

SyncClient: TypeAlias = Redis | LedgerCluster


def connect_sync(url: str, *, timeout_s: float, connect_timeout_s: float | None = None) -> SyncClient:
    """A client of what is behind the URL; the first of its servers that answers decides what that is.

    `timeout_s` is the patience with one reply: more than any command of the caller blocks. Raises
    redis.RedisError when no server answers, ValueError for a URL that cannot be understood.
    """
    addresses = addresses_of(url)
    connect_timeout_s = timeout_s if connect_timeout_s is None else connect_timeout_s
    patience = {"socket_timeout": timeout_s, "socket_connect_timeout": connect_timeout_s}
    fault: RedisError | None = None
    for address in addresses:
        asked = _one(address, patience)
        try:
            if int(asked.info("cluster").get("cluster_enabled", 0)):
                return _cluster(asked, addresses, patience)
            break
        except RedisError as error:
            fault = error
        finally:
            asked.close()
    else:
        assert fault is not None
        raise fault
    return _one(addresses[0], patience) if len(addresses) == 1 else _primary(addresses, patience)


def server_of_name(client: SyncClient, name: str) -> Redis:
    """A plain client of the server that holds this name now."""
    return client.node_of(slot_of(name)) if isinstance(client, LedgerCluster) else client


def every_server(client: SyncClient) -> list[Redis]:
    """A plain client of each primary: what INFO is to be asked of."""
    if not isinstance(client, LedgerCluster):
        return [client]
    primaries: Any = client.get_primaries()  # type: ignore[no-untyped-call]
    return [client.get_redis_connection(node) for node in primaries]


def run_id_of(client: SyncClient, name: str) -> str:
    """The run id of the server that holds this name now."""
    server: Any = server_of_name(client, name)
    found = server.info("server")["run_id"]
    return found.decode() if isinstance(found, bytes) else str(found)


def clock_us(client: SyncClient, name: str) -> int:
    """The clock of the server that holds this name, in microseconds; on a cluster each has its own."""
    server: Any = server_of_name(client, name)
    seconds, micros = server.time()
    return int(seconds) * 1_000_000 + int(micros)


def read_groups(
    client: SyncClient,
    group: str,
    reader: str,
    streams: Mapping[str, str],
    *,
    count: int,
    wait_ms: int | None = None,
) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """XREADGROUP over streams of any shards (stream -> from which entry): (stream, [(entry id, fields)]).

    Up to `count` entries of each. Waits up to `wait_ms` for the first; None does not wait. On a cluster the
    servers that can be reached are read; ConnectionError when none can. Raises ResponseError (NOGROUP).
    """
    if not isinstance(client, LedgerCluster):
        single: Any = client
        answer = single.xreadgroup(group, reader, dict(streams), count=count, block=wait_ms)
        return [(stream, entries) for stream, entries in answer or ()]
    end = time.monotonic() + (wait_ms or 0) / 1_000
    while True:
        pipeline = client.pipeline()
        for stream, start in streams.items():
            pipeline.xreadgroup(group, reader, {stream: start}, count=count)
        found = []
        for reply in pipeline.execute(raise_on_error=False):
            if isinstance(reply, ResponseError):
                raise reply
            if not isinstance(reply, RedisError):
                found += [(stream, entries) for stream, entries in reply or () if entries]
        if found or time.monotonic() + POLL_S > end:
            return found
        time.sleep(POLL_S)


def _options(address: Address, patience: Mapping[str, float]) -> dict[str, Any]:
    return {
        **patience,
        "username": address.username,
        "password": address.password,
        "protocol": 2,
    }


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


def _one(address: Address, patience: Mapping[str, float]) -> Redis:
    options = _options(address, patience) | {"db": address.database, "retry": _never()}
    if address.path is not None:
        return Redis(unix_socket_path=address.path, **options)
    return Redis(host=str(address.host), port=address.port, ssl=address.tls, **options)


def _primary(addresses: Sequence[Address], patience: Mapping[str, float]) -> Redis:
    first = addresses[0]
    options = _options(first, patience) | {"db": first.database, "retry": _never()}
    places = [(str(address.host), address.port) for address in addresses]
    kind = PrimarySSLConnection if first.tls else PrimaryConnection
    return Redis(connection_pool=ConnectionPool(connection_class=kind, places=places, **options))


def _cluster(asked: Redis, addresses: Sequence[Address], patience: Mapping[str, float]) -> LedgerCluster:
    first = addresses[0]
    places = [(address.host, address.port) for address in addresses if address.host is not None]
    if not places:  # a unix socket; the nodes know one another by their ports
        said: Any = asked.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        places = [each.primary for each in read_slots(said, "localhost")]
    try:
        return LedgerCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in places],  # type: ignore[no-untyped-call]
            retry=_never(),
            ssl=first.tls,
            **_options(first, patience),
        )
    except RedisClusterException as error:
        raise ConnectionError(str(error)) from error
