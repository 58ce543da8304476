"""How single fields are read, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.fields import (
    FUTURE_MS,
    PAST_MS,
    Refused,
    count_field,
    id_field,
    moment_field,
    properties_field,
    text_field,
    usd_field,
)
from gateway.ingest.observe import READERS, read_observe
from gateway.ingest.platform import read_platform
from metering.event import AMOUNT_MAX
from metering.money import nano_to_usd

NOW_MS = 1_795_000_000_123
NOW = "2026-11-18T11:06:40.123Z"


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        (0, 0),
        (1, 10**9),
        ("0.05", 50_000_000),
        (Decimal("0.05"), 50_000_000),
        (Decimal("5e-2"), 50_000_000),
        ("5E-2", 50_000_000),
        (Decimal("0.000000001"), 1),
        ("9007199.254740991", AMOUNT_MAX),
        (Decimal("1.0000000000"), 10**9),
        (None, None),
        ("", None),
    ],
)
def test_dollars_are_exact(value: Any, nano: int | None) -> None:
    assert usd_field("x", value) == nano


@pytest.mark.parametrize(
    "value",
    [
        *(-1, "-0.01", Decimal("1e400"), Decimal("NaN"), Decimal("Infinity"), "NaN", "Infinity", "-inf"),
        *("1e400", "0.0000000001", Decimal("0.0000000001"), 10**9, "9007199.254740992"),
        *(True, [], {}, " 1", 10**400, "1 ", "$1", "1,5", "0x10", "1_000", "abc", 0.05),
    ],
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(Refused) as refused:
        usd_field("costAmount", value)
    assert refused.value.field == "costAmount"
    assert len(str(refused.value)) < 300


@given(st.integers(0, AMOUNT_MAX))
def test_every_amount_that_can_be_counted_goes_through_json(nano: int) -> None:
    for text in (f'{{"x": {nano_to_usd(nano)}}}', f'{{"x": "{nano_to_usd(nano)}"}}'):
        assert usd_field("x", json.loads(text, parse_float=Decimal)["x"]) == nano


@pytest.mark.parametrize(("value", "count"), [(0, 0), (5, 5), (Decimal("5.0"), 5), (Decimal("5e3"), 5_000)])
def test_counts_are_whole_however_they_are_spelled(value: Any, count: int) -> None:
    assert count_field("x", value) == count


@pytest.mark.parametrize(
    "value", [-1, Decimal("0.5"), Decimal("NaN"), Decimal("1e400"), 10**9 + 1, "5", True, [], {}, 10**400]
)
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match="inputTokens: expected a whole number from 0 to 1000000000"):
        count_field("inputTokens", value)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        (NOW, NOW_MS),
        ("2026-11-18T12:06:40.123+01:00", NOW_MS),
        ("2026-11-18T11:06:40.123", NOW_MS),
        ("2026-11-18 11:06:40.123999", NOW_MS),
        ("2026-11-18T11:06:40Z", NOW_MS - 123),
    ],
)
def test_moments_are_iso_8601(text: str, at_ms: int) -> None:
    assert moment_field("t", text, NOW_MS, backfill=False) == at_ms


@pytest.mark.parametrize(
    "value",
    ["yesterday", "2026-11-18", 1_795_000_000, "1795000000", "2026-13-01T00:00:00Z", {}, "T" * 10_000],
)
def test_what_is_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(Refused) as refused:
        moment_field("t", value, NOW_MS, backfill=False)
    assert refused.value.code == "validation_failed"


def moment(at_ms: int) -> str:
    from datetime import UTC, datetime

    seconds, ms = divmod(at_ms, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def test_moments_are_believed_from_35_days_ago_to_5_minutes_ahead() -> None:
    def read(at_ms: int, *, backfill: bool = False) -> int | None:
        return moment_field("t", moment(at_ms), NOW_MS, backfill=backfill)

    first, last = NOW_MS - PAST_MS, NOW_MS + FUTURE_MS
    assert (read(first), read(last)) == (first, last)
    assert (PAST_MS, FUTURE_MS) == (35 * 24 * 3_600_000, 300_000)
    for outside in (first - 1, last + 1):
        with pytest.raises(Refused) as refused:
            read(outside)
        assert refused.value.code == "timestamp_out_of_range"
    assert read(first - 1, backfill=True) == first - 1
    assert read(0, backfill=True) == 0
    for outside in (-1_000, last + 1):
        with pytest.raises(Refused):
            read(outside, backfill=True)


def test_nuls_are_stripped_and_names_checked() -> None:
    assert text_field("x", "a\0b") == "ab"
    assert id_field("x", "cust\0omer") == "customer"
    assert id_field("x", "\0") is None
    for value in ("a b", "ü", "x" * 129, "a\nb", 7, ["a"], "\x7f", "a\r\nInjected: yes"):
        with pytest.raises(Refused):
            id_field("x", value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        {"a b": 1},
        {"": 1},
        {"x": "v" * 1_025},
        {"x": "\ud800"},
        {str(n): n for n in range(65)},
        {"x": Decimal("NaN")},
        {"x": {"deep": ["v" * 2_000]}},
        {"\ud800": 1},
    ],
)
def test_properties_that_cannot_be_kept_are_refused(value: Any) -> None:
    with pytest.raises(Refused) as refused:
        properties_field("properties", value)
    str(refused.value).encode()


VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.text()
    | st.sampled_from(["gpt-4o", "usd", "success", NOW, "c", "\0", "\ud800", "x" * 5_000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(READERS)) | st.text(), VALUES, max_size=8))
def test_whatever_is_sent_is_read_or_refused_with_words(fields: dict[str, Any]) -> None:
    base = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f"}
    for item in (fields, base | fields):
        for read in (read_observe, read_platform):
            try:
                said = read(item, NOW_MS).digest
            except Refused as error:
                said = str(error)
            assert said
            assert len(said.encode()) < 3_000


def test_parts_do_not_exceed_their_totals() -> None:
    base = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f"}
    for counts in (
        {"inputTokens": 10, "cacheReadInputTokens": 11},
        {"cacheReadInputTokens": 1},
        {"inputTokens": 10, "cacheReadInputTokens": 6, "cacheWrite5mInputTokens": 5},
        {"outputTokens": 10, "reasoningOutputTokens": 11},
    ):
        with pytest.raises(Refused) as refused:
            read_observe(base | counts, NOW_MS)
        assert refused.value.code == "usage_contradiction"


def test_amounts_are_dollars() -> None:
    base = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f"}
    assert read_observe({**base, "costUnit": "USD", "costAmount": 1}, NOW_MS).cost_nano == 10**9
    with pytest.raises(Refused, match="costUnit"):
        read_observe({**base, "costUnit": "eur", "costAmount": 1}, NOW_MS)


def test_misspelled_fields_are_named() -> None:
    base = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f"}
    with pytest.raises(Refused, match="unknown fields: costamount, outputToken") as refused:
        read_observe({**base, "outputToken": 5, "costamount": 1}, NOW_MS)
    assert refused.value.code == "unknown_field"
