"""Healing as the recorder's process does it: the records of limits and events, and the ledger, all real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from accounts.publishing import ACCOUNT, wall_ms
from accounts.terms import NewLimit
from budgets.client import connect_sync
from budgets.counted import LimitIndex
from budgets.healer import GRACE_S, LOOK_EVERY_MS
from budgets.names import names_of
from budgets.rows import LedgerRows
from gateway.healing.healing import Healing, RecordedTerms
from gateway.healing.metrics import healing_exporter
from gateway.recorder.entry import Entry
from gateway.recorder.spill import FOLDER, Spill
from gateway.serve.valkey import EmbeddedValkey
from metering.database import Where, identity, open_database
from metering.event import CostEvent, encode
from metering.eventstore import EventStore, StoreUnavailable
from metering.ids import new_id
from tests.databases import PostgresServer

GRACE_MS = round(1_000 * GRACE_S)
NAMES = names_of(ACCOUNT)


@dataclass
class Site:
    """An installation without workers. `clock_ms`: the monotonic clock of the passes."""

    redis: Any
    folder: Path
    engine: Engine
    store: EventStore
    healing: Healing
    database: Where
    clock_ms: int = 0

    @property
    def path(self) -> Path:
        assert isinstance(self.database, Path)
        return self.database

    def heal(self, for_ms: int = 0) -> None:
        for _ in range(0, for_ms + 1, LOOK_EVERY_MS):
            self.healing.pass_once(self.clock_ms)
            self.clock_ms += LOOK_EVERY_MS

    def make_whole(self) -> None:
        self.heal(GRACE_MS)
        assert self.is_whole()

    def is_whole(self) -> bool:
        return bool(self.redis.hexists(NAMES.meta, "complete_since"))

    def spent(self, limit_id: str) -> int | None:
        for window in self.redis.keys(f"{NAMES.window}*"):
            found = self.redis.hget(window, limit_id)
            if found is not None:
                return int.from_bytes(found[:8], "little")
        return None


@pytest.fixture
async def site(tmp_path: Path, database: Where) -> AsyncIterator[Site]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    redis = connect_sync(server.url, timeout_s=5)
    engine = open_database(database)
    store = EventStore(database)
    healing = Healing(redis, database, nightly_hour=25, spill_folder=tmp_path / FOLDER)
    yield Site(redis, tmp_path, engine, store, healing, database)
    healing.close()
    store.close()
    engine.dispose()
    redis.close()
    await server.stop()


def event(cost_nano: int, **fields: Any) -> CostEvent:
    values: dict[str, Any] = {"cost_nano": cost_nano, "cost_status": "priced", "started_ms": wall_ms()}
    return CostEvent(id=new_id(), **(values | fields))


async def test_a_lost_memory_is_filled_from_sql_the_event_store_and_files(site: Site) -> None:
    rows = LedgerRows(site.redis)
    keyring, book = Keyring(site.engine, rows), LimitBook(site.engine, rows)
    _, key = keyring.create("app", limits=[NewLimit("month", 5_000)])
    of_customer = book.set("customer", "acme", "money", "month", 9_000).limit
    of_each = book.set("customer", "*", "requests", "day", 50).limit
    site.make_whole()
    site.store.append([event(70, key_id=key.id, customer="acme"), event(5, customer="bolt")])
    Spill(site.folder / FOLDER).put([Entry(b"x", b"1-1", {b"e": encode(event(8, key_id=key.id))})])
    site.redis.flushall()
    site.heal()
    assert site.redis.hget(NAMES.limits, of_customer.id) == b"9000"
    assert site.redis.hget(NAMES.key + key.id, "st") == b"active"
    assert site.redis.exists(NAMES.account + ACCOUNT, f"{NAMES.customer}{ACCOUNT}:acme") == 2
    assert not site.is_whole()
    site.heal(GRACE_MS)
    assert site.is_whole()
    assert site.spent(key.limits[0].id) == 78
    assert site.spent(of_customer.id) == 70
    assert [site.spent(f"{of_each.id}:{name}") for name in ("acme", "bolt")] == [1, 1]
    assert site.healing.counters.reseeds == 2


async def test_a_row_that_lacks_something_is_corrected_and_told(site: Site) -> None:
    book = LimitBook(site.engine, LedgerRows(site.redis))
    limit = book.set("account", ACCOUNT, "money", "month", 9_000).limit
    observe = healing_exporter()
    before = metrics()
    site.make_whole()
    site.store.append([event(70)])
    site.heal(70_000)
    assert site.spent(limit.id) == 70
    observe(site.healing.counters)
    observe(site.healing.counters)
    after = metrics()
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        ("tollkeeper_ledger_rows_total", "compared"): 1,
        ("tollkeeper_ledger_rows_total", "raised"): 1,
        ("tollkeeper_ledger_drift_nanousd_total", "up"): 70,
        ("tollkeeper_ledger_reseeds_total", ""): 1,
        ("tollkeeper_ledger_cold_seconds_total", ""): site.healing.counters.cold_ms / 1_000,
    }


def metrics() -> dict[tuple[str, str], float]:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("tollkeeper_ledger_") and sample.name.endswith("_total") and sample.value
    }


async def test_limits_are_read_anew_only_when_they_change(site: Site) -> None:
    terms = RecordedTerms(site.engine)
    book = LimitBook(site.engine, None)

    def ids() -> tuple[LimitIndex, list[str]]:
        index = terms.index(ACCOUNT)
        return index, [limit.id for limit in index.limits]

    assert ids()[1] == []
    first = book.set("account", ACCOUNT, "money", "month", 9_000).limit
    one, found = ids()
    assert found == [first.id]
    assert ids()[0] is one
    book.set("account", ACCOUNT, "money", "month", 9_001)
    assert ids()[0].limits[0].value == 9_001
    zoned = book.set("account", ACCOUNT, "money", "month", 9_001, time_zone="Asia/Tokyo").limit
    assert ids()[1] == [zoned.id]
    book.clear("account", ACCOUNT, "money", "month")
    assert ids()[1] == []


async def test_every_account_is_known(site: Site) -> None:
    Keyring(site.engine, None).create("app")
    for account in ("alpha", "zeta"):
        LimitBook(site.engine, None).set("account", account, "money", "month", 1, account_id=account)
    assert RecordedTerms(site.engine).accounts() == ["alpha", ACCOUNT, "zeta"]


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
async def test_a_database_that_is_away_heals_nothing_and_is_opened_when_it_is_back(site: Site) -> None:
    site.make_whole()
    moved = site.path.rename(site.folder / "moved.db")
    with pytest.raises(StoreUnavailable, match="No such file"):
        site.heal()
    assert not site.path.exists()
    site.redis.flushall()
    moved.rename(site.path)
    site.make_whole()


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
async def test_another_file_in_the_database_s_place_is_the_one_that_counts(
    site: Site, tmp_path: Path
) -> None:
    site.make_whole()
    site.path.rename(site.folder / "moved.db")
    other = open_database(site.path)
    limit = LimitBook(other, LedgerRows(site.redis)).set("account", ACCOUNT, "money", "month", 5).limit
    other.dispose()
    fresh = EventStore(site.path)
    fresh.append([event(3)])
    fresh.close()
    site.heal(70_000)
    assert site.spent(limit.id) == 3


@pytest.mark.wide
@pytest.mark.debian
@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
async def test_another_database_of_its_name_is_the_one_that_counts(
    site: Site, postgres: PostgresServer
) -> None:
    site.store.append([event(1)])
    site.make_whole()
    name = str(site.database).partition("?")[0].rpartition("/")[2]
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
    with pytest.raises(StoreUnavailable):
        site.heal()
    postgres.sql(f"CREATE DATABASE {name}")
    with pytest.raises(StoreUnavailable, match="holds no tables"):
        site.heal()
    other = open_database(site.database)
    limit = LimitBook(other, LedgerRows(site.redis)).set("account", ACCOUNT, "money", "month", 5).limit
    other.dispose()
    site.store.append([event(3)])
    site.heal(70_000)
    assert site.spent(limit.id) == 3


@pytest.mark.wide
@pytest.mark.debian
@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
async def test_a_server_that_was_restarted_is_looked_at_anew(site: Site, postgres: PostgresServer) -> None:
    site.make_whole()
    before = identity(site.database, site.engine)
    assert before == identity(site.database, site.engine)
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            site.heal()
    finally:
        postgres.start()
    assert identity(site.database, site.engine) != before
    site.heal()


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
async def test_a_file_that_is_no_database_is_told(site: Site) -> None:
    site.path.unlink()
    site.path.write_bytes(b"not a database, whatever its name says" * 50)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        site.heal()
