"""A worker and an api process over one ledger and one database, and a recorder that is asked to record.

Reports go in by HTTP, through the worker, as clients send them.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import sqlalchemy as sa

from budgets.names import names_of
from budgets.reaper import Reaper
from gateway.recorder.outbox import Outbox
from gateway.recorder.recording import Recorder
from gateway.recorder.spill import Spill
from gateway.recorder.storage import Storage
from gateway.settings import Settings
from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.ingested import Uncounted
from tests.stack import ACCOUNT, Stack, running_stack, wait_until

NEW = count(1)


@dataclass
class World:
    """`events` is the record. Keys made here may say anything about whom they report."""

    stack: Stack
    http: httpx2.Client
    events: EventStore
    secret: str = ""
    names: Iterator[int] = field(default_factory=lambda: NEW)

    def key(self, *scopes: str, **options: Any) -> str:
        """A new key's secret."""
        return self.stack.key(scopes=scopes or ("events.write",), **options)

    def batch(
        self, *events: Any, secret: str | None = None, path: str = "/api/events/ingest", **headers: str
    ) -> httpx2.Response:
        """Send a batch."""
        return self.post(path, {"events": list(events)}, secret, headers)

    def one(self, event: Any, secret: str | None = None, **headers: str) -> httpx2.Response:
        """Send one event to the platform's endpoint."""
        return self.post("/api/v1/client/events", event, secret, headers)

    def post(
        self, path: str, body: Any, secret: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        told = {"Authorization": f"Bearer {secret or self.secret}", **named}
        if isinstance(body, bytes | str):
            return self.http.post(path, content=body, headers={"content-type": "application/json", **told})
        return self.http.post(path, json=body, headers=told)

    def fresh(self, word: str) -> str:
        """A name that nothing has yet."""
        return f"{word}-{next(self.names)}"

    def of(self, customer: str) -> list[CostEvent]:
        """The recorded events of a customer, the newest first."""
        return list(self.events.page(customer=customer, limit=1_000).events)

    def only(self, customer: str) -> CostEvent:
        """The one recorded event of a customer."""
        (found,) = self.of(customer)
        return found

    def row(self, limit_id: str, key: str = "") -> tuple[int, int, int] | None:
        """(spent, reserved, doubted) of a limit's row in any window; None where there is none."""
        found = None
        for name in self.stack.redis.scan_iter(match=names_of(ACCOUNT).window + "*"):
            content = self.stack.redis.hget(name, f"{limit_id}:{key}" if key else limit_id)
            if content is not None:
                assert found is None, "the limit has rows in two windows"
                found = struct.unpack("<3q", content)
        return found

    def uncounted(self) -> list[Uncounted]:
        """What the record says that the ledger has not counted."""
        with self.events.snapshot() as snapshot:
            return list(snapshot.uncounted)

    def record(self) -> None:
        """Let a recorder take what is in the outbox."""
        stop = threading.Event()
        storage = Storage(self.stack.database)
        recorder = Recorder(
            Outbox(self.stack.redis, reader="test"),
            storage,
            Reaper(self.stack.redis, heartbeat_ms=10_000),
            Spill(self.stack.folder / "spill"),
            reap_every_s=600.0,
        )
        thread = threading.Thread(target=recorder.run, args=(stop,))
        thread.start()
        wait_until(lambda: not self.stack.redis.xlen(names_of(ACCOUNT).outbox))
        stop.set()
        thread.join()
        storage.close()

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """What a statement finds in the record."""
        engine = self.events._engine
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), values)]


@contextmanager
def running_world(record: Where | None = None, *, api: bool = True, **settings: Any) -> Iterator[World]:
    """`record`: the database; by default a file of its own. `api` False: nothing is answered, and nobody but
    the test writes and counts."""
    with (
        running_stack(Settings(**settings), api=api, record=record) as stack,
        httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as http,
    ):
        events = EventStore(stack.database)
        world = World(stack, http, events)
        world.secret = world.key()
        try:
            yield world
        finally:
            events.close()


def observed(world: World, **fields: Any) -> dict[str, Any]:
    """An event of the batch endpoint, of a customer of its own."""
    made = {
        "eventName": "document.summarized",
        "customerReferenceId": world.fresh("customer"),
        "featureKey": "summaries",
        "model": "gpt-4o",
        "inputTokens": 1_000,
        "outputTokens": 100,
    }
    return {name: value for name, value in (made | fields).items() if value is not ...}
