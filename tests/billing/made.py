"""Plans, subscriptions and moments for tests of revenue, in few words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from accounts.plan import PlanVersion
from accounts.planprice import FeatureRate, PlanPrice, Tier
from accounts.subscription import NO_DEAL, Deal, Subscription
from billing.charges import Subscribed

USD = 10**9
"""A dollar in nano-dollars."""
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SEARCH = "search"


def at(text: str, zone: str = "UTC") -> int:
    """The moment of `2026-03-01` or `2026-03-01T12:00` in a zone, in milliseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))
    return int(moment.timestamp()) * 1_000


def plan(key: str = "pro", flat_usd: int | None = 30, *rates: FeatureRate, **fields: Any) -> PlanVersion:
    """A plan that grants everything, at so many dollars a month."""
    interval = fields.pop("interval_months", 1)
    price = None if flat_usd is None else PlanPrice(flat_usd * USD, interval, rates=rates)
    return PlanVersion(**{"plan": key, "version": 1, "others": True, "price": price, **fields})


def on(
    version: PlanVersion,
    starts_ms: int,
    ends_ms: int | None = None,
    *,
    customer: str = "acme",
    day: int = 1,
    anchor_month: int = 0,
    deal: Deal = NO_DEAL,
) -> Subscribed:
    """A customer on a plan."""
    name = f"sub_{customer}_{starts_ms}"
    subscription = Subscription(
        name, version.plan, version.version, starts_ms, ends_ms, day, deal=deal, anchor_month=anchor_month
    )
    return Subscribed(customer, subscription, version)


def cut(each: Subscribed, at_ms: int, name: str = "b", **fields: Any) -> list[Subscribed]:
    """The same subscription, recorded as two that follow each other."""
    first = replace(each.subscription, ends_ms=at_ms)
    second = replace(each.subscription, id=f"{each.subscription.id}{name}", starts_ms=at_ms, **fields)
    return [replace(each, subscription=first), replace(each, subscription=second)]


def graduated(*tiers: tuple[int | None, int, int]) -> FeatureRate:
    """Tiers as (up to, pico-USD for a unit, flat nano-USD)."""
    return FeatureRate(SEARCH, "graduated", tiers=tuple(Tier(*tier) for tier in tiers))
