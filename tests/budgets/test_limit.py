"""Limits are checked where they are made, and know on whom they count."""

from __future__ import annotations

from typing import Any

import pytest

from budgets.limit import (
    AMOUNT_MAX,
    RATE_MAX,
    SCOPES,
    Attribution,
    Limit,
    applies,
    check_amount,
    row_field,
    scope_key,
)
from budgets.names import all_shards, names_of, shard_of

SUMMARY = Attribution(
    "default", "key_1", "acme", "north", "summarize", plan="gold", trace_id="trace-1", route="fast"
)


def limit(**changes: Any) -> Limit:
    fields: dict[str, Any] = {
        "id": "l",
        "scope": "key",
        "scope_id": "k",
        "window": "day",
        "kind": "money",
        "enforcement": "hard",
        "value": 1,
    }
    return Limit(**{**fields, **changes})


def test_a_limit_may_be_as_large_as_the_ledger_counts_exactly() -> None:
    assert limit(value=AMOUNT_MAX).value == 2**53 - 1
    assert limit(value=0).version == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"value": AMOUNT_MAX + 1}, "limit's value must be an integer from 0 to 9007199254740991"),
        ({"value": -1}, "not -1"),
        ({"value": 1.5}, "not 1.5"),
        ({"value": True}, "not True"),
        ({"scope": "team"}, "scope 'team' is unknown; known: account, key, customer"),
        ({"window": "year"}, "window 'year' is unknown; known: day, week, month, lifetime"),
        ({"enforcement": "firm"}, "known: hard, soft, shadow"),
        ({"kind": "watts"}, "kind 'watts' is unknown; known: money, requests"),
        ({"kind": "concurrency"}, "a limit of concurrency on key has the window now, not day"),
        ({"kind": "requests_per_minute"}, "has the window minute, not day"),
        ({"window": "now"}, "has the window day or week or month or lifetime, not now"),
        ({"scope": "trace"}, "a limit of money on trace has the window lifetime, not day"),
        ({"kind": "tokens_per_minute", "window": "minute", "value": 0}, "a rate must be from 1 to 60000000"),
        ({"kind": "requests_per_minute", "window": "minute", "value": RATE_MAX + 1}, "not 60000001"),
        ({"time_zone": "Mars/Base"}, "time zone 'Mars/Base' is unknown"),
        ({"window": "month", "anchor": 32}, "anchor 32"),
        ({"thresholds": (0, 50)}, "rising percents from 1 to 1000"),
        ({"thresholds": (80, 50)}, "rising percents"),
        ({"thresholds": (50, 50)}, "rising percents"),
        ({"thresholds": (1001,)}, "rising percents"),
        ({"thresholds": tuple(range(10, 100, 10))}, "up to 8"),
        ({"kind": "concurrency", "window": "now", "thresholds": (50,)}, "concurrency has no thresholds"),
    ],
)
def test_what_the_ledger_could_not_keep_is_refused_by_name(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        limit(**changes)


def test_an_amount_is_given_back_when_it_can_be_counted() -> None:
    assert check_amount(7, "it") == 7


def test_a_request_counts_for_each_thing_that_it_names() -> None:
    assert [scope_key(scope, SUMMARY) for scope in SCOPES] == [
        "default",
        "key_1",
        "acme",
        "acme\x1fnorth",
        "summarize",
        "acme\x1fsummarize",
        "gold",
        "trace-1",
        "fast",
    ]


def test_a_request_does_not_count_for_what_it_does_not_name() -> None:
    bare = Attribution("default", "key_1")
    assert [scope for scope in SCOPES if scope_key(scope, bare) is not None] == ["account", "key"]
    # Half of a pair is none of it.
    assert scope_key("workspace", Attribution("default", "key_1", workspace="north")) is None
    assert scope_key("customer_feature", Attribution("default", "key_1", customer="acme")) is None
    assert not applies(limit(scope="customer", scope_id="*"), bare)
    assert not applies(limit(scope="customer_feature", scope_id="*"), bare)


@pytest.mark.parametrize(
    ("scope", "scope_id", "field"),
    [
        ("account", "default", "l"),
        ("account", "other", None),
        ("key", "key_1", "l"),
        ("key", "*", "l:key_1"),
        ("customer", "acme", "l"),
        ("customer", "beta", None),
        ("customer", "*", "l:acme"),
        ("feature", "*", "l:summarize"),
        ("plan", "gold", "l"),
        ("trace", "*", "l:trace-1"),
        ("route", "fast", "l"),
        ("workspace", "acme\x1fnorth", "l"),
        ("workspace", "acme\x1f*", "l:acme\x1fnorth"),
        ("workspace", "*\x1fnorth", "l:acme\x1fnorth"),
        ("workspace", "beta\x1f*", None),
        ("customer_feature", "acme\x1fsummarize", "l"),
        ("customer_feature", "*\x1fsummarize", "l:acme\x1fsummarize"),
        ("customer_feature", "acme\x1f*", "l:acme\x1fsummarize"),
        ("customer_feature", "*\x1f*", "l:acme\x1fsummarize"),
        ("customer_feature", "*", "l:acme\x1fsummarize"),
        ("customer_feature", "*\x1ftranslate", None),
        ("customer_feature", "acme", None),
    ],
)
def test_a_limit_on_one_thing_has_one_row_and_a_limit_on_each_has_a_row_for_each(
    scope: str, scope_id: str, field: str | None
) -> None:
    window = "lifetime" if scope == "trace" else "day"
    made = limit(scope=scope, scope_id=scope_id, window=window)
    assert applies(made, SUMMARY) is (field is not None)
    if field is not None:
        key = scope_key(scope, SUMMARY)
        assert key is not None
        assert row_field(made, key) == field


def test_a_customer_who_is_called_like_the_sign_for_each_is_one_customer() -> None:
    star = Attribution("default", "key_1", customer="*", feature="summarize")
    assert not applies(limit(scope="customer", scope_id="acme"), star)
    assert applies(limit(scope="customer_feature", scope_id="*\x1fsummarize"), star)
    assert row_field(limit(scope="customer", scope_id="*"), "*") == "l:*"


def test_an_account_lives_on_one_of_sixty_four_shards_for_ever() -> None:
    assert all_shards()[0] == "00"
    assert all_shards()[-1] == "63"
    assert shard_of("default") == "31"  # written into the names of existing installations
    assert names_of("default").leases == "t2:{31}:leases"
    assert {shard_of(f"account-{number}") for number in range(2_000)} == set(all_shards())
