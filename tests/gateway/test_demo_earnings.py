"""The demo's second reckoning of what customers owe: it agrees with the product's, and finds what is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from billing.charges import PERIOD, PLAN_FEES, Charge
from billing.margin import margin_view
from gateway.demo.earnings import (
    Earnings,
    disagreements,
    earnings_section,
    earnings_verdicts,
    total_disagreement,
)
from gateway.demo.plans import PLANS
from gateway.demo.traffic import CUSTOMERS, FEATURES
from metering.event import CostEvent
from metering.eventstore import CostRow
from reports.layout import text
from tests.billing.made import at

SINCE, UNTIL = at("2026-04-10"), at("2026-04-10") + 30_000
APRIL_MS = 30 * 86_400_000


def row(customer: str, events: list[CostEvent], revenue_nano: int) -> CostRow:
    zero = dict.fromkeys((name for name in CostRow._fields if name != "key"), 0)
    return CostRow(
        (customer,),
        **zero
        | {
            "events": len(events),
            "cost_nano": sum(each.known_nano for each in events),
            "revenue_nano": revenue_nano,
            "revenue_known": len(events),
        },
    )


EVENTS = [
    CostEvent(
        id=f"e{n}",
        customer=customer.name,
        feature=FEATURES[n % 4],
        usage={"input_tokens": 1_000 * n + 1, "output_tokens": 7},
        cost_nano=1_000 + n,
        started_ms=SINCE,
    )
    for n in range(8)
    for customer in CUSTOMERS
]


def fee(customer: str) -> Charge:
    price = PLANS[customer].price
    assert price is not None
    return Charge(PLAN_FEES, customer, PLANS[customer].plan, None, price.flat_nano * 30_000 // APRIL_MS)


def earnings(usage_off: int = 0, tiers_off: int = 0, fee_off: int = 0) -> Earnings:
    """acme pays $1.20 for a million tokens, umbrella by tiers."""
    usage = 1_200 * sum(each.units for each in EVENTS if each.customer == "acme")
    tiers = 0
    for feature in FEATURES:
        units = sum(each.units for each in EVENTS if (each.customer, each.feature) == ("umbrella", feature))
        tiers += 3_000 * min(units, 2_000)
        tiers += 1_500 * max(0, min(units, 10_000) - 2_000) + 1_000 * max(0, units - 10_000)
    charges = [fee(name) for name in PLANS]
    charges[1] = replace(charges[1], nano=charges[1].nano + fee_off)
    charges.append(Charge(PERIOD, "umbrella", "graduated", FEATURES[0], tiers + tiers_off))
    rows = [
        row(
            each.name,
            [event for event in EVENTS if event.customer == each.name],
            usage + usage_off if each.name == "acme" else 0,
        )
        for each in CUSTOMERS
    ]
    return Earnings(margin_view(("customer",), rows, charges), PLANS, SINCE, UNTIL)


def test_revenue_that_plans_events_and_time_make_agrees() -> None:
    found = earnings()
    assert disagreements(found, EVENTS) == []
    assert total_disagreement(found, EVENTS) is None
    assert all(verdict.holds for verdict in earnings_verdicts(found, EVENTS))
    assert set(PLANS) == {each.name for each in CUSTOMERS}


@pytest.mark.parametrize(
    ("off", "complaint"),
    [
        ({"usage_off": 1}, "acme owes"),
        ({"tiers_off": -1}, "umbrella owes"),
        ({"fee_off": 10**9}, "globex owes"),
    ],
)
def test_revenue_that_is_off_is_found(off: dict[str, int], complaint: str) -> None:
    (sentence,) = disagreements(earnings(**off), EVENTS)
    assert sentence.startswith(complaint)
    assert [verdict.holds for verdict in earnings_verdicts(earnings(**off), EVENTS)] == [False, True]


def test_a_customer_without_a_row_and_a_cost_that_is_not_the_events_are_found() -> None:
    found = earnings()
    empty = replace(found, view=margin_view(("customer",), [], []))
    assert len(disagreements(empty, EVENTS)) == len(PLANS)
    assert "the events cost" in (total_disagreement(found, EVENTS[1:]) or "")


def test_the_table_says_who_loses_money_and_what_each_pays() -> None:
    section = earnings_section(earnings())
    shown = text(section.columns)
    assert "in these 30.0 s" in section.title
    assert "$99 a month" in shown
    assert shown.splitlines()[-1].startswith("total")
