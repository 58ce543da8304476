"""Entitlement: may this customer use this feature now, and within which limits. Pure.

Decided in two steps, because between them a plan's version may have to be fetched: `place` finds on which
plan a customer is at a moment, `entitle` what that plan says of a feature. Reasons of a refusal:

    customer_unnamed          the request names no customer, and the policy wants one
    customer_unknown          nobody has recorded the customer, and the policy refuses unknown ones
    no_subscription           the customer is on no plan, and the policy refuses that
    subscription_not_started  ... and will be on one later
    subscription_ended        ... and was on one before; no policy but a default plan lets it go on
    feature_disabled          the operator has switched the feature off for everybody
    feature_not_in_plan       the plan does not grant it
    feature_unnamed           the request names no feature, and the plan grants only those that it names

Of what is granted: subscribed, default_plan, no_plan (nothing is asked of this customer). Both answers are
made for every request, so they are plain slotted classes, which cost less than frozen ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts.plan import PlanLimit, PlanVersion
from accounts.policy import Policy
from accounts.subscription import Subscription
from accounts.terms import CustomerTerms


@dataclass(slots=True)
class Place:
    """On which plan a customer is at a moment; `plan` None where no plan decides, granted or not."""

    granted: bool
    reason: str
    plan: str | None = None
    version: int = 0
    subscription: Subscription | None = None


@dataclass(slots=True)
class Entitlement:
    """The decision. plan: the plan's key. label: what requests are recorded under. limits: all of the plan;
    which of them count a request is told by their scopes."""

    granted: bool
    reason: str
    plan: str | None = None
    label: str | None = None
    limits: tuple[PlanLimit, ...] = ()


_NO_PLAN = Place(True, "no_plan")
_UNNAMED = Place(False, "customer_unnamed")
_UNKNOWN = Place(False, "customer_unknown")
_NEVER = Place(False, "no_subscription")
_LATER = Place(False, "subscription_not_started")
_ENDED = Place(False, "subscription_ended")
FREE = Entitlement(True, "no_plan")


def place(policy: Policy, own: CustomerTerms | None, customer: str | None, now_ms: int) -> Place:
    """The customer's place. `own`: what is recorded of the customer, None for nothing."""
    if customer is None:
        return _UNNAMED if policy.unnamed == "deny" else _NO_PLAN
    former = later = False
    for each in own.subscriptions if own is not None else ():
        if each.covers(now_ms):
            return Place(True, "subscribed", each.plan, each.version, each)
        former = former or each.starts_ms <= now_ms
        later = later or each.starts_ms > now_ms
    if policy.unknown == "default_plan":
        return Place(True, "default_plan", policy.plan, policy.version)
    if former:
        return _ENDED
    if policy.unknown == "allow":
        return _NO_PLAN
    if later:
        return _LATER
    return _NEVER if own is not None and own.registered else _UNKNOWN


def entitle(policy: Policy, at: Place, plan: PlanVersion | None, feature: str | None) -> Entitlement:
    """What the plan at this place says of the feature. `plan`: the version that the place names."""
    if not at.granted:
        return Entitlement(False, at.reason)
    if feature is not None and feature in policy.disabled:
        return Entitlement(False, "feature_disabled", at.plan)
    if plan is None:
        return FREE
    subscription = at.subscription
    granted = plan.grants(feature) if subscription is None else subscription.grants(plan, feature)
    if not granted:
        return Entitlement(False, "feature_unnamed" if feature is None else "feature_not_in_plan", at.plan)
    terms = plan.terms() if subscription is None else subscription.terms(plan)
    return Entitlement(True, at.reason, at.plan, terms.label, terms.limits)


def told(denied: Entitlement, customer: str | None, feature: str | None) -> str:
    """A refusal as a sentence for whoever made the request."""
    who, what = f"The customer {customer!r}", f"the feature {feature!r}"
    sentences = {
        "customer_unnamed": "This request names no customer, and only customers are served; "
        "send Observe-Customer.",
        "customer_unknown": f"{who} is not known here, so {what if feature else 'this request'} is refused.",
        "no_subscription": f"{who} is on no plan.",
        "subscription_not_started": f"{who} is on no plan yet: the subscription begins later.",
        "subscription_ended": f"{who} is on no plan any more: the subscription has ended.",
        "feature_disabled": f"{what[0].upper()}{what[1:]} is switched off for every customer.",
        "feature_not_in_plan": f"{who} may not use {what}: the plan {denied.plan!r} does not include it.",
        "feature_unnamed": f"This request of {who[0].lower()}{who[1:]} names no feature, and the plan "
        f"{denied.plan!r} includes only certain ones; send Observe-Feature.",
    }
    return sentences[denied.reason]
