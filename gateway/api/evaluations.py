"""What an application is told of entitlements on the platform paths, from what was found of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNITS_MAX = 2**53 - 1
MONEY_UNIT = "usd"
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
) -> dict[str, Any]:
    """One customer and feature. `found`: as the check tells it."""
    description = found["message"] or _REASONS[found["reason"]]
    return {
        "referenceCustomerId": customer,
        "customerReferenceId": customer,
        "featureKey": feature,
        "allowed": found["allowed"],
        "flowId": flow_id,
        "meta": {"reason": {"code": found["reason"], "description": description}},
        "usage": {name: found[name] for name in ("unit", "used", "limit", "remaining", "resets_at")},
        "limits": found["limits"],
    }


def simulation(found: Mapping[str, Any], units: int) -> dict[str, Any]:
    """What so many units more would do to the limit that describes the feature; null where none counts
    them."""
    used, limit = found["used"], found["limit"]
    told: dict[str, Any] = {"requestedUsage": units, "projectedUsage": None, "projectedRemaining": None}
    if not counts_units(found):
        return told | {"wouldExceedLimit": None}
    return told | {
        "projectedUsage": used + units,
        "projectedRemaining": max(0, limit - used - units),
        "wouldExceedLimit": used + units > limit,
    }


def counts_units(found: Mapping[str, Any]) -> bool:
    """Whether the limit that describes the feature counts something, and not money."""
    return found["unit"] not in (None, MONEY_UNIT) and found["limit"] is not None


def entitlement_list(
    subscription_id: str | None, features: Sequence[tuple[str, bool]], limit: int, offset: int
) -> dict[str, Any]:
    """All features of a customer's plan, of one subscription."""
    page = features[offset : offset + limit]
    entitlements = [{"featureKey": feature, "allowed": allowed} for feature, allowed in page]
    return {
        "items": [{"subscriptionId": subscription_id, "entitlements": entitlements}],
        "pagination": {
            "total": len(features),
            "limit": limit,
            "offset": offset,
            "hasMore": offset + limit < len(features),
        },
    }
