"""Prices of features and plans, and deals of customers, on the command line."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from accounts.planprice import FeatureRate, Tier
from accounts.subscription import Deal
from gateway.cli.price_lines import (
    deal_text,
    rate_text,
    read_discount,
    read_rate,
    read_unit_price,
    unit_price_text,
)
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, fault_of


def document(run: Run, *words: Any) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return orjson.loads(result.stdout)


@pytest.mark.parametrize(
    ("text", "rate", "shown"),
    [
        ("a=included", FeatureRate("a"), "a: included"),
        ("a=usage:2.00/1_000_000", FeatureRate("a", "usage", 2_000_000), "a: $2.00 for 1000000"),
        ("a=usage:0.02", FeatureRate("a", "usage", 2 * 10**10), "a: $0.02"),
        (
            "a=package:1000=5.00",
            FeatureRate("a", "package", package_units=1_000, package_nano=5 * 10**9),
            "a: $5.00 for each 1000",
        ),
        (
            "a=graduated:1000=0.02,*=0.01+5.00",
            FeatureRate("a", "graduated", tiers=(Tier(1_000, 2 * 10**10), Tier(None, 10**10, 5 * 10**9))),
            "a: $0.02 up to 1000, then $0.01 and $5.00 once",
        ),
    ],
)
def test_rates_are_read_and_shown(text: str, rate: FeatureRate, shown: str) -> None:
    assert read_rate(text) == rate
    assert rate_text(rate) == shown


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "=usage:1",
            "a=usage",
            "a=usage:x",
            "a=usage:1/0",
            "a=usage:1/3",
            "a=barter:1",
            "a=included:1",
        ),
        *(
            "a=package:5",
            "a=package:x=5",
            "a=graduated:",
            "a=graduated:5",
            "a=graduated:x=1",
            "a=usage:0.1/-3",
        ),
    ],
)
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_rate(text)


def test_prices_of_units_are_exact_to_the_pico_dollar() -> None:
    assert read_unit_price("0.000000000001") == 1
    assert read_unit_price("$1.00/1000000") == 1_000_000
    with pytest.raises(ValueError, match="finer than a pico-dollar"):
        read_unit_price("1.00/3")
    assert [unit_price_text(pico) for pico in (10**12, 10**6, 1, 123_456_789)] == [
        "$1.00",
        "$1.00 for 1000000",
        "$0.000000000001",
        "$0.000123456789",
    ]


def test_discounts_and_deals() -> None:
    assert [read_discount(text) for text in ("12.5", "100%", " 0.0001 %", "0")] == [125_000, 1_000_000, 1, 0]
    for text in ("-1", "100.1", "NaN", "x", "0.00001"):
        with pytest.raises(ValueError, match="discount"):
            read_discount(text)
    assert deal_text(Deal()) == ""
    assert deal_text(Deal(20 * 10**9, 12, 125_000)) == "12 times $20.00, 12.5 % off"
    assert deal_text(Deal(quantity=3)) == "3 times the price"
    assert deal_text(Deal(0)) == "$0.00"


def test_a_plan_has_a_price_and_another_price_is_another_version(run: Run, serving: Server) -> None:
    pro = ("plans", "set", "pro", "--price", "29.00", "--rate", "search=usage:2.00/1000000")
    made = document(run, *pro)
    assert (made["version"], made["features"], made["other_features"]) == (1, ["search"], "deny")
    assert made["price"]["price_usd"] == "29.00"
    assert made["price"]["rates"] == [
        {
            "feature": "search",
            "model": "usage",
            "price_per_unit_usd": "0.000002",
            "price_per_unit_pico": "2000000",
        }
    ]
    assert "is so already" in run(*pro).stdout
    second = document(run, *pro[:3], "--price", "300", "--interval-months", 12, "--billing", "in_arrears")
    assert (second["version"], second["price"]["interval_months"]) == (2, 12)
    assert "$300.00 for 12 months, in arrears" in run("plans", "show", "pro").stdout
    assert "search: $2.00 for 1000000" in run("plans", "show", "pro@1").stdout
    assert "$300.00 for 12 months" in run("plans", "list").stdout
    assert document(run, "plans", "set", "bare")["price"] is None
    assert document(run, "plans", "set", "free", "--price", "0")["price"]["price_usd"] == "0.00"


def test_what_cannot_be_a_plans_price_is_told(run: Run, serving: Server) -> None:
    def fault(*words: str) -> str:
        return fault_of(run("plans", "set", "p", *words))

    assert "a nano-dollar" in fault("--price", "0.0000000001")
    assert "the price is -1000000000" in fault("--price", "-1")
    assert "FEATURE=included" in fault("--rate", "search")
    assert "charged twice" in fault("--rate", "a=included", "--rate", "a=usage:1")
    assert "last tier has no upper end" in fault("--rate", "a=graduated:5=1")


def test_a_features_price_is_added_and_never_changed(run: Run, serving: Server) -> None:
    first = document(run, "features", "price", "search", "2.00/1000000", "--from", "2026-01-01")
    assert (first["new"], first["price_per_unit_pico"], first["unit_label"]) == (True, "2000000", "token")
    assert document(run, "features", "price", "search", "2.00/1000000")["new"] is False
    assert "no price" in run("features", "price", "search", "--none", "--from", "2026-03-01").stdout
    again = run("features", "price", "search", "0.25", "--unit", "page", "--from", "2026-04-01").stdout
    assert "Feature search has $0.25 (page) from 2026-04-01 00:00 on" in again
    shown = document(run, "features", "prices")
    assert [each["price_per_unit_usd"] for each in shown] == ["0.000002", None, "0.25"]
    run("features", "set", "search")
    assert document(run, "features", "list")[0]["price"]["price_per_unit_usd"] == "0.25"
    assert run("features", "price", "search").exit_code == 2
    assert run("features", "price", "search", "1", "--none").exit_code == 2
    assert "without `/`" in fault_of(run("features", "price", "a/b", "1"))


def test_a_customer_pays_otherwise_than_its_plan_says(run: Run, serving: Server) -> None:
    run("plans", "set", "pro", "--price", "29.00")
    made = run("customers", "subscribe", "acme", "pro", "--quantity", 3, "--discount", "10%")
    assert made.exit_code == 0, made.stderr
    assert "3 times the price, 10 % off" in run("customers", "show", "acme").stdout
    assert "pays $20.00" in run("customers", "deal", "acme", "--price", "20").stdout
    spans = document(run, "customers", "show", "acme")["subscriptions"]
    assert spans[-1]["deal"] == {
        "price_usd": "20.00",
        "price_nano": "20000000000",
        "quantity": 1,
        "discount_percent": "0",
    }
    assert "pays what its plan says" in run("customers", "deal", "acme").stdout
    assert "discount" in fault_of(run("customers", "deal", "acme", "--discount", "101"))
    assert "on no plan now" in fault_of(
        run("customers", "unsubscribe", "acme") and run("customers", "deal", "acme")
    )
