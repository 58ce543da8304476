"""RowSets: which rows a request counts on, where they lie, and how a record keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.limit import KINDS, SCOPES, Attribution, Limit, scope_key, windows_for
from budgets.names import names_of
from budgets.rowset import RowSets, TooManyLimits, build_row_set, place_of, read_record
from budgets.window import FOREVER_MS

NAMES = names_of("default")
OF = Attribution("default", "key_1", "acme", "north", "summarize", "gold", "trace-1", "fast")
NOW_MS = 1_795_262_400_000  # 2026-11-21T12:00Z
DAY_MS = 86_400_000


def limit(name: str, **changes: Any) -> Limit:
    fields: dict[str, Any] = {
        "scope": "key",
        "scope_id": "*",
        "window": "month",
        "kind": "money",
        "enforcement": "hard",
        "value": 5,
    }
    return Limit(name, **{**fields, **changes})


def test_rows_of_one_hash_stand_together_and_each_says_what_it_counts_and_whether_it_refuses() -> None:
    made = build_row_set(
        [
            limit("month", scope_id="key_1"),
            limit("day", window="day", kind="tokens", enforcement="soft"),
            limit("many", kind="requests", enforcement="shadow"),
            limit("fast", kind="requests_per_minute", window="minute"),
            limit("wide", kind="concurrency", window="now", scope="route"),
            limit("other", scope="customer", scope_id="beta"),
            limit("flow", scope="trace", window="lifetime", thresholds=(50, 100)),
        ],
        OF,
        NOW_MS,
    )
    assert made.hashes == (
        f"{NAMES.base}now",
        f"{NAMES.base}rates",
        f"{NAMES.base}trace:default:trace-1",
        f"{NAMES.base}w:2026-11",
        f"{NAMES.base}w:2026-11-21",
    )
    assert made.ids == ("wide", "fast", "flow", "month", "many", "day")
    assert made.fields == ("wide:fast", "fast:key_1", "flow:trace-1", "month", "many:key_1", "day:key_1")
    assert made.shape == "0ch1qh2mh3mh3rw4ts"
    assert made.meters == "mcqrt"
    assert made.thresholds == "3:50,100"
    midnight = 1_795_305_600_000
    assert made.ends == (0, 0, -1, 1_796_083_200_000, midnight)
    assert (made.start_ms, made.end_ms) == (midnight - DAY_MS, midnight)
    assert made.hard_meters == {"c", "q", "m"}
    assert made.enforced


def test_a_set_without_rows_holds_for_ever_and_refuses_nothing() -> None:
    made = build_row_set([limit("other", scope="customer", scope_id="beta")], OF, NOW_MS)
    assert (made.hashes, made.shape, made.record, made.meters) == ((), "", "", "m")
    assert made.covers(0)
    assert made.covers(FOREVER_MS - 1)
    assert not made.enforced


def test_sixteen_limits_may_apply_and_the_seventeenth_is_named() -> None:
    sixteen = [limit(f"limit-{number}") for number in range(16)]
    others = [limit("elsewhere", scope="customer", scope_id="beta")]
    assert len(build_row_set(sixteen + others, OF, NOW_MS).fields) == 16
    with pytest.raises(TooManyLimits, match=r"17 limits apply to this request, and at most 16 .*limit-0, "):
        build_row_set([*sixteen, limit("one-more")], OF, NOW_MS)


def test_all_rows_of_a_trace_lie_together_and_go_with_it() -> None:
    kinds = (("money", "lifetime"), ("requests_per_minute", "minute"), ("concurrency", "now"))
    each = [limit(kind, scope="trace", kind=kind, window=window) for kind, window in kinds]
    made = build_row_set(each, OF, NOW_MS)
    assert made.hashes == (f"{NAMES.trace}default:trace-1",)
    assert made.ends == (-1,)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x1e\x1f"), min_size=1, max_size=8)
attributions = st.builds(Attribution, texts, texts, *[st.none() | texts] * 6)


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    scope, kind = draw(st.sampled_from(SCOPES)), draw(st.sampled_from(KINDS))
    return Limit(
        f"lim{draw(st.integers(0, 999))}",
        scope,
        "*",
        draw(st.sampled_from(windows_for(scope, kind))),
        kind,
        draw(st.sampled_from(("hard", "soft", "shadow"))),
        7,
    )


@given(st.lists(limits(), max_size=16), attributions)
def test_what_a_record_says_is_what_was_held_on_whatever_things_are_called(
    chosen: list[Limit], of: Attribution
) -> None:
    made = build_row_set(chosen, of, NOW_MS)
    read = read_record(made.shard, made.record, made.meters)
    assert read == replace(
        made,
        ends=(0,) * len(made.hashes),
        thresholds="",
        start_ms=0,
        end_ms=FOREVER_MS,
        limits=(),
        hard_meters=read.hard_meters,
    )
    assert read.hard_meters == made.hard_meters


@given(st.lists(limits(), max_size=16), attributions)
def test_each_limit_that_applies_has_its_row_where_it_is_looked_for(
    chosen: list[Limit], of: Attribution
) -> None:
    made = build_row_set(chosen, of, NOW_MS)
    rows = [
        (made.hashes[ord(made.shape[3 * number]) - 48], field) for number, field in enumerate(made.fields)
    ]
    wanted = []
    for each in chosen:
        key = scope_key(each.scope, of)
        if key is not None:
            place = place_of(each, key, of.account_id, NOW_MS)
            wanted.append((place.hash, place.field))
    assert sorted(rows) == sorted(wanted)


@pytest.mark.parametrize(
    "text", ["nonsense", "0mh\x1e1\x1ew:life", "0mh0mh\x1e1\x1ew:life\x1elim0", "0mh\x1ex"]
)
def test_a_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the rows of an open record"):
        read_record("00", text, "m")


def test_requests_share_a_set_unless_some_limit_tells_them_apart() -> None:
    sets = RowSets()
    lists = ((limit("a"), limit("b", scope="customer_feature")),)
    first = sets.of(lists, 1, OF, NOW_MS)
    assert sets.of(lists, 1, replace(OF, trace_id="trace-2", plan=None, workspace=None), NOW_MS) is first
    other = sets.of(lists, 1, replace(OF, customer="beta"), NOW_MS)
    assert other.fields == ("a:key_1", "b:beta\x1fsummarize")
    assert sets.of(lists, 2, OF, NOW_MS) is not first


def test_a_set_is_made_anew_when_one_of_its_windows_has_ended() -> None:
    sets = RowSets()
    lists = ((limit("a", window="day"), limit("b")),)
    today = sets.of(lists, 1, OF, NOW_MS)
    assert sets.of(lists, 1, OF, today.end_ms - 1) is today
    tomorrow = sets.of(lists, 1, OF, today.end_ms)
    assert tomorrow.hashes == (f"{NAMES.window}2026-11", f"{NAMES.window}2026-11-22")
    assert sets.of(lists, 1, OF, NOW_MS - 90 * DAY_MS).hashes[0] == f"{NAMES.window}2026-08"


def test_only_so_many_sets_are_kept_and_the_one_used_longest_ago_goes() -> None:
    sets = RowSets(sets_max=2)
    lists = ((limit("a", scope="customer"),),)
    acme = sets.of(lists, 1, OF, NOW_MS)
    sets.of(lists, 1, replace(OF, customer="beta"), NOW_MS)
    assert sets.of(lists, 1, OF, NOW_MS) is acme
    sets.of(lists, 1, replace(OF, customer="gamma"), NOW_MS)
    assert sets.of(lists, 1, OF, NOW_MS) is acme
    assert len(sets._known) == 2
