"""Deals in time, against a plain list of what holds in each moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.dealing import with_deal, without_deal
from accounts.subscription import NO_DEAL, Deal, Subscription

NOW, END, HORIZON = 10, 40, 75
DEALS = (NO_DEAL, Deal(quantity=2), Deal(5))


def spans_of(lengths: list[tuple[int, str, bool]]) -> list[Subscription]:
    """Subscriptions from the moment 0 on: how long, on which plan, and whether there is none instead."""
    found, at = [], 0
    for number, (length, plan, gap) in enumerate(lengths):
        if not gap:
            found.append(Subscription(f"s{number}", plan, 1, at, at + length))
        at += length
    return found


def moments(spans: list[Subscription]) -> list[tuple[str, Deal] | None]:
    """The plan and the deal of each moment; None: on no plan."""
    found = [[each for each in spans if each.covers(moment)] for moment in range(HORIZON)]
    assert all(len(each) <= 1 for each in found), "a customer is on one plan at a time"
    return [(each[0].plan, each[0].deal) if each else None for each in found]


LENGTHS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=6
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(DEALS), st.integers(NOW, END), st.none() | st.integers(NOW + 1, END), st.booleans()
    ),
    max_size=5,
)


@pytest.mark.wide
@settings(max_examples=100)
@given(LENGTHS, CHANGES)
def test_every_moment_has_what_was_agreed_last_for_it(
    lengths: list[tuple[int, str, bool]],
    changes: list[tuple[Deal, int, int | None, bool]],
) -> None:
    spans = spans_of(lengths)
    before = list(spans)
    for deal, starts, ends, as_it_was in changes:
        plain = moments(spans)
        if as_it_was:
            running = [each for each in spans if each.covers(starts)]
            if not running:
                continue
            after = without_deal(spans, running[0], starts, NOW)
            span_ends = running[0].ends_ms
            assert span_ends is not None
            if not NOW < running[0].starts_ms == starts:
                for moment in range(starts, span_ends):
                    plain[moment] = (running[0].plan, NO_DEAL)
                assert moments(after) == plain
            spans = after
            continue
        wrong = plain[starts] is None or (ends is not None and ends <= starts)
        if wrong:
            with pytest.raises(ValueError, match=r"no plan|after its start"):
                with_deal(spans, deal, starts, ends, NOW)
            continue
        plan, moment = plain[starts], starts
        assert plan is not None
        while moment < (HORIZON if ends is None else ends) and (here := plain[moment]) and here[0] == plan[0]:
            plain[moment] = (plan[0], deal)
            moment += 1
        spans = with_deal(spans, deal, starts, ends, NOW)
        assert moments(spans) == plain
        assert [each.starts_ms for each in spans] == sorted(each.starts_ms for each in spans)
    # What was before now stays as it was, by its name, too.
    past = [(each.id, each.starts_ms, each.deal) for each in before if each.starts_ms < NOW]
    assert [(each.id, each.starts_ms, each.deal) for each in spans if each.starts_ms < NOW] == past


def test_parts_that_are_alike_again_are_one() -> None:
    (whole,) = spans = [Subscription("s", "a", 1, 0, None)]
    cut = with_deal(spans, Deal(quantity=2), 20, 30, NOW)
    assert [(each.starts_ms, each.ends_ms) for each in cut] == [(0, 20), (20, 30), (30, None)]
    assert without_deal(cut, cut[1], NOW, NOW) == [whole]
    assert without_deal(cut, cut[1], 25, NOW)[1].ends_ms == 25


def test_what_is_agreed_cannot_be_agreed_for_the_past() -> None:
    with pytest.raises(ValueError, match="in the past"):
        with_deal([Subscription("s", "a", 1, 0)], Deal(quantity=2), NOW - 1, None, NOW)
