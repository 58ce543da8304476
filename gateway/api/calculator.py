"""POST /api/calculator: what a feature would cost and earn before it is launched.

The price book says what one call costs, rounded as a real call would be; everything else is multiplied.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from accounts.publishing import wall_ms
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, Moment, MomentText, Name, Nano, Told, Usd, moment_text, money
from gateway.api.figures import Percent, percent
from gateway.prices import list_of
from metering.money import half_even, usd_to_nano
from metering.price import ModelPrice
from metering.usage import Usage

SCOPE = "usage.read"
TAG = "pricing"
TOKENS_MAX = 10**8
CALLS_MAX = 10**7
CUSTOMERS_MAX = 10**7
MODELS_MAX = 50
PPM = 1_000_000
UNPRICED = "unpriced"
NO_PRICE_GIVEN = "no_price_given"
REVENUE_IS_ZERO = "revenue_is_zero"


def _dollars_nano(value: Any) -> int:
    if isinstance(value, (bool, float)) or not isinstance(value, (str, int, Decimal)):
        raise ValueError("write dollars as a number or as text")
    nano = usd_to_nano(value)
    if not 0 <= nano <= 10**15:
        raise ValueError("write an amount from 0 to 1000000 dollars")
    return nano


Dollars = Annotated[
    int,
    BeforeValidator(_dollars_nano),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000, "multipleOf": 1e-9},
                {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?$"},
            ],
            "description": "US dollars of at most nine decimals, as a number or as text",
            "examples": ["29.00"],
        }
    ),
]
"""Dollars in a body, as nano-USD once read."""


def _share_ppm(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError("write a number from 0 to 1")
    ppm = Decimal(value) * PPM if abs(Decimal(value)) <= 1 else Decimal(-1)
    if not 0 <= ppm <= PPM or ppm != ppm.to_integral_value():
        raise ValueError("write a number from 0 to 1, of at most six decimals")
    return int(ppm)


Share = Annotated[
    int,
    BeforeValidator(_share_ppm),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 1e-6, "examples": [0.25]}),
]
"""A part of 1 in a body, as millionths once read."""


class ModelAsked(Asked):
    """A model, of a provider that is configured or in the price book."""

    provider: Name
    model: Name
    service_tier: Name | None = None


class CalculationAsked(Asked):
    """One kind of call, made by each customer so often in a month."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "models": [{"provider": "openai", "model": "gpt-4o-mini"}],
                    "input_tokens": 1200,
                    "output_tokens": 300,
                    "cached_share": 0.25,
                    "calls_per_customer": 1000,
                    "customers": 50,
                    "price_per_customer": "29.00",
                }
            ]
        }
    )

    models: Annotated[list[ModelAsked], Field(min_length=1, max_length=MODELS_MAX)]
    input_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX, description="Of one call, cached ones included")]
    output_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)]
    reasoning_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX, description="A part of output_tokens")] = 0
    cached_share: Annotated[Share, Field(description="Of input_tokens, read from the provider's cache")] = 0
    calls_per_task: Annotated[int, Field(ge=1, le=1_000, description="Retries included")] = 1
    calls_per_customer: Annotated[int, Field(ge=0, le=CALLS_MAX, description="Tasks of a month")] = 1
    customers: Annotated[int, Field(ge=1, le=CUSTOMERS_MAX)] = 1
    price_per_customer: Annotated[Dollars | None, Field(description="What each pays for a month")] = None
    price_per_call: Annotated[Dollars | None, Field(description="What each task brings, beside that")] = None
    at: Annotated[Moment | None, Field(description="Prices of this moment; by default now")] = None

    @model_validator(mode="after")
    def reasoning_is_a_part(self) -> CalculationAsked:
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("reasoning_tokens are a part of output_tokens")
        return self


