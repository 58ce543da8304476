"""Prices of features over HTTP: added, never changed, each from its moment on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.gateway.api.asking import Asker, all_pages
from tests.stack import Stack

PATH = "/api/feature-pricing"


@pytest.fixture
def usage(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("usage.read", "usage.write")))


def test_a_price_holds_from_its_moment_until_the_next(usage: Asker) -> None:
    first = {"feature_key": "search", "revenue_per_unit": 0.002, "unit_label": "search"}
    made = usage.post(PATH, {**first, "effective_from": "2026-01-01"}, status=201)
    assert (made["revenue_per_unit"], made["revenue_per_unit_pico"]) == (Decimal("0.002"), "2000000000")
    assert made["effective_from"] == "2026-01-01T00:00:00.000Z"
    usage.post(PATH, {**first, "revenue_per_unit": 0.003, "effective_from": "2026-02-01"}, status=201)
    for at, price in (("2026-01-31T23:59:59.999Z", "0.002"), ("2026-02-01", "0.003")):
        (found,) = usage.get(PATH, feature_key="search", at=at)["prices"]
        assert found["revenue_per_unit"] == Decimal(price)
    assert usage.get(PATH, feature_key="search", at="2025-12-31")["prices"] == []
    # What is so already is not added again.
    usage.post(PATH, {**first, "revenue_per_unit": 0.003, "effective_from": "2026-02-02"}, status=201)
    ended = usage.delete(f"{PATH}/search", effective_from="2026-03-01")
    assert (ended["revenue_per_unit"], ended["effective_from"]) == (None, "2026-03-01T00:00:00.000Z")
    assert usage.get(PATH, feature_key="search")["prices"] == []
    usage.delete(f"{PATH}/search", status=404)
    usage.delete(f"{PATH}/none", status=404)
    history = all_pages(usage, PATH, "prices", limit=1, feature_key="search", history=True)
    assert [each["revenue_per_unit_pico"] for each in history] == ["2000000000", "3000000000", None]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"revenue_per_unit": -1}, "price"),
        ({"revenue_per_unit": 1e-13}, "finer"),
        ({"feature_key": "a/b"}, "feature"),
        ({"unit_label": ""}, "unit_label"),
        ({"effective_from": "soon"}, "effective_from"),
    ],
)
def test_what_cannot_be_is_said(usage: Asker, change: dict[str, Any], named: str) -> None:
    body = {"feature_key": "wrong", "revenue_per_unit": 1, **change}
    assert named in usage.post(PATH, body, status=400)["error"].lower()


def test_prices_of_another_account_are_not_there(stack: Stack, http: httpx2.Client, usage: Asker) -> None:
    secret, _ = stack.keyring.create("prices", account_id="prices-of-others", scopes=("admin",))
    body = {"feature_key": "theirs", "revenue_per_unit": 7}
    Asker(http, secret).post(PATH, body, status=201)
    assert usage.get(PATH, feature_key="theirs")["prices"] == []
    usage.delete(f"{PATH}/theirs", status=404)
