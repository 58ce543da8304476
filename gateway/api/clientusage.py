"""What a customer has used of its plan, and what it will have used where it goes on so.

GET /api/v1/client/customers/{customer}/usage   in camelCase, as on all platform paths
"""

from __future__ import annotations

from pydantic import Field

from accounts.plan import EACH
from budgets.limit import Attribution, applies, scope_key
from budgets.usage import LimitUsage, read_rows
from gateway.api.amounts import Amount, AmountNano, amount
from gateway.api.clientcustomers import READ, TAG, own_customer
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import MomentText, ToldCamel, moment_text
from gateway.api.subscribing import described


class LimitUsed(ToldCamel):
    """What is used of one limit of a plan in its present window."""

    kind: str
    window: str
    enforcement: str
    limit: Amount | None
    limit_nano: AmountNano | None
    used: Amount | None
    used_nano: AmountNano | None
    remaining: Amount | None
    remaining_nano: AmountNano | None
    projected_end_of_period: Amount | None = Field(description="Where it goes on as until now")
    projected_end_of_period_nano: AmountNano | None
    would_exceed_limit: bool | None
    period_start: MomentText | None
    period_end: MomentText | None


class FeatureUsed(ToldCamel):
    """A feature of the plan and its limits; `featureKey` * is all features together."""

    feature_key: str
    limits: list[LimitUsed]


class SubscriptionUsed(ToldCamel):
    """A subscription and what is used of its plan."""

    subscription_id: str
    plan_key: str
    current_period_start: MomentText | None
    current_period_end: MomentText | None
    features: list[FeatureUsed]


class ClientUsage(ToldCamel):
    """What a customer has used until now."""

    as_of: MomentText
    customer_reference_id: str
    subscriptions: list[SubscriptionUsed]


def client_usage(call: Call) -> ClientUsage:
    """What a customer has used of its plan in the present windows."""
    customer = own_customer(call)
    now_ms = call.parts.rows.now_ms(call.account_id)
    present = customer.at(now_ms)
    used = []
    if present is not None:
        found = described(call, customer, present)
        plan = found.plan
        wanted, of_features = [], []
        for limit, rule in zip(present.terms(plan).limits, plan.rules, strict=True):
            of = Attribution(call.account_id, "", customer.customer, feature=rule.feature)
            key = scope_key(limit.scope, of)
            if key is not None and applies(limit, of):
                wanted.append((limit, key))
                of_features.append(rule.feature or EACH)
        usages = read_rows(call.parts.redis, call.account_id, wanted)
        features: dict[str, list[LimitUsed]] = {name: [] for name in plan.features}
        for name, usage in zip(of_features, usages, strict=True):
            features.setdefault(name, []).append(limit_used(usage, now_ms))
        used.append(
            SubscriptionUsed(
                subscription_id=present.id,
                plan_key=present.plan,
                current_period_start=moment_text(found.period.start_ms) if found.period else None,
                current_period_end=moment_text(found.period.end_ms) if found.period else None,
                features=[
                    FeatureUsed(feature_key=name, limits=limits)
                    for name, limits in features.items()
                    if call.bound_feature in (None, name)
                ],
            )
        )
    return ClientUsage(
        as_of=str(moment_text(now_ms)), customer_reference_id=customer.customer, subscriptions=used
    )


def limit_used(usage: LimitUsage, now_ms: int) -> LimitUsed:
    """What is used of one limit; null where the ledger does not know it yet: nothing was used then."""
    limit, window = usage.limit, usage.window
    counted = usage.used if usage.used is not None else usage.spent + usage.doubted
    value = usage.value if usage.published else limit.value
    remaining = usage.remaining if usage.published else value
    projected = None
    if window.start_ms and now_ms > window.start_ms:
        length_ms, passed_ms = window.end_ms - window.start_ms, now_ms - window.start_ms
        projected = counted * length_ms // passed_ms
    starts = window.start_ms or None
    return LimitUsed(
        kind=limit.kind,
        window=limit.window,
        enforcement=limit.enforcement,
        **amount(limit.kind, "limit", value),
        **amount(limit.kind, "used", counted),
        **amount(limit.kind, "remaining", max(0, remaining)),
        **amount(limit.kind, "projected_end_of_period", projected),
        would_exceed_limit=None if projected is None else projected > value,
        period_start=moment_text(starts),
        period_end=None if starts is None else moment_text(window.end_ms),
    )


CLIENT_USAGE = (
    Endpoint(
        method="GET",
        path="/api/v1/client/customers/{customer}/usage",
        scope=READ,
        summary="What a customer has used of its plan, and what that will be",
        tag=TAG,
        handler=client_usage,
        answer=ClientUsage,
        bound="own",
    ),
)
