from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from accounts.customerbook import CustomerBook
from accounts.planbook import PlanBook
from accounts.planprice import FeatureRate, Tier
from accounts.tables import LIMITS
from billing.marginbook import MarginBook
from billing.ratebook import RateBook
from budgets.limit import check_terms
from gateway.recorder.aging import Aging
from gateway.settings.server import RecorderSettings
from metering.database import open_database, writing
from metering.eventstore import EventsRemoved, EventStore
from metering.retention import DAYS_MIN
from metering.rollup import DAY_MS, HOUR_MS
from tests.billing.made import plan
from tests.metering.events import event
from tests.metering.test_rowsums import sums_of

NOW_MS = time.time_ns() // 1_000_000


def lifetime_limit(path: Path, created_ms: int) -> None:
    engine = open_database(path)
    given = {
        "id": "lim_1", "scope": "customer", "scope_id": "acme", "window_kind": "lifetime", "kind": "money",
        "enforcement": "hard", "value": 10**9, "version": 1, "time_zone": "UTC", "anchor": 1,
        "thresholds": "[]", "created_ms": created_ms, "account_id": "default",
        "holder": "account", "holder_id": "",
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(sa.insert(LIMITS).values(given))
    engine.dispose()


def test_old_events_go_and_what_a_lifetime_limit_counts_stays_exact(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"
    store = EventStore(path)
    made = [event(started_ms=NOW_MS - n * 7 * HOUR_MS, cost_nano=10**6 + n) for n in range(250)]
    store.append(made)
    birth = NOW_MS - 60 * DAY_MS - NOW_MS % DAY_MS + 13 * HOUR_MS + 77
    lifetime_limit(path, birth)
    removed = Aging(path, 50).pass_once(NOW_MS, threading.Event())
    assert removed is not None
    assert removed.events > 50
    assert removed.complete_since_ms == (NOW_MS - 50 * DAY_MS) // DAY_MS * DAY_MS
    counted = [each for each in made if each.started_ms >= birth]
    assert store.row_sums("default", ("customer",), {"customer": "acme"}, birth, None) == sums_of(
        counted, [], ("customer",)
    )
    with pytest.raises(EventsRemoved):
        store.row_sums("default", ("customer",), {}, birth - DAY_MS, None)
    assert Aging(path, 50).pass_once(NOW_MS, threading.Event()) == type(removed)(0, removed.complete_since_ms)
    store.close()


@pytest.mark.wide
def test_what_is_charged_by_period_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"
    store, engine = EventStore(path), open_database(path)
    plans, customers = PlanBook(engine, None, check_terms), CustomerBook(engine, None, check_terms)
    rate = FeatureRate("summaries", "graduated", tiers=(Tier(9_000, 3_000), Tier(None, 1_000)))
    first_ms = NOW_MS - NOW_MS % DAY_MS - 90 * DAY_MS
    # The months of one begin at half past a UTC hour, those of the other when it came, at 10:20.
    plans.put_plan(plan("kolkata", 30, rate, time_zone="Asia/Kolkata", anchor=1))
    plans.put_plan(plan("own", 30, rate))
    customers.subscribe("globex", "kolkata", starts_ms=first_ms - 400 * DAY_MS)
    customers.subscribe("acme", "own", starts_ms=first_ms + 10 * HOUR_MS + 20 * 60_000)
    made = [
        event(started_ms=first_ms + n * HOUR_MS * 3 + 7, customer=("acme", "globex")[n % 2])
        for n in range(700)
    ]
    store.append(made, revenue=RateBook(engine.connect).for_batch(made))
    margins = MarginBook(store)
    spans = [(first_ms + n * DAY_MS, first_ms + m * DAY_MS) for n, m in ((0, 30), (1, 35), (20, 80), (0, 88))]
    before = [margins.margins(("customer",), *span) for span in spans]
    assert all(row.period_nano for view in before for row in view.rows)
    removed = Aging(path, 50).pass_once(NOW_MS, threading.Event())
    assert removed is not None
    assert removed.events > 200
    assert [margins.margins(("customer",), *span) for span in spans] == before
    store.close()
    engine.dispose()


def test_without_a_setting_nothing_is_removed_and_the_thread_ends(tmp_path: Path) -> None:
    stop = threading.Event()
    assert Aging(tmp_path / "none.db", None).pass_once(NOW_MS, stop) is None
    Aging(tmp_path / "none.db", None).run(stop)
    assert not stop.is_set()


def test_events_are_kept_as_long_as_sums_of_traces_and_corrections_reach_back() -> None:
    assert RecorderSettings(retention_days=DAYS_MIN).retention_days == DAYS_MIN
    with pytest.raises(ValidationError):
        RecorderSettings(retention_days=DAYS_MIN - 1)
