"""Waits between attempts, and the budget for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from routing.backoff import full_jitter_s, retry_after_s
from routing.retrybudget import SAVED_MAX, RetryBudget


def headers(**given: bytes) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (headers(retry_after=b"7"), 7.0),
        (headers(retry_after=b"0.25"), 0.25),
        (headers(retry_after=b"7", retry_after_ms=b"1500"), 1.5),
        (headers(retry_after=b"Sat, 21 Nov 2026 12:00:30 GMT"), 30.0),
        (headers(retry_after=b"Sat, 21 Nov 2026 11:00:00 GMT"), 0.0),
        (headers(retry_after=b"soon"), None),
        (headers(retry_after=b"-1"), None),
        (headers(retry_after=b"nan"), None),
        (headers(), None),
    ],
)
def test_what_a_provider_asks_for_is_read(given: dict[bytes, bytes], expected: float | None) -> None:
    assert retry_after_s(given.get, datetime(2026, 11, 21, 12, tzinfo=UTC)) == expected


def test_jitter_is_full_and_bounded() -> None:
    assert [full_jitter_s(n, 0.25, 4.0, lambda: 0.0) for n in range(3)] == [0.0, 0.0, 0.0]
    assert [full_jitter_s(n, 0.25, 4.0, lambda: 1.0) for n in range(6)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]


def test_attempts_stay_below_their_part_of_the_requests() -> None:
    budget, attempts = RetryBudget(20), 0
    for _ in range(5_000):
        budget.earn()
        attempts += 1
        while budget.spend():
            attempts += 1
    assert attempts <= 1.2 * 5_000 + SAVED_MAX


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0)
    budget.earn()
    assert not budget.spend()
