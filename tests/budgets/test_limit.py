"""Limits are checked where they are made."""

from __future__ import annotations

import pytest

from budgets.limit import AMOUNT_MAX, Limit, check_amount
from budgets.names import all_shards, names_of, shard_of


def limit(**changes: object) -> Limit:
    fields: dict[str, object] = {
        "id": "l",
        "scope": "key",
        "scope_id": "k",
        "window": "day",
        "kind": "money",
        "enforcement": "hard",
        "value_nano": 1,
    }
    return Limit(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_limit_may_be_as_large_as_the_ledger_counts_exactly() -> None:
    assert limit(value_nano=AMOUNT_MAX).value_nano == 2**53 - 1
    assert limit(value_nano=0).version == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"value_nano": AMOUNT_MAX + 1}, "limit's value must be an integer from 0 to 9007199254740991"),
        ({"value_nano": -1}, "not -1"),
        ({"value_nano": 1.5}, "not 1.5"),
        ({"value_nano": True}, "not True"),
        ({"window": "week"}, "window 'week' is unknown; known: day, month, lifetime"),
        ({"enforcement": "firm"}, "known: hard, soft, shadow"),
        ({"kind": "tokens"}, "known: money"),
    ],
)
def test_what_the_ledger_could_not_keep_is_refused_by_name(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        limit(**changes)


def test_an_amount_is_given_back_when_it_can_be_counted() -> None:
    assert check_amount(7, "it") == 7


def test_an_account_lives_on_one_of_sixty_four_shards_for_ever() -> None:
    assert all_shards()[0] == "00"
    assert all_shards()[-1] == "63"
    assert shard_of("default") == "31"  # written into the names of existing installations
    assert names_of("default").leases == "t1:{31}:leases"
    assert {shard_of(f"account-{number}") for number in range(2_000)} == set(all_shards())
