"""`tollkeeper export`: everything is in the files once, and their sums are the record's."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

import metering.eventexport
from gateway.cli.export import walk_events
from metering.adjustment import Adjustment
from metering.database import Where, open_database
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.ids import new_id
from metering.money import usd_to_nano
from reports.columns import moment
from reports.exporting import Counted, export_parts, shape_of
from reports.parquet import NoParquet
from tests.gateway.cli.conftest import Run, fault_of
from tests.metering.events import NOVEMBER_MS, event

DAY_MS = 86_400_000
LATER_MS = NOVEMBER_MS + 40 * DAY_MS


def adjustment(of: CostEvent, nano: int, at_ms: int = NOVEMBER_MS, **more: Any) -> Adjustment:
    return Adjustment(new_id(), of.id, of.account_id, at_ms, "provider", "billed so", nano, **more)


@pytest.fixture
def recorded(database: Where) -> Iterator[tuple[Where, EventStore]]:
    """Nine events of every kind, two of them corrected, and one of another account; on every engine."""
    with closing(EventStore(database)) as store:
        fill(store)
        yield database, store


def fill(store: EventStore) -> None:
    told = [event(started_ms=NOVEMBER_MS + n * 1_000, cost_nano=1_000_000_007 + n) for n in range(5)]
    unknown = event(started_ms=NOVEMBER_MS + 1, cost_nano=None, cost_status="unpriced", attempts=[])
    late = event(
        started_ms=NOVEMBER_MS - DAY_MS,
        customer="=cmd()",
        workspace="eu",
    )
    same = [event(id=f"same-{n}", started_ms=NOVEMBER_MS + 77, cost_nano=5, attempts=[]) for n in (2, 1)]
    other = event(account_id="other", started_ms=NOVEMBER_MS)
    # In one transaction each, so that arrival is not the order of starts.
    for batch in ([*told[2:], unknown], [late, *told[:2]], same[:1], same[1:], [other]):
        store.append(batch)
    store.append_adjustments(
        [
            adjustment(told[0], -500, LATER_MS),
            adjustment(told[0], 3),
            adjustment(unknown, 42, unpriced_delta=-1),
            adjustment(event(), 10**9),  # of an event that is not here
        ]
    )


def exported(where: Where, form: str = "csv", rows: str | None = None, **span: Any) -> bytes:
    engine = open_database(where)
    try:
        told = walk_events(engine, span.get("account", "default"), span.get("since", 0), span.get("until"))
        return b"".join(export_parts(told, shape_of(form, rows), Counted()))
    finally:
        engine.dispose()


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_every_event_once_in_the_order_of_starts_whatever_the_pages(
    recorded: tuple[Where, EventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, store = recorded
    whole = exported(where)
    rows = table(whole)
    starts = [row["started_at"] for row in rows]
    assert starts == sorted(starts)
    assert len({row["id"] for row in rows}) == len(rows) == 9
    assert [row["id"] for row in rows if row["id"].startswith("same")] == ["same-2", "same-1"]
    for size in (1, 2, 3, 9):
        monkeypatch.setattr(metering.eventexport, "PAGE", size)
        assert exported(where) == whole
    assert len(table(exported(where, account="other"))) == 1
    within = table(exported(where, since=NOVEMBER_MS + 1, until=NOVEMBER_MS + 2_000))
    assert [row["started_at"] for row in within] == [moment(NOVEMBER_MS + n) for n in (1, 77, 77, 1_000)]
    assert store.page(account_id="other").events


def test_sums_of_every_format_are_the_records(recorded: tuple[Where, EventStore]) -> None:
    where, store = recorded
    (sums,) = store.cost_by((), 0, None)
    rows = table(exported(where))
    assert sum(int(row["known_cost_nano"]) for row in rows) == sums.cost_nano
    assert sum(usd_to_nano(row["known_cost_usd"]) for row in rows) == sums.cost_nano
    assert sum(int(row["input_tokens"] or 0) for row in rows) == sums.input_tokens
    assert sum(row["cost_nano"] == "" for row in rows) == sums.unpriced
    documents = [orjson.loads(line) for line in exported(where, "jsonl").splitlines()]
    assert sum(each["known_cost_nano"] for each in documents) == sums.cost_nano
    assert [each["id"] for each in documents] == [row["id"] for row in rows]
    charges = table(exported(where, "focus"))
    assert sum(int(each["x_EffectiveCostNano"]) for each in charges) == sums.cost_nano
    for name in ("BilledCost", "EffectiveCost"):
        assert sum(Decimal(each[name]) for each in charges) == Decimal(sums.cost_nano).scaleb(-9)


def test_attempts_and_their_bills(recorded: tuple[Where, EventStore]) -> None:
    where, _ = recorded
    attempts, bills = table(exported(where, rows="attempts")), table(exported(where, rows="breakdown"))
    assert len(attempts) == 6
    assert {each["attempt"] for each in attempts} == {"1"}
    assert attempts[1]["input_tokens"] == "1200"
    assert {(each["unit"], each["quantity"], each["price_pico"], each["cost_nano"]) for each in bills} == {
        ("output_tokens", "300", "600000", "180000")
    }


def test_focus_columns_as_the_specification_wants_them(recorded: tuple[Where, EventStore]) -> None:
    where, _ = recorded
    charges = table(exported(where, "focus"))
    for row in charges:
        for name in MANDATORY:
            assert row[name] != "", (name, row)
        for name in ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", row[name]), (name, row[name])
        assert row["ChargeCategory"] in ("Usage", "Adjustment")
        if row["ChargeCategory"] == "Usage":
            assert row["PricingQuantity"]
            assert row["SkuPriceId"]
            if row["ContractedUnitPrice"]:
                product = Decimal(row["ContractedUnitPrice"]) * Decimal(row["PricingQuantity"])
                assert product == Decimal(row["ContractedCost"])
    first = charges[0]
    assert (first["SubAccountId"], first["SubAccountType"]) == ("eu", "Workspace")
    assert orjson.loads(first["Tags"])["customer"] == "=cmd()"
    assert first["BillingPeriodStart"] == "2026-10-01T00:00:00Z"
    corrections = [row for row in charges if row["ChargeCategory"] == "Adjustment"]
    assert [(row["ChargeClass"], row["EffectiveCost"], row["BillingPeriodStart"]) for row in corrections] == [
        ("Correction", "-0.0000005", "2026-12-01T00:00:00Z"),
        ("", "0.000000003", "2026-11-01T00:00:00Z"),
        ("", "0.000000042", "2026-11-01T00:00:00Z"),
    ]


MANDATORY = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName", "PublisherName"),
    *("ServiceCategory", "ServiceName", "ServiceSubcategory"),
)


@pytest.mark.wide
@pytest.mark.parametrize("form", ["parquet", "focus-parquet"])
def test_parquet_has_the_same_rows(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (scripts/setup wide)")
    import pyarrow.parquet

    where = tmp_path / "t.db"
    with closing(EventStore(where)) as store:
        fill(store)
        (sums,) = store.cost_by((), 0, None)
    found = pyarrow.parquet.read_table(io.BytesIO(exported(where, form)))
    same = table(exported(where, "focus" if "focus" in form else "csv"))
    assert found.num_rows == len(same)
    assert found.column_names == list(same[0])
    amount = "BilledCost" if "focus" in form else "known_cost_usd"
    assert sum(found[amount].to_pylist()) == Decimal(sums.cost_nano).scaleb(-9)
    if "focus" in form:
        for name in ("BilledCost", "ListCost", "ConsumedQuantity", "PricingQuantity"):
            assert pyarrow.types.is_decimal(found.schema.field(name).type), name
    moments = found["ChargePeriodStart" if "focus" in form else "started_at"].to_pylist()
    assert moments == sorted(moments)
    assert moments[0].tzinfo is not None


@pytest.fixture
def filled(data_dir: Path) -> None:
    with closing(EventStore(data_dir / "tollkeeper.db")) as store:
        fill(store)


def test_command_writes_files_whole_or_not_at_all(run: Run, filled: None, tmp_path: Path) -> None:
    words = ("export", "events", "--since", "2026-10-01", "--until", "2026-12-31")
    printed = run(*words)
    assert printed.exit_code == 0
    assert "9 events; the cost of 1" not in printed.stderr
    assert printed.stderr == "9 events\n"
    whole = printed.stdout_bytes
    assert b"'=cmd()" in whole
    plain, packed = tmp_path / "e.csv", tmp_path / "e.csv.gz"
    plain.write_text("old")
    for path in (plain, packed):
        assert run(*words, "--out", path).exit_code == 0
    assert plain.read_bytes() == whole
    assert gzip.decompress(packed.read_bytes()) == whole
    assert "absent" in fault_of(run(*words, "--out", tmp_path / "absent" / "e.csv"))
    assert run(*words, "--format", "focus", "--rows", "attempts").exit_code == 2
    assert {each.name for each in tmp_path.iterdir()} == {"data", "e.csv", "e.csv.gz"}


def test_without_pyarrow_a_sentence_says_what_to_do(
    run: Run, filled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "tollkeeper[parquet]" in fault_of(run("export", "events", "--format", "parquet"))
    with pytest.raises(NoParquet):
        shape_of("focus-parquet", None)
