"""A plan's price, earned evenly: whole periods give whole prices, and any split of a span adds up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.plan import OWN_DAY
from accounts.subscription import PPM, Deal
from billing.charges import Subscribed, charges_of
from billing.fees import earned_nano, fee_of
from billing.period import PeriodTerms, period_of, periods_between
from tests.billing.made import DAY_MS, HOUR_MS, USD, at, cut, on, plan


def earned(each: Subscribed, since_ms: int, until_ms: int) -> int:
    assert each.plan.price is not None
    return earned_nano(fee_of(each.subscription, each.plan, each.plan.price), since_ms, until_ms)


# By hand


@pytest.mark.parametrize(
    ("month", "after", "days"),
    [
        ("2026-02-01", "2026-03-01", 28),
        ("2028-02-01", "2028-03-01", 29),
        ("2026-04-01", "2026-05-01", 30),
        ("2026-05-01", "2026-06-01", 31),
    ],
)
def test_each_month_earns_its_whole_price_and_a_day_of_it_its_part(month: str, after: str, days: int) -> None:
    pro = on(plan(flat_usd=days), at("2026-01-01"))
    assert earned(pro, at(month), at(after)) == days * USD
    assert earned(pro, at(month), at(month) + DAY_MS) == USD
    assert earned(pro, at(after) - DAY_MS, at(after)) == USD


def test_a_third_of_a_price_that_has_no_third_is_made_up_for_within_the_period() -> None:
    pro = on(plan(flat_usd=10), at("2026-01-01"))  # April: 30 days; ten days each are $3.333333333...
    thirds = [at("2026-04-01"), at("2026-04-11"), at("2026-04-21"), at("2026-05-01")]
    parts = [earned(pro, since_ms, until_ms) for since_ms, until_ms in pairwise(thirds)]
    assert parts == [3_333_333_333, 3_333_333_334, 3_333_333_333]


@pytest.mark.parametrize(
    ("first", "after", "hours"),
    [("2026-03-01", "2026-04-01", 31 * 24 - 1), ("2026-10-01", "2026-11-01", 31 * 24 + 1)],
)
def test_a_month_in_which_the_clock_changes_is_an_hour_shorter_or_longer(
    first: str, after: str, hours: int
) -> None:
    berlin = on(plan(flat_usd=hours, time_zone="Europe/Berlin"), at("2026-01-01"))
    start_ms, end_ms = at(first, "Europe/Berlin"), at(after, "Europe/Berlin")
    assert end_ms - start_ms == hours * HOUR_MS
    assert earned(berlin, start_ms, end_ms) == hours * USD
    assert earned(berlin, start_ms, start_ms + HOUR_MS) == USD


def test_the_day_of_the_change_earns_23_hours() -> None:
    berlin = on(plan(flat_usd=31 * 24 - 1, time_zone="Europe/Berlin"), at("2026-01-01"))
    day = at("2026-03-29", "Europe/Berlin"), at("2026-03-30", "Europe/Berlin")
    assert earned(berlin, *day) == 23 * USD


def test_an_upgrade_in_mid_period_earns_each_price_for_its_part() -> None:
    change_ms = at("2026-04-11")
    small = on(plan("small", 30), at("2026-01-01"), change_ms)
    large = on(plan("large", 90), change_ms)
    found = charges_of([small, large], at("2026-04-01"), at("2026-05-01"), {})
    assert {each.plan: each.nano for each in found} == {"small": 10 * USD, "large": 60 * USD}


def test_a_subscription_earns_from_its_start_and_until_its_end() -> None:
    pro = on(plan(flat_usd=30), at("2026-04-10T12:00"), at("2026-04-20T12:00"))
    assert earned(pro, at("2026-01-01"), at("2027-01-01")) == 10 * USD


def test_own_days_at_the_end_of_months_are_their_last_days() -> None:
    terms = PeriodTerms(day=31)
    first, second, third = periods_between(terms, at("2026-01-31"), at("2026-04-30"))
    assert (first.start_ms, first.end_ms) == (at("2026-01-31"), at("2026-02-28"))
    assert (second.start_ms, second.end_ms) == (at("2026-02-28"), at("2026-03-31"))
    assert (third.start_ms, third.end_ms) == (at("2026-03-31"), at("2026-04-30"))
    own = on(plan(flat_usd=28, anchor=OWN_DAY), at("2026-01-31"), day=31)
    assert earned(own, at("2026-01-31"), at("2026-02-01")) == USD
    assert earned(own, at("2026-01-31"), at("2026-02-28")) == 28 * USD


def test_a_year_is_365_days_or_366_from_the_month_in_which_it_began() -> None:
    march = 2027 * 12 + 2
    year = on(plan(flat_usd=366, interval_months=12), at("2027-03-01"), anchor_month=march)
    assert earned(year, at("2027-03-01"), at("2028-03-01")) == 366 * USD
    assert earned(year, at("2028-02-29"), at("2028-03-01")) == USD  # its year has a 29 February
    period = period_of(PeriodTerms(interval_months=12, anchor_month=march), at("2029-02-28T23:59"))
    assert (period.start_ms, period.end_ms) == (at("2028-03-01"), at("2029-03-01"))


@pytest.mark.parametrize(
    ("deal", "nano"),
    [
        (Deal(discount_ppm=250_000), 22_500_000_000),
        (Deal(price_nano=12 * USD), 12 * USD),
        (Deal(quantity=7), 210 * USD),
        (Deal(price_nano=10 * USD, quantity=3, discount_ppm=333_333), 20_000_010_000),
        (Deal(discount_ppm=PPM), 0),
        (Deal(price_nano=0), 0),
    ],
)
def test_a_deal_changes_the_price(deal: Deal, nano: int) -> None:
    assert earned(on(plan(flat_usd=30), 0, deal=deal), at("2026-04-01"), at("2026-05-01")) == nano


def test_a_plan_without_a_price_charges_nothing_and_a_free_one_charges_0() -> None:
    april = at("2026-04-01"), at("2026-05-01")
    assert charges_of([on(plan(flat_usd=None), 0)], *april, {}) == []
    (fee,) = charges_of([on(plan(flat_usd=0), 0)], *april, {})
    assert (fee.kind, fee.nano) == ("plan_fees", 0)


def test_customers_of_the_operators_own_pay_nothing() -> None:
    mine = on(plan(flat_usd=30), 0, customer="_internal_tests")
    assert charges_of([mine], at("2026-04-01"), at("2026-05-01"), {}) == []


# Whatever the span

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
MOMENTS = st.integers(at("2011-11-01"), at("2029-06-01"))
TERMS = st.builds(
    PeriodTerms, st.sampled_from(ZONES), st.integers(1, 31), st.integers(1, 24), st.integers(24_000, 24_400)
)


@given(TERMS, MOMENTS)
def test_periods_cover_every_moment_once_and_leave_no_gap(terms: PeriodTerms, moment_ms: int) -> None:
    period = period_of(terms, moment_ms)
    assert period.start_ms <= moment_ms < period.end_ms
    assert period_of(terms, period.start_ms) == period_of(terms, period.end_ms - 1) == period
    assert period_of(terms, period.end_ms).start_ms == period.end_ms
    assert period_of(terms, period.start_ms - 1).end_ms == period.start_ms
    days = (period.end_ms - period.start_ms) / DAY_MS
    assert 27 * terms.interval_months < days < 32 * terms.interval_months


@st.composite
def subscribed(draw: st.DrawFn) -> Subscribed:
    terms = draw(TERMS)
    version = plan(
        flat_usd=draw(st.integers(0, 10_000)),
        anchor=OWN_DAY,
        time_zone=terms.time_zone,
        interval_months=terms.interval_months,
    )
    starts_ms = draw(MOMENTS)
    ends_ms = draw(st.none() | st.integers(starts_ms + 1, starts_ms + 1_000 * DAY_MS))
    seats, discount_ppm = draw(st.integers(1, 7)), draw(st.integers(0, PPM))
    deal = Deal(quantity=seats, discount_ppm=discount_ppm)
    return on(version, starts_ms, ends_ms, day=terms.day, anchor_month=terms.anchor_month, deal=deal)


@given(subscribed(), st.lists(MOMENTS, min_size=2, max_size=12))
def test_spans_that_follow_each_other_add_up_exactly(each: Subscribed, moments: list[int]) -> None:
    moments.sort()
    parts = [earned(each, since_ms, until_ms) for since_ms, until_ms in pairwise(moments)]
    assert sum(parts) == earned(each, moments[0], moments[-1])
    assert all(part >= 0 for part in parts)


@given(subscribed(), MOMENTS, MOMENTS, MOMENTS)
def test_a_subscription_that_is_recorded_in_two_parts_earns_the_same(
    each: Subscribed, cut_ms: int, one_ms: int, other_ms: int
) -> None:
    span = min(one_ms, other_ms), max(one_ms, other_ms)
    starts_ms, ends_ms = each.subscription.starts_ms, each.subscription.ends_ms
    if not starts_ms < cut_ms or (ends_ms is not None and cut_ms >= ends_ms):
        return
    assert sum(earned(part, *span) for part in cut(each, cut_ms)) == earned(each, *span)


@given(subscribed(), MOMENTS)
def test_a_whole_period_earns_the_price_of_a_period(each: Subscribed, moment_ms: int) -> None:
    assert each.plan.price is not None
    fee = fee_of(each.subscription, each.plan, each.plan.price)
    period = period_of(fee.terms, moment_ms)
    whole = earned_nano(type(fee)(fee.nano_ppm, fee.terms, 0, None), period.start_ms, period.end_ms)
    assert abs(whole * PPM - fee.nano_ppm) * 2 <= PPM
