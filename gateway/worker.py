"""One gateway worker: its event loop, its server, its upkeep, and its orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from time import time
from typing import Any

import structlog
import uvicorn

from budgets.connecting import connect_ledger
from budgets.journal import FOLDER, SUFFIX, Journal
from gateway.app import Gateway, build_gateway
from gateway.frontdoor.doorkeeper import LAST_WORD_S, LINGER_S, Doorkeeper
from gateway.frontdoor.limits import DoorLimits
from gateway.frontdoor.server import Server, new_loop
from gateway.healing.replay import replay_own
from gateway.settings import Settings
from metering import tokens

log = structlog.get_logger("gateway.worker")
GC_THRESHOLD = 20_000
"""New objects between two collections: a request leaves none in cycles, and the default, 700, looks often."""
CUT_GRACE_S, CUT_GRACE_MAX_S, END_WITHIN_S = 4.0, 6.5, 29.0
"""After the drain: how long cut requests have to say so to their clients and settle; the longer time where
the whole end stays within the third all the same, since a busy machine counts a hundred answers slowly."""


def run_worker(
    *,
    settings: Settings,
    redis_url: str,
    slot: int,
    listener: socket.socket,
    metrics_dir: Path | None,
    api_socket: Path | None = None,
    ready: Callable[[], Any] | None = None,
) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, then drain.

    `metrics_dir` is where value files lie (the caller must have arranged for them before this module was
    imported). `api_socket` is where the api process listens. `ready` is called once requests are accepted.
    """
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(settings, redis_url, slot, listener, metrics_dir, api_socket, ready))


async def _serve(
    settings: Settings,
    redis_url: str,
    slot: int,
    listener: socket.socket,
    metrics_dir: Path | None,
    api_socket: Path | None,
    ready: Callable[[], Any] | None,
) -> None:
    connection = await connect_ledger(redis_url, timeout_ms=settings.ledger.timeout_ms)
    journal = _take_journal(settings.server.data_dir / FOLDER / f"slot-{slot}{SUFFIX}")
    owner = f"{slot}-{os.getpid()}-{os.urandom(4).hex()}"
    gateway = build_gateway(
        settings, connection, owner=owner, journal=journal, metrics_dir=metrics_dir, api_socket=api_socket
    )
    for upstream in gateway.parts.upstreams.values():
        upstream.start()
    if journal is not None:
        await replay_own(journal, gateway.parts.ledger, int(time() * 1_000))
    keeper = Doorkeeper(DoorLimits.of(settings.server))
    server = Server(server_config(settings, gateway, keeper))
    server.on_closed = partial(_close_doors, gateway, keeper)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _begin_drain, settings, gateway, keeper, server)
    upkeep = [
        loop.create_task(gateway.leases.keep()),
        loop.create_task(gateway.revocations.keep()),
        loop.create_task(gateway.keep_metrics()),
        loop.create_task(gateway.keep_health()),
        loop.create_task(gateway.keep_journal()),
    ]
    serving = loop.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    # What exists now lives as long as the worker: looking through it again and again finds nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    if ready is not None and server.started:
        ready()
    try:
        await serving
    finally:
        for task in upkeep:
            task.cancel()
        await gateway.aclose()
        await connection.close()


def _take_journal(path: Path) -> Journal | None:
    """The slot's journal; None, and a word about it, where it cannot be had."""
    try:
        journal = Journal.take(path)
    except OSError as error:
        log.error("journal_unavailable", reason=str(error))
        return None
    if journal is None:
        log.error("journal_unavailable", reason=f"{path} belongs to another process")
    return journal


def server_config(settings: Settings, gateway: Gateway, keeper: Doorkeeper) -> uvicorn.Config:
    """Uvicorn as the gateway needs it: no access log, no headers of its own, our front door."""
    drain_s = settings.server.drain_s
    grace_s = max(CUT_GRACE_S, min(CUT_GRACE_MAX_S, END_WITHIN_S - drain_s))
    return uvicorn.Config(
        gateway,
        http=keeper.protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=2_048,
        timeout_graceful_shutdown=ceil(drain_s + grace_s),
    )


def _close_doors(gateway: Gateway, keeper: Doorkeeper) -> None:
    """No connection is accepted any more; one that was may still bring a request that was on its way."""
    keeper.drain()
    asyncio.get_running_loop().call_later(LINGER_S, gateway.drain)


def _begin_drain(settings: Settings, gateway: Gateway, keeper: Doorkeeper, server: uvicorn.Server) -> None:
    """Stop accepting; let what runs finish within the drain, then cut it, settled."""
    if server.should_exit:
        return
    log.info("draining", open_requests=len(gateway.parts.running), drain_s=settings.server.drain_s)
    server.should_exit = True
    loop = asyncio.get_running_loop()
    loop.call_later(settings.server.drain_s, gateway.cut)
    for model in {request.candidates[0].target.model for request in gateway.parts.running.values()}:
        # What is cut is counted then, in little time; tokenizers load for long when the machine is busy.
        loop.run_in_executor(None, tokens.count, "", model)
    loop.call_later(settings.server.drain_s + LAST_WORD_S, keeper.cut)
