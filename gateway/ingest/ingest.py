"""Ingest as the api process holds it: what takes reports, what writes them, what tells the ledger again."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from threading import Event, Thread

import structlog
from sqlalchemy import Engine

from accounts.key import KeyRecord
from accounts.publishing import Publisher, wall_ms
from budgets.client import SyncClient
from budgets.rows import LedgerRows
from gateway.attribution import HeaderTable
from gateway.healing.healing import RecordedTerms
from gateway.ingest.calls import Calls
from gateway.ingest.counting import Counting
from gateway.ingest.pricing import Pricer
from gateway.ingest.recording import Recording
from gateway.ingest.telling import Telling
from gateway.ingest.work import Rendered, Work
from gateway.ingest.writer import IngestWriter
from gateway.settings import Settings
from metering.eventstore import EventStore, StoreUnavailable
from metering.pricebook import PriceBook

RECOUNT_EVERY_S = 5.0
FORGET_EVERY_S = 3_600.0

log = structlog.get_logger(component="ingest")


class Ingest:
    """Takes reports. `thread`: the process' one thread that writes."""

    def __init__(
        self,
        settings: Settings,
        prices: PriceBook,
        engine: Engine,
        store: EventStore,
        redis: SyncClient,
        rows: LedgerRows,
        thread: Executor,
        *,
        recount_every_s: float = RECOUNT_EVERY_S,
    ) -> None:
        terms = RecordedTerms(engine)
        lists = {name: provider.prices or name for name, provider in settings.providers.items()}
        self._pricer = Pricer(prices, lists)
        self._headers = HeaderTable(settings.attribution)
        self._counting = Counting(store, redis, terms.index, Publisher(engine, rows), now_ms=wall_ms)
        self._recording = Recording(
            store, lambda *asked: bool(terms.index(*asked).limits), Calls(redis), wall_ms
        )
        self._writer = IngestWriter(thread, self._recording, self._counting)
        self._forget_at = 0.0
        self._thread = thread
        self._every_s = recount_every_s
        self._stop = Event()
        self._beat = Thread(target=self._recount_often, name="ingest recount", daemon=True)

    def start(self) -> None:
        """Begin to tell the ledger what it has not counted; what a killed process left comes first."""
        self._beat.start()

    def close(self) -> None:
        """End that. What stands as not counted is told by the next process."""
        self._stop.set()
        if self._beat.is_alive():
            self._beat.join()

    def telling(self, key: KeyRecord, count: int, now_ms: int) -> Telling:
        """For a request that reports at most so many events with this key."""
        return Telling(key, self._pricer, self._headers, count, now_ms)

    def submit(self, work: Work) -> Future[Rendered]:
        """As IngestWriter.submit."""
        return self._writer.submit(work)

    def _recount_often(self) -> None:
        while True:
            try:
                self._thread.submit(self._recount).result()
            except RuntimeError:  # the thread was closed before us
                return
            if self._stop.wait(self._every_s):
                return

    def _recount(self) -> None:
        try:
            self._counting.recount()
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + FORGET_EVERY_S
                self._recording.forget_replies()
        except StoreUnavailable as error:
            log.warning("store_unavailable", reason=str(error))
        except Exception:
            log.exception("recount_failed")
