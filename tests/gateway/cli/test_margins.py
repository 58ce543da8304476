"""`tollkeeper report --margin`, over what the recorder stored with the revenue of its time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from accounts.customerbook import CustomerBook
from accounts.featureprices import FeaturePrice
from accounts.planbook import PlanBook
from budgets.limit import check_terms
from gateway.recorder.storage import Storage
from metering.database import open_database
from metering.event import CostEvent, encode
from metering.eventstore import EventStore
from tests.billing.made import USD, plan
from tests.gateway.cli.conftest import Run
from tests.metering.events import event

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
SINCE = ("--since", "2h")


@pytest.fixture
def books(data_dir: Path) -> Iterator[tuple[PlanBook, CustomerBook]]:
    data_dir.mkdir()
    engine = open_database(data_dir / "tollkeeper.db")
    yield PlanBook(engine, None, check_terms), CustomerBook(engine, None, check_terms)
    engine.dispose()


@pytest.fixture
def storage(data_dir: Path) -> Iterator[Storage]:
    storage = Storage(data_dir / "tollkeeper.db")
    yield storage
    storage.close()


def record(storage: Storage, *events: CostEvent) -> None:
    storage.append(events, [encode(each) for each in events])


def used(customer: str, feature: str, cost_usd: int, **fields: int) -> CostEvent:
    return event(
        started_ms=NOW_MS - 1_000, customer=customer, feature=feature, cost_nano=cost_usd * USD, **fields
    )


def test_revenue_is_decided_when_an_event_is_stored_and_by_the_moment_at_which_it_began(
    books: tuple[PlanBook, CustomerBook], storage: Storage, data_dir: Path
) -> None:
    plans, _ = books
    plans.put_feature_price(FeaturePrice("search", NOW_MS - 500, 10**12))
    early, late = used("acme", "search", 1, usage_units=3), used("acme", "search", 1, usage_units=3)
    late.started_ms = NOW_MS
    record(storage, early, late)
    plans.put_feature_price(FeaturePrice("search", NOW_MS - 800, 5 * 10**12))
    record(storage, later := used("acme", "search", 1, usage_units=3))
    later.started_ms = NOW_MS - 700  # after it was stored: nothing changes any more
    store = EventStore(data_dir / "tollkeeper.db")
    ((_, row),) = [(each.key, each) for each in store.cost_by(())]
    store.close()
    assert (row.events, row.revenue_known, row.revenue_nano) == (3, 1, 3 * USD)


def test_the_table_says_who_earns_and_who_does_not_and_why(
    run: Run, books: tuple[PlanBook, CustomerBook], storage: Storage
) -> None:
    plans, customers = books
    plans.put_feature_price(FeaturePrice("search", 0, 10**12))
    plans.put_plan(plan("flat", 0))
    customers.subscribe("globex", "flat", starts_ms=NOW_MS - HOUR_MS)
    record(
        storage,
        used("acme", "search", 2, usage_units=8),
        used("globex", "notes", 4),
        used("initech", "notes", 1),
        used("_internal_ci", "search", 1),
    )
    lines = run("report", "--by", "customer", "--margin", *SINCE).stdout.splitlines()
    assert [each.strip() for each in lines[0].split("  ") if each.strip()] == [
        *("customer", "revenue $", "cost $", "margin $", "margin", "requests", "wasted $")
    ]
    assert [" ".join(line.split()) for line in lines if not line.startswith("-")][1:] == [
        "globex 0.00 4.00 -4.00 - 1 0.00 no revenue",
        "acme 8.00 2.00 6.00 75.0 % 1 0.00",
        "_internal_ci unknown 1.00 unknown - 1 0.00 internal",
        "initech unknown 1.00 unknown - 1 0.00 no source of revenue",
        "total 8.00 8.00 0.00 0.0 % 4 0.00 some revenue is not known",
    ]


def test_plan_fees_are_on_the_rows_that_they_belong_to_in_every_form(
    run: Run, books: tuple[PlanBook, CustomerBook], storage: Storage
) -> None:
    plans, customers = books
    plans.put_plan(plan("pro", 3_000))
    customers.subscribe("acme", "pro", starts_ms=NOW_MS - HOUR_MS)
    record(storage, used("acme", "search", 1))
    span = (
        "--since",
        "2020-01-01",
        "--until",
        f"{datetime.fromtimestamp(NOW_MS // 1_000, UTC):%Y-%m-%dT%H:%M}",
    )
    table = run("report", "--by", "feature", "--margin", *span).stdout
    assert "(plan fees)" in table
    by_feature = orjson.loads(run("report", "--by", "feature", "--margin", "--json", *span).stdout)
    by_customer = orjson.loads(run("report", "--by", "customer", "--margin", "--json", *span).stdout)
    assert by_feature["total"] == by_customer["total"]
    assert [(row["feature"], row["kind"]) for row in by_feature["rows"]] == [
        ("search", "events"),
        (None, "plan_fees"),
    ]
    (row,) = by_customer["rows"]
    assert row["customer"] == "acme"
    assert int(row["plan_fees_nano"]) == int(row["revenue_nano"]) > 4 * USD
    assert int(row["margin_nano"]) == int(row["revenue_nano"]) - USD
    percent = Decimal(100 * int(row["margin_nano"])) / int(row["revenue_nano"])
    assert Decimal(row["margin_pct"]) == percent.quantize(Decimal("0.0001"))
    shown = run("report", "--by", "feature", "--margin", "--csv", *span).stdout
    cells = list(csv.DictReader(io.StringIO(shown)))
    assert sum(int(each["revenue_nano"]) for each in cells) == int(by_feature["total"]["revenue_nano"])


def test_a_span_in_which_nothing_was_used_or_owed_says_so(
    run: Run, books: tuple[PlanBook, CustomerBook]
) -> None:
    assert "No requests from" in run("report", "--margin", *SINCE).stdout
