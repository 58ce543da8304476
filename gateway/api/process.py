"""The api process: uvicorn on a unix socket that the supervisor holds; questions run here, never in a worker.

It authenticates by the same keys in Redis as the workers, reads in a few threads and writes in one. On
SIGTERM it accepts no more connections, answers what has come, and ends; the supervisor's socket keeps those
who come meanwhile for the next process.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil
from typing import Any

import structlog
import uvicorn
from redis.exceptions import RedisError

from accounts.keycache import KeyCache
from budgets.cluster import ClusterConnection
from budgets.connecting import connect_ledger
from budgets.connection import LedgerUnavailable, RedisConnection
from gateway.api.application import Api
from gateway.api.endpoint import Endpoint
from gateway.api.parts import ApiParts, build_parts
from gateway.api.table import ENDPOINTS
from gateway.frontdoor.doorkeeper import Doorkeeper
from gateway.frontdoor.limits import DoorLimits
from gateway.frontdoor.server import Server, new_loop
from gateway.settings import Settings
from metering.database import Where

DRAIN_S = 20.0
"""How long what is being answered may take after the process was asked to end."""
GC_THRESHOLD = 50_000
"""New objects between two collections: a batch of a thousand events makes as many, none of them in cycles,
and the default, 700, looks through them sixty times."""
CONNECT_AGAIN_S = 0.5
"""Between two looks whether Redis answers, at the start."""
RELAYS_MAX = 65_536
"""Connections; all come from our own workers, which bound theirs."""

log = structlog.get_logger(component="api")


def run_api(
    *,
    settings: Settings,
    redis_url: str,
    database: Where,
    listener: socket.socket,
    ready: Callable[[], Any] | None = None,
) -> None:
    """Answer on `listener` until SIGTERM or SIGINT. `ready` is called once questions are accepted."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve_api(settings, redis_url, database, listener, ready=ready))


async def serve_api(
    settings: Settings,
    redis_url: str,
    database: Where,
    listener: socket.socket,
    *,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
    ready: Callable[[], Any] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """The same in a running loop; `stop` ends it where signals are another's."""
    parts, connection = await _connected(settings, redis_url, database)
    parts.ingest.start()
    # A revoked key is refused at once here, too: no ledger is asked that would tell.
    keys = KeyCache(lambda name: connection.command("GET", name), fresh_s=0)
    api = Api(parts, keys, endpoints, threads=settings.api.threads)
    keeper = Doorkeeper(_limits(settings))
    server = Server(_config(api, keeper))
    server.on_closed = keeper.drain
    loop = asyncio.get_running_loop()
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(setattr, server, "should_exit", True))
    serving = loop.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    if ready is not None and server.started:
        ready()
    stopping = loop.create_task(_stopped(stop, server))
    try:
        await serving
    finally:
        stopping.cancel()
        await asyncio.to_thread(api.close)
        await asyncio.to_thread(parts.close)
        await connection.close()


async def _connected(
    settings: Settings, redis_url: str, database: Where
) -> tuple[ApiParts, RedisConnection | ClusterConnection]:
    """The parts and the ledger's connection, once Redis answers: until then nobody could be told apart."""
    told = False
    while True:
        connection = None
        try:
            connection = await connect_ledger(redis_url, timeout_ms=settings.ledger.timeout_ms)
            return await asyncio.to_thread(build_parts, settings, redis_url, database), connection
        except (RedisError, LedgerUnavailable) as error:
            if connection is not None:
                await connection.close()
            if not told:
                log.warning("waiting_for_redis", reason=str(error))
            told = True
        await asyncio.sleep(CONNECT_AGAIN_S)


async def _stopped(stop: asyncio.Event | None, server: Server) -> None:
    if stop is not None:
        await stop.wait()
        server.should_exit = True


def _limits(settings: Settings) -> DoorLimits:
    """The front door's, for clients that are our own workers: they check what they relay themselves."""
    server = settings.server.model_copy(
        update={
            "connections_max": RELAYS_MAX,
            "connections_per_address": RELAYS_MAX,
            "head_bytes_max": 2 * settings.server.head_bytes_max,
            "headers_max": settings.server.headers_max + 10,
        }
    )
    return DoorLimits.of(server)


def _config(api: Api, keeper: Doorkeeper) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        http=keeper.protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=ceil(DRAIN_S),
    )
