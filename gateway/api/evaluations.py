"""What an application is told of entitlements on the platform paths, from what was found of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.entitlementmodels import (
    EntitlementList,
    EntitlementMeta,
    Evaluated,
    FeatureAllowed,
    Figures,
    Pagination,
    Reason,
    Simulation,
    SubscriptionFeatures,
)

MONEY_UNIT = "usd"
_FIGURES = tuple(Figures.model_fields)
_REASONS = {
    "subscribed": "The customer's plan includes it.",
    "default_plan": "The default plan includes it.",
    "no_plan": "Nothing is asked of this customer.",
    "limit_reached": "A limit is used up.",
    "limit_held": "What is left of a limit is held by requests that run now.",
    "rate_reached": "Too much in too short a time.",
}


def evaluation(
    customer: str, feature: str, found: Mapping[str, Any], *, flow_id: str | None = None
) -> Evaluated:
    """One customer and feature. `found`: as the check tells it."""
    description = found["message"] or _REASONS[found["reason"]]
    return Evaluated(
        reference_customer_id=customer,
        customer_reference_id=customer,
        feature_key=feature,
        allowed=found["allowed"],
        flow_id=flow_id,
        meta=EntitlementMeta(reason=Reason(code=found["reason"], description=description)),
        usage=Figures(**{name: found[name] for name in _FIGURES}),
        limits=found["limits"],
    )


def simulation(found: Mapping[str, Any], units: int) -> Simulation:
    """What so many units more would do to the limit that describes the feature; null where none counts
    them."""
    used, limit = found["used"], found["limit"]
    counted = counts_units(found)
    return Simulation(
        requested_usage=units,
        projected_usage=used + units if counted else None,
        projected_remaining=max(0, limit - used - units) if counted else None,
        would_exceed_limit=used + units > limit if counted else None,
    )


def counts_units(found: Mapping[str, Any]) -> bool:
    """Whether the limit that describes the feature counts something, and not money."""
    return found["unit"] not in (None, MONEY_UNIT) and found["limit"] is not None


def entitlement_list(
    subscription_id: str | None, features: Sequence[tuple[str, bool]], limit: int, offset: int
) -> EntitlementList:
    """All features of a customer's plan, of one subscription."""
    page = features[offset : offset + limit]
    entitlements = [FeatureAllowed(feature_key=feature, allowed=allowed) for feature, allowed in page]
    return EntitlementList(
        items=[SubscriptionFeatures(subscription_id=subscription_id, entitlements=entitlements)],
        pagination=Pagination(
            total=len(features), limit=limit, offset=offset, has_more=offset + limit < len(features)
        ),
    )
