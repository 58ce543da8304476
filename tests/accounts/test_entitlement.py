"""Who may use what: the table of decisions."""

from __future__ import annotations

import pytest

from accounts.entitlement import Place, entitle, place, told
from accounts.plan import PlanRule, PlanVersion
from accounts.policy import Policy, check_policy
from accounts.subscription import Overrides, Subscription
from accounts.terms import AccountTerms, CustomerTerms

ALLOW, DENY = Policy(), Policy("deny")
DEFAULT = Policy("default_plan", plan="free", version=4)
NOW = 1_000
PAST = Subscription("s1", "old", 1, 100, 500)
PRESENT = Subscription("s2", "pro", 2, 500, 1_500)
LATER = Subscription("s3", "pro", 2, 2_000)
LIMITED = CustomerTerms(1, ())
"""Somebody set a limit on it, nobody recorded it."""
KNOWN = CustomerTerms(1, (), True)


def on(*subscriptions: Subscription) -> CustomerTerms:
    return CustomerTerms(3, (), True, subscriptions)


@pytest.mark.parametrize(
    ("policy", "own", "expected"),
    [
        (ALLOW, None, (True, "no_plan", None)),
        (DENY, None, (False, "customer_unknown", None)),
        (DEFAULT, None, (True, "default_plan", "free")),
        (ALLOW, LIMITED, (True, "no_plan", None)),
        (DENY, LIMITED, (False, "customer_unknown", None)),
        (ALLOW, KNOWN, (True, "no_plan", None)),
        (DENY, KNOWN, (False, "no_subscription", None)),
        (DEFAULT, KNOWN, (True, "default_plan", "free")),
        (DENY, on(PAST, PRESENT, LATER), (True, "subscribed", "pro")),
        (ALLOW, on(PAST), (False, "subscription_ended", None)),
        (DEFAULT, on(PAST), (True, "default_plan", "free")),
        (DENY, on(LATER), (False, "subscription_not_started", None)),
        (ALLOW, on(LATER), (True, "no_plan", None)),
    ],
)
def test_on_which_plan_a_customer_is(
    policy: Policy, own: CustomerTerms | None, expected: tuple[bool, str, str | None]
) -> None:
    found = place(policy, own, "acme", NOW)
    assert (found.granted, found.reason, found.plan) == expected


def test_a_request_that_names_no_customer() -> None:
    assert place(DENY, None, None, NOW).granted
    assert place(Policy("allow", "deny"), None, None, NOW).reason == "customer_unnamed"


SEARCH = PlanVersion("pro", 2, ("search",), False, (PlanRule("requests", "month", 1, "search"),))
OPEN = PlanVersion("pro", 2, others=True)


@pytest.mark.parametrize(
    ("plan", "feature", "reason"),
    [
        (SEARCH, "search", "subscribed"),
        (SEARCH, "notes", "feature_not_in_plan"),
        (SEARCH, None, "feature_unnamed"),
        (SEARCH, "off", "feature_disabled"),
        (OPEN, "notes", "subscribed"),
        (OPEN, None, "subscribed"),
        (OPEN, "off", "feature_disabled"),
        (None, "notes", "no_plan"),
        (None, "off", "feature_disabled"),
    ],
)
def test_what_a_plan_says_of_a_feature(plan: PlanVersion | None, feature: str | None, reason: str) -> None:
    policy = Policy(disabled=("off",))
    present = Subscription("s2", "pro", 2, 500, 1_500)
    at = Place(True, "subscribed", "pro", 2, present) if plan else Place(True, "no_plan")
    found = entitle(policy, at, plan, feature)
    assert found.reason == reason
    assert found.granted is (reason in ("subscribed", "no_plan"))
    if found.granted and plan is not None:
        assert (found.plan, found.label, len(found.limits)) == ("pro", "pro@2", len(plan.rules))


def test_what_a_customer_has_otherwise_wins_but_not_over_the_switch() -> None:
    own = Subscription("s", "pro", 2, 0, overrides=Overrides(features={"search": False, "off": True}))
    at = Place(True, "subscribed", "pro", 2, own)
    assert entitle(ALLOW, at, SEARCH, "search").reason == "feature_not_in_plan"
    assert entitle(Policy(disabled=("off",)), at, SEARCH, "off").reason == "feature_disabled"


def test_every_refusal_says_whom_and_what_it_is_about() -> None:
    refusals = [
        place(Policy("allow", "deny"), None, None, NOW),
        place(DENY, None, "acme", NOW),
        place(DENY, KNOWN, "acme", NOW),
        place(DENY, on(LATER), "acme", NOW),
        place(DENY, on(PAST), "acme", NOW),
    ]
    said = [told(entitle(DENY, each, None, "search"), "acme", "search") for each in refusals]
    at = Place(True, "subscribed", "pro", 2, PRESENT)
    off = Policy(disabled=("off",))
    said += [told(entitle(off, at, SEARCH, each), "acme", each) for each in ("notes", None, "off")]
    assert len(set(said)) == 8
    assert all("'acme'" in each for each in said[1:7])
    assert all("'pro'" in each for each in said[5:7])


def test_documents_carry_the_policy_and_the_subscriptions() -> None:
    policy = Policy("default_plan", "deny", "free", 4, ("off",))
    account = AccountTerms(7, (), True, policy)
    assert AccountTerms.from_document(account.to_document()) == account
    customer = on(PRESENT, LATER)
    assert CustomerTerms.from_document(customer.to_document()) == customer
    # Those of a version that knew no plans.
    older = b'{"version":1,"limits":[],"has_customer_terms":false}'
    assert AccountTerms.from_document(older).policy is None
    assert CustomerTerms.from_document(b'{"version":1,"limits":[]}') == CustomerTerms(1, ())


@pytest.mark.parametrize(
    "policy",
    [Policy("maybe"), Policy("allow", "maybe"), Policy("default_plan"), Policy("deny", plan="free")],
)
def test_what_cannot_be_a_policy_is_told(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"customers|default plan"):
        check_policy(policy)
