"""Plans as values: labels, names of counters and values, documents, and what cannot be a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.plan import OWN_DAY, PlanRule, PlanVersion, check_plan, plan_of
from accounts.subscription import Override, Overrides, Subscription
from budgets.limit import check_terms

SEARCH = PlanRule("requests", "month", 10, "search")
SPEND = PlanRule("money", "month", 5_000)
CARRIED = PlanRule("tokens", "day", 100, "search", mode="accumulate", carry_max=50, thresholds=(80,))
PRO = PlanVersion("pro", 3, ("search", "notes"), False, (SEARCH, SPEND, CARRIED), name="Pro")


def test_a_document_gives_the_version_back() -> None:
    assert PlanVersion.from_document(PRO.to_document()) == PRO
    with pytest.raises(ValueError, match="not a plan's document"):
        PlanVersion.from_document(b'{"plan":"pro"}')


def test_counters_are_called_the_same_in_every_plan_and_values_are_not() -> None:
    other = PlanVersion("max", 1, ("search",), True, (replace(SEARCH, value=99, enforcement="soft"),))
    mine, others = PRO.terms().limits[0], other.terms().limits[0]
    assert mine.id == others.id
    assert (mine.value_id, others.value_id) == ("pro@3/search/requests/month", "max@1/search/requests/month")
    assert PRO.values() == {
        "pro@3/search/requests/month": 10,
        "pro@3/*/money/month": 5_000,
        "pro@3/search/tokens/day": 100,
    }
    # What is counted differently, or in other windows, is called differently.
    rules = (
        SEARCH,
        replace(SEARCH, feature="notes"),
        replace(SEARCH, kind="tokens"),
        replace(SEARCH, window="day"),
        replace(SEARCH, feature=None),
    )
    plans = [replace(PRO, rules=rules, _terms={}), replace(PRO, rules=(SEARCH,), anchor=5, _terms={})]
    plans.append(replace(PRO, rules=(SEARCH,), time_zone="Europe/Berlin", _terms={}))
    ids = [limit.id for plan in plans for limit in plan.terms().limits]
    assert len(set(ids)) == len(ids) == 7
    assert not any(":" in each or "!" in each for each in ids)


def test_what_all_features_count_together_is_on_the_customer() -> None:
    search, spend, carried = PRO.terms().limits
    assert (search.scope, search.scope_id) == ("customer_feature", "*\x1fsearch")
    assert (spend.scope, spend.scope_id) == ("customer", "*")
    assert (spend.carry, carried.carry, carried.thresholds) == (None, (50, "pro@3"), (80,))


def test_months_begin_on_the_customers_own_day_where_the_plan_says_so() -> None:
    own = replace(PRO, anchor=OWN_DAY, _terms={})
    terms = own.terms(15)
    assert terms.label == "pro@3+15"
    assert [limit.anchor for limit in terms.limits] == [15, 15, 1]
    assert own.terms(15) is terms
    assert replace(PRO, anchor=7, _terms={}).terms(15).label == "pro@3"
    assert plan_of(terms.label) == plan_of("pro") == "pro"


def subscribed(**overrides: Any) -> Subscription:
    return Subscription("sub_1", "pro", 3, 1_000, None, 15, Overrides(**overrides))


def test_a_subscription_has_its_own_values_and_accumulates_for_itself() -> None:
    plain = PRO.terms()
    one = subscribed(
        limits={"search/requests/month": Override(50, None), "*/money/month": Override(None, "soft")}
    )
    search, spend, carried = one.terms(PRO).limits
    assert (search.value, search.value_id, search.id) == (
        50,
        "sub_1/search/requests/month",
        plain.limits[0].id,
    )
    assert (spend.enforcement, spend.value_id) == ("soft", plain.limits[1].value_id)
    assert (carried.carry, carried.value_id) == ((50, "sub_1"), plain.limits[2].value_id)
    assert one.values() == {"sub_1/search/requests/month": 50}
    assert Subscription.from_fields(one.to_fields()) == one
    # Without anything of its own a customer shares the plan's.
    shared = replace(PRO, rules=(SEARCH,), _terms={})
    assert subscribed().terms(shared).limits is shared.terms().limits


def test_features_are_granted_by_the_plan_and_otherwise_by_the_customer() -> None:
    one = subscribed(features={"notes": False, "beta": True})
    assert [one.grants(PRO, each) for each in ("search", "notes", "beta", "other", None)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert replace(PRO, others=True, _terms={}).grants(None)


def test_a_subscription_begins_at_its_start_and_has_ended_at_its_end() -> None:
    one = Subscription("s", "p", 1, 10, 20)
    assert [one.covers(moment) for moment in (9, 10, 19, 20)] == [False, True, True, False]
    assert Subscription("s", "p", 1, 10).covers(10**15)


KINDS = ("money", "requests", "tokens", "input_tokens", "output_tokens")
MANY = (
    *(PlanRule(kind, window, 1, "search") for kind in KINDS for window in ("day", "month")),
    *(PlanRule("money", window, 1) for window in ("day", "week", "month")),
)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"plan": "p/q"}, "letters, digits"),
        ({"plan": "p@1"}, "letters, digits"),
        ({"features": ("a/b",)}, "without `/`"),
        ({"features": ("*",)}, "without `/`"),
        ({"anchor": 32}, "1 to 31"),
        ({"rules": (SEARCH, SEARCH)}, "limited twice"),
        ({"rules": (replace(SEARCH, feature="other"),)}, "does not grant the feature 'other'"),
        ({"rules": (replace(SEARCH, mode="grow"),)}, "known: reset, accumulate"),
        ({"rules": (replace(SEARCH, carry_max=5),)}, "carry_max goes with"),
        ({"rules": (replace(CARRIED, carry_max=0),)}, "needs carry_max"),
        ({"rules": (replace(CARRIED, window="lifetime"),)}, "can accumulate"),
        ({"rules": (replace(SEARCH, kind="apples"),)}, "kind 'apples'"),
        ({"rules": (replace(SEARCH, value=2**53),)}, "from 0 to"),
        ({"rules": (replace(CARRIED, value=2**53 - 1),)}, "from 0 to"),
        ({"time_zone": "Moon/Crater"}, "plan pro: time zone 'Moon/Crater' is unknown; write an IANA name"),
        ({"time_zone": "Moon/Crater", "rules": ()}, "plan pro: time zone 'Moon/Crater' is unknown"),
        ({"time_zone": "../UTC", "rules": (replace(SEARCH, window="lifetime"),)}, "'../UTC' is unknown"),
        ({"rules": MANY}, "13 limits count a request for search; at most 12 can"),
    ],
)
def test_what_could_not_be_enforced_is_told(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_plan(replace(PRO, **change, _terms={}), check_terms)


def test_a_plan_that_can_be_enforced_has_no_complaint() -> None:
    check_plan(PRO, check_terms)
    check_plan(replace(PRO, anchor=OWN_DAY, _terms={}), check_terms)
    check_plan(replace(PRO, rules=MANY[:-1], _terms={}), check_terms)