class CalculatedTold(Told):
    """With one model. Where its price is not known, everything that follows from it is null."""

    provider: str
    model: str
    cost_per_call: Usd | None
    cost_per_call_nano: Nano | None
    cost_per_task: Usd | None
    cost_per_task_nano: Nano | None
    cost_per_customer: Usd | None = Field(description="In a month")
    cost_per_customer_nano: Nano | None
    cost: Usd | None = Field(description="Of all customers in a month")
    cost_nano: Nano | None
    cost_reason: str | None
    at_most: Usd | None = Field(description="Of all customers, where the price leaves room")
    at_most_nano: Nano | None
    revenue: Usd | None
    revenue_nano: Nano | None
    margin: Usd | None
    margin_nano: Nano | None
    margin_pct: Percent | None
    margin_reason: str | None
    break_even_per_customer: Usd | None = Field(description="The least a customer may pay for a month")
    break_even_per_customer_nano: Nano | None
    unpriced_units: list[str] = Field(description="Counts without a rate of their own")
    price_entries: list[str]


class CalculationTold(Told):
    """In the order in which models were asked for."""

    at: MomentText
    calls: int = Field(description="Of all customers in a month")
    cached_tokens: int = Field(description="Of one call")
    results: list[CalculatedTold]


def calculate(call: Call) -> CalculationTold:
    """Every model at the same use."""
    asked: CalculationAsked = call.body
    at_ms = wall_ms() if asked.at is None else asked.at
    cached = half_even(asked.input_tokens * asked.cached_share, PPM)
    usage = Usage(
        input_tokens=asked.input_tokens,
        cache_read_input_tokens=cached,
        output_tokens=asked.output_tokens,
        reasoning_output_tokens=asked.reasoning_tokens,
    )
    results = []
    for each in asked.models:
        provider = list_of(each.provider, call.parts.settings)
        price = call.parts.prices.find(provider, each.model, at_ms, call.account_id)
        results.append(_calculated(asked, each, usage, price))
    calls = asked.calls_per_task * asked.calls_per_customer * asked.customers
    return CalculationTold(at=moment_text(at_ms) or "", calls=calls, cached_tokens=cached, results=results)


def _calculated(
    asked: CalculationAsked, model: ModelAsked, usage: Usage, price: ModelPrice | None
) -> CalculatedTold:
    cost = None if price is None else price.cost_of(usage, service_tier=model.service_tier)
    call_nano = None if cost is None else cost.nano
    upper_nano = None if cost is None else cost.upper_nano
    tasks = asked.calls_per_customer
    task_nano = _times(call_nano, asked.calls_per_task)
    customer_nano = _times(task_nano, tasks)
    cost_nano = _times(customer_nano, asked.customers)
    revenue_nano = _revenue(asked)
    margin_nano = None if revenue_nano is None or cost_nano is None else revenue_nano - cost_nano
    paid = tasks * (asked.price_per_call or 0)
    return CalculatedTold(
        provider=model.provider,
        model=model.model,
        **money(cost_per_call=call_nano, cost_per_task=task_nano),
        **money(cost_per_customer=customer_nano, cost=cost_nano),
        cost_reason=UNPRICED if cost_nano is None else None,
        **money(at_most=_times(upper_nano, asked.calls_per_task * tasks * asked.customers)),
        **money(revenue=revenue_nano, margin=margin_nano),
        margin_pct=None if margin_nano is None or not revenue_nano else percent(margin_nano, revenue_nano),
        margin_reason=_reason(cost_nano, revenue_nano),
        **money(break_even_per_customer=None if customer_nano is None else max(0, customer_nano - paid)),
        unpriced_units=[] if cost is None else list(cost.unpriced_units),
        price_entries=[] if cost is None else list(cost.entry_ids),
    )


def _revenue(asked: CalculationAsked) -> int | None:
    if asked.price_per_customer is None and asked.price_per_call is None:
        return None
    each = (asked.price_per_customer or 0) + asked.calls_per_customer * (asked.price_per_call or 0)
    return each * asked.customers


def _reason(cost_nano: int | None, revenue_nano: int | None) -> str | None:
    if revenue_nano is None:
        return NO_PRICE_GIVEN
    if cost_nano is None:
        return UNPRICED
    return None if revenue_nano else REVENUE_IS_ZERO


def _times(nano: int | None, count: int) -> int | None:
    return None if nano is None else nano * count


CALCULATOR = (
    Endpoint(
        "POST",
        "/api/calculator",
        SCOPE,
        "Cost and margin of a feature before it is launched",
        TAG,
        calculate,
        answer=CalculationTold,
        body=CalculationAsked,
        bound="open",
    ),
)
