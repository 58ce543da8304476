"""Prices of features: what a customer owes for one unit, whatever its plan, from a moment on.

GET    /api/feature-pricing             a page of the prices in force, or of all there ever were
POST   /api/feature-pricing             add one
DELETE /api/feature-pricing/{feature}   no price of its own from a moment on

Prices are added and never changed: an event has the price of the moment at which it began.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import ConfigDict, Field

from accounts.featureprices import LABEL_MAX, UNIT, FeaturePrice
from accounts.publishing import wall_ms
from gateway.api.amounts import Dollars
from gateway.api.cursor import decode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, Moment, MomentText, Name, Paged, Told, Usd, moment_text
from gateway.api.planview import Pico
from gateway.api.refusing import page_of, refusals
from gateway.errors import NotFound
from metering.money import pico_to_usd, usd_to_pico

TAG = "features"
READ, WRITE = "usage.read", "usage.write"
UnitLabel = Annotated[str, Field(min_length=1, max_length=LABEL_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PricesAsked(Paged):
    """The prices in force at a moment, or every price with its beginning."""

    feature_key: Name | None = None
    at: Annotated[Moment | None, Field(description="In force then; by default now")] = None
    history: Annotated[bool, Field(description="All there ever were, and those to come")] = False


class NewFeaturePrice(Asked):
    """A price of one unit: of a token, or of what a reported event has in usageUnits."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "feature_key": "search",
                    "revenue_per_unit": 0.002,
                    "unit_label": "search",
                    "effective_from": "2026-12-01",
                }
            ]
        }
    )

    feature_key: Name
    revenue_per_unit: Dollars
    unit_label: UnitLabel = UNIT
    effective_from: Annotated[
        Moment | None, Field(description="By default now; events that are stored keep their revenue")
    ] = None


class FromAsked(Asked):
    """From when on."""

    effective_from: Annotated[Moment | None, Field(description="By default now")] = None


class FeaturePriceTold(Told):
    """What one unit costs from a moment on; null: the feature has no price of its own from then on."""

    feature_key: str
    revenue_per_unit: Usd | None
    revenue_per_unit_pico: Pico | None
    unit_label: str
    effective_from: MomentText
    recorded_at: MomentText


class FeaturePricesTold(Told):
    """A page of prices, by feature and beginning."""

    prices: list[FeaturePriceTold]
    next_cursor: str | None


def list_prices(call: Call) -> FeaturePricesTold:
    """A page of prices."""
    asked: PricesAsked = call.query
    book = call.parts.plans(call.account_id).feature_prices()
    entries = [each for each in book.entries() if asked.feature_key in (None, each.feature)]
    if not asked.history:
        moment_ms = wall_ms() if asked.at is None else asked.at
        names = dict.fromkeys(each.feature for each in entries)
        entries = [found for name in names if (found := book.at(name, moment_ms)) is not None]
    listed = ("feature prices", call.account_id, asked.feature_key, asked.at, asked.history)
    start = 0
    if asked.cursor is not None:
        start = int(decode_cursor(listed, asked.cursor, (int,))[0] or 0)
    numbered = list(enumerate(entries[start : start + asked.limit + 1], start + 1))
    rows, following = page_of(listed, numbered, asked.limit, lambda each: (each[0],))
    return FeaturePricesTold(prices=[_told(each) for _, each in rows], next_cursor=following)


def add_price(call: Call) -> FeaturePriceTold:
    """Add a price."""
    asked: NewFeaturePrice = call.body
    moment_ms = wall_ms() if asked.effective_from is None else asked.effective_from
    with refusals():
        price = FeaturePrice(
            asked.feature_key, moment_ms, usd_to_pico(asked.revenue_per_unit), asked.unit_label
        )
        call.parts.plans(call.account_id).put_feature_price(price)
    found = call.parts.plans(call.account_id).feature_prices().at(asked.feature_key, moment_ms)
    assert found is not None, "it was added, or is so already"
    return _told(found)


def end_price(call: Call) -> FeaturePriceTold:
    """From a moment on the feature has no price of its own."""
    asked: FromAsked = call.query
    moment_ms = wall_ms() if asked.effective_from is None else asked.effective_from
    book = call.parts.plans(call.account_id)
    feature = call.path["feature"]
    if book.feature_prices().at(feature, moment_ms) is None:
        raise NotFound("This feature has no price of its own then.")
    with refusals():
        book.put_feature_price(FeaturePrice(feature, moment_ms, None))
    entries = [each for each in book.feature_prices().entries() if each.feature == feature]
    return _told(next(each for each in reversed(entries) if each.effective_ms == moment_ms))


def _told(price: FeaturePrice) -> FeaturePriceTold:
    pico = price.price_pico
    return FeaturePriceTold(
        feature_key=price.feature,
        revenue_per_unit=None if pico is None else Decimal(pico_to_usd(pico)),
        revenue_per_unit_pico=None if pico is None else str(pico),
        unit_label=price.unit_label,
        effective_from=str(moment_text(price.effective_ms)),
        recorded_at=str(moment_text(price.created_ms)),
    )


FEATURE_PRICES = (
    Endpoint(
        method="GET",
        path="/api/feature-pricing",
        scope=READ,
        summary="Prices of features in force, or all there ever were",
        tag=TAG,
        handler=list_prices,
        query=PricesAsked,
        answer=FeaturePricesTold,
    ),
    Endpoint(
        method="POST",
        path="/api/feature-pricing",
        scope=WRITE,
        summary="A feature's price from a moment on",
        description="Prices are added and never changed. What is in force already is not added again.",
        tag=TAG,
        handler=add_price,
        body=NewFeaturePrice,
        answer=FeaturePriceTold,
        status=201,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/feature-pricing/{feature}",
        scope=WRITE,
        summary="No price of its own from a moment on",
        tag=TAG,
        handler=end_price,
        query=FromAsked,
        answer=FeaturePriceTold,
        writes=True,
    ),
)
