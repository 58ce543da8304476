"""Composition root of a worker: the only place where its parts are constructed.

`Gateway` is a raw ASGI application. Proxied paths go straight to `call.serve`; everything else (models,
health, and the 404 for what is not there) goes through Starlette.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from importlib.metadata import version
from typing import Any

import structlog

from accounts.keycache import KeyCache
from budgets.connection import RedisConnection
from budgets.ledger import Ledger, LedgerUnavailable
from gateway.answers import Send
from gateway.call import serve
from gateway.closer import Closer
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.prices import price_book
from gateway.relay import Receive
from gateway.settings import Settings
from gateway.surfaces import build_surfaces
from gateway.upstream import build_upstream
from metering import tokens
from metering.pricebook import PriceBook
from routing.table import Route, RouteTable
from routing.target import Target

PROXIED = {"/v1/chat/completions": "chat.completions", "/v1/embeddings": "embeddings"}


class Gateway:
    """The ASGI application, and the upkeep that runs beside it."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.parts = parts
        self._rest = build_surfaces(parts, frozenset(PROXIED))
        self._heartbeat_s = settings.ledger.heartbeat_ms / 1_000
        self._log = structlog.get_logger("gateway")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        surface = PROXIED.get(scope["path"])
        if surface is not None and scope["method"] == "POST":
            try:
                await serve(self.parts, surface, scope, receive, send)
            except Exception:
                # A fault of ours. What was held is settled by the reaper; the server below answers 500 or,
                # where an answer had begun, cuts the connection.
                self._log.exception("request_failed", surface=surface)
                raise
        else:
            await self._rest(scope, receive, send)

    async def keep_leases(self) -> None:
        """Renew the leases of all running requests, for ever; stop the requests whose lease was lost."""
        running = self.parts.running
        while True:
            await asyncio.sleep(self._heartbeat_s)
            pairs = [(request.lease, request.estimate_nano()) for request in running.values()]
            if not pairs:
                continue
            try:
                lost = await self.parts.ledger.heartbeat(pairs)
            except LedgerUnavailable as error:
                self._log.warning("heartbeat_failed", error=str(error), open_requests=len(pairs))
                continue
            for request_id in lost:
                if request_id in running:
                    running[request_id].stop("lease_lost")

    async def keep_metrics(self) -> None:
        """Tell how many requests run, once a second, for ever: cheaper than counting each one in and out."""
        while True:
            self.parts.metrics.open.set(len(self.parts.running))
            await asyncio.sleep(1.0)

    def drain(self) -> None:
        """Take no more requests from now on; the running ones go on."""
        self.parts.draining = True
        self.parts.room.close()

    def cut(self) -> None:
        """End what is still running: each request is settled with what is known of it."""
        for request in list(self.parts.running.values()):
            request.stop("drained")

    async def aclose(self) -> None:
        """Close connections, once nothing runs any more."""
        await self.parts.closer.finish()
        for upstream in self.parts.upstreams.values():
            await upstream.transport.aclose()


def build_routes(settings: Settings, prices: PriceBook) -> RouteTable:
    """The route table of a configuration: its routes, and what each provider offers by name."""
    price_lists = {name: provider.prices or name for name, provider in settings.providers.items()}
    routes = [
        Route(
            alias,
            tuple(Target(t.provider, t.model, price_lists[t.provider]) for t in route.targets),
            route.assumed_max_output,
            route.minimum_output,
        )
        for alias, route in settings.routes.items()
    ]
    offered = {}
    for name, provider in settings.providers.items():
        if provider.models == "priced":
            models = [model.id for model in prices.models(price_lists[name])]
        else:
            models = list(provider.models)
        offered[name] = (price_lists[name], models)
    return RouteTable(routes, offered)


async def _count_tokens(text: str, model: str) -> int:
    return await asyncio.to_thread(tokens.count, text, model)


def build_gateway(settings: Settings, connection: RedisConnection, *, owner: str) -> Gateway:
    """One worker's gateway over an open connection. `owner` names the worker to the ledger."""
    prices = price_book(settings)
    routes = build_routes(settings, prices)
    release = version("tollkeeper")
    ledger = Ledger(connection, owner=owner, lease_ms=settings.ledger.lease_ms)
    metrics = Metrics(routes.known)
    parts = Parts(
        routes=routes,
        upstreams={
            name: build_upstream(name, provider, version=release)
            for name, provider in settings.providers.items()
        },
        prices=prices,
        keys=KeyCache(lambda name: connection.command("GET", name)),
        ledger=ledger,
        closer=Closer(ledger, metrics, patience_s=settings.ledger.close_patience_ms / 1_000),
        metrics=metrics,
        count_tokens=_count_tokens,
        ping=lambda: connection.command("PING"),
        body_bytes_max=settings.server.body_bytes_max,
    )
    return Gateway(settings, parts)
