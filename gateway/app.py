"""Composition root of a worker: the only place where its parts are constructed.

`Gateway` is a raw ASGI application. Proxied paths go straight to `call.serve`, what the api process answers
goes through the relay, and everything else (models, health, and the 404 for what is not there) through
Starlette.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from importlib.metadata import version
from pathlib import Path
from time import time
from typing import Any

import structlog

from accounts.keycache import KeyCache
from accounts.termscache import TermsCache
from budgets.claims import Claims
from budgets.cluster import ClusterConnection
from budgets.connection import RedisConnection
from budgets.journal import Journal
from budgets.ledger import Ledger
from budgets.names import names_of
from gateway.api.pathnames import apart
from gateway.api.relay import Relay
from gateway.attribution import HeaderTable
from gateway.call import serve
from gateway.client import Receive, Send, client_of
from gateway.closer import Closer
from gateway.dialects.openai_moderations import DEFAULT_MODEL as MODERATION_MODEL
from gateway.dialects.surfaces import find_surface
from gateway.dialects.surfaces import paths as proxied_paths
from gateway.endpoints import API, Endpoint, build_endpoints
from gateway.entitlements import Entitlements
from gateway.estimates import Estimates
from gateway.forwarding.healthboard import FILE as BOARD
from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.metrics import CIRCUIT, STATES
from gateway.forwarding.upstream import build_upstream
from gateway.healing.recent_closes import RecentCloses
from gateway.leases import Leases, epochs_by
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.prices import price_book
from gateway.repeats import Repeats
from gateway.revocations import Revocations
from gateway.serve.exposition import collect
from gateway.settings import Settings
from gateway.stored import StoredAnswers
from gateway.uncovered import Uncovered
from metering import tokens
from metering.pricebook import PriceBook
from routing.outcome import Outcome
from routing.table import Route, RouteTable, target_of

METRICS_EVERY_S = 0.25
"""How old what Prometheus is told of requests may be."""


class Gateway:
    """The ASGI application, and the upkeep that runs beside it. `endpoints`: everything it serves."""

    def __init__(
        self,
        parts: Parts,
        leases: Leases,
        journal: Journal | None,
        board: HealthBoard,
        revocations: Revocations,
        relay: Relay,
    ) -> None:
        self.parts = parts
        self.board = board
        self.leases = leases
        self.revocations = revocations
        self.journal = journal
        self._relay = relay
        proxied = proxied_paths()
        others = build_endpoints(parts, frozenset(path for _, path, _ in proxied))
        self._rest = others.application
        self._relayed = others.relayed
        self.endpoints = (*(Endpoint(*each) for each in proxied), *others.endpoints)
        self._log = structlog.get_logger("gateway")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        found = find_surface(scope["method"], scope["path"])
        if found is None:
            if scope["path"].startswith(API):
                scope = apart(scope)
            rest = self._relay if self._relayed(scope["path"]) else self._rest
            await rest(scope, receive, send)
            return
        surface, place = found
        try:
            await serve(self.parts, surface, place, scope, client_of(scope, receive, send))
        except Exception:
            # A fault of ours. What was held is settled by the reaper; the server below answers 500 or,
            # where an answer had begun, cuts the connection.
            self._log.exception("request_failed", surface=surface.name)
            raise

    async def keep_metrics(self) -> None:
        """Tell what requests came to, and how many run, for ever: cheaper than a word for each of them."""
        while True:
            self.parts.metrics.running([each.lease.held_nano for each in self.parts.running.values()])
            self.parts.metrics.tell()
            await asyncio.sleep(METRICS_EVERY_S)

    async def keep_health(self) -> None:
        """Once a second, for ever: share how targets do with the other workers, and tell it to Prometheus."""
        places = {
            f"{target.name}@{endpoint.label}" if endpoint.label else target.name: upstream.place(
                endpoint, target
            )
            for route in self.parts.routes.configured()
            for target in route.targets
            for upstream in (self.parts.upstreams[target.provider],)
            for endpoint in upstream.endpoints
        }
        while True:
            self.board.tell()
            for name, place in places.items():
                CIRCUIT.labels(name).set(STATES[self.board.word(place)])
            await asyncio.sleep(1.0)

    async def keep_journal(self) -> None:
        """Bring the journal to the disk once a second, for ever; only a power cut could take it before."""
        while self.journal is not None:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self.journal.sync)

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
        await self.parts.repeats.finish()
        await self.parts.stored.finish()
        await self.parts.estimates.finish()
        self.parts.metrics.tell()
        for upstream in self.parts.upstreams.values():
            await upstream.aclose()
        await self._relay.aclose()
        if self.journal is not None:
            self.journal.close()


def build_routes(settings: Settings, prices: PriceBook) -> RouteTable:
    """The route table of a configuration: its routes, and what each provider offers by name."""
    price_lists = {name: provider.prices or name for name, provider in settings.providers.items()}
    routes = [
        Route(
            alias,
            tuple(
                target_of(
                    each.provider,
                    each.model,
                    price_lists[each.provider],
                    priced_as=each.priced_as,
                    weight=each.weight,
                    priority=each.priority,
                )
                for each in route.targets
            ),
            route.assumed_max_output,
            route.minimum_output,
            route.order,
            route.sticky_by,
            frozenset(Outcome(word) for word in route.fallback_on),
            round(route.deadline_s * 1_000),
        )
        for alias, route in settings.routes.items()
    ]
    offered = {}
    for name, provider in settings.providers.items():
        if provider.models == "priced":
            models = [model.id for model in prices.models(price_lists[name])]
            if prices.find(price_lists[name], MODERATION_MODEL, int(time() * 1_000)):
                models.append(MODERATION_MODEL)  # listed by a pattern, not by the name that clients leave out
        else:
            models = list(provider.models)
        offered[name] = (price_lists[name], models)

    def priced(provider: str, price_list: str, model: str) -> bool:
        offers = settings.providers[provider].models == "priced"
        return offers and prices.find(price_list, model, int(time() * 1_000)) is not None

    return RouteTable(routes, offered, priced)


async def _count_tokens(text: str, model: str) -> int:
    return await asyncio.to_thread(tokens.count, text, model)


def build_gateway(
    settings: Settings,
    connection: RedisConnection | ClusterConnection,
    *,
    owner: str,
    journal: Journal | None = None,
    metrics_dir: Path | None = None,
    api_socket: Path | None = None,
) -> Gateway:
    """One worker's gateway over an open connection. `owner` names the worker to the ledger, `metrics_dir`
    has the value files of all processes, and what they share of how targets do (None: this one is alone).
    `api_socket`: where the api process listens (None: there is none, and its paths answer 503).

    Without a journal nothing runs while the ledger is away, and a client waits for its close.
    """
    prices = price_book(settings)
    routes = build_routes(settings, prices)
    release = version("tollkeeper")
    board = HealthBoard(metrics_dir / BOARD if metrics_dir is not None else None)
    ledger = Ledger(connection, owner=owner, lease_ms=settings.ledger.lease_ms)
    metrics = Metrics(routes.label_names())
    recent = RecentCloses(ledger, metrics)
    uncovered = Uncovered(
        ledger, journal, metrics, shares=settings.server.worker_count * settings.ledger.nodes
    )
    terms = TermsCache(
        lambda account: connection.command("GET", names_of(account).account + account),
        lambda account, customer: connection.command(
            "HGET", f"{names_of(account).customer}{account}:{customer}", "doc"
        ),
    )
    parts = Parts(
        routes=routes,
        upstreams={
            name: build_upstream(name, provider, version=release, board=board)
            for name, provider in settings.providers.items()
        },
        prices=prices,
        headers=HeaderTable(settings.attribution),
        keys=KeyCache(lambda name: connection.command("GET", name)),
        terms=terms,
        entitlements=Entitlements(connection.command, terms),
        ledger=ledger,
        uncovered=uncovered,
        closer=Closer(
            ledger, journal, uncovered, metrics, recent, patience_s=settings.ledger.close_patience_ms / 1_000
        ),
        repeats=Repeats(Claims(connection)),
        stored=StoredAnswers(connection.command),
        metrics=metrics,
        count_tokens=_count_tokens,
        estimates=Estimates(),
        ping=lambda: connection.command("PING"),
        scrape=lambda: asyncio.to_thread(collect, metrics_dir),
        body_bytes_max=settings.server.body_bytes_max,
    )
    leases = Leases(
        parts,
        recent,
        epochs_by(connection),
        heartbeat_s=settings.ledger.heartbeat_ms / 1_000,
    )
    revocations = Revocations(parts, connection, every_s=settings.ledger.heartbeat_ms / 1_000)
    relay = Relay(api_socket, answer_s=settings.api.answer_s, body_bytes_max=settings.server.body_bytes_max)
    return Gateway(parts, leases, journal, board, revocations, relay)
