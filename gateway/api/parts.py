"""ApiParts: what the api process holds while it answers, built once and handed to every call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Engine

from accounts.customerbook import CustomerBook
from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from accounts.planbook import PlanBook
from budgets.client import SyncClient, connect_sync
from budgets.limit import check_terms
from budgets.rows import LedgerRows
from gateway.ingest.ingest import Ingest
from gateway.prices import price_book
from gateway.settings import Settings
from metering.database import Where, open_database
from metering.eventstore import EventStore
from metering.pricebook import PriceBook

Result = TypeVar("Result")
REDIS_TIMEOUT_S = 10.0


class Writer:
    """The one thread of this process that writes to the database: writers of one process never wait for one
    another's lock."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "api writer")

    def run(self, act: Callable[[], Result]) -> Result:
        """Do it there and wait for it; from a thread that reads. What it raises is raised here."""
        return self.pool.submit(act).result()

    def close(self) -> None:
        """Wait for what was begun."""
        self.pool.shutdown()


@dataclass(slots=True)
class ApiParts:
    """The process' parts. All may be used from several threads; changes are made in the writer's."""

    settings: Settings
    engine: Engine
    redis: SyncClient
    rows: LedgerRows
    events: EventStore
    keyring: Keyring
    limits: LimitBook
    prices: PriceBook
    writer: Writer
    ingest: Ingest

    def plans(self, account_id: str) -> PlanBook:
        """The account's features and plans."""
        return PlanBook(self.engine, self.rows, check_terms, account_id=account_id)

    def customers(self, account_id: str) -> CustomerBook:
        """The account's customers and their subscriptions."""
        return CustomerBook(self.engine, self.rows, check_terms, account_id=account_id)

    def close(self) -> None:
        """End the writer, then close every connection."""
        self.ingest.close()
        self.writer.close()
        self.events.close()
        self.engine.dispose()
        self.redis.close()


def build_parts(settings: Settings, redis_url: str, database: Where) -> ApiParts:
    """The parts over a migrated database and a Redis that answers. Raises DatabaseError, redis.RedisError."""
    redis = connect_sync(
        redis_url, timeout_s=REDIS_TIMEOUT_S, connect_timeout_s=settings.ledger.timeout_ms / 1_000
    )
    engine = open_database(database, create=False)
    rows = LedgerRows(redis)
    store = EventStore(database, create=False)
    prices = price_book(settings)
    writer = Writer()
    return ApiParts(
        settings=settings,
        engine=engine,
        redis=redis,
        rows=rows,
        events=store,
        keyring=Keyring(engine, rows),
        limits=LimitBook(engine, rows, check_terms),
        prices=prices,
        writer=writer,
        ingest=Ingest(settings, prices, engine, store, redis, rows, writer.pool),
    )
