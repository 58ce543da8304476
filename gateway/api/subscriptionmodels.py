"""What is asked of subscriptions: the bodies and queries of their endpoints."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from accounts.subscription import GRACE_DAYS_MAX, GRACE_DAYS_USUAL, PPM, QUANTITY_MAX, Deal, Override
from gateway.api.amounts import MONEY, Dollars, Given, NanoGiven, read_amount
from gateway.api.fields import Asked, Moment, Name, Paged, exact
from gateway.api.limitmodels import Enforcement
from gateway.api.planmodels import PlanKey

When = Literal["IMMEDIATE", "END_OF_PERIOD"]
Version = Annotated[int | None, Field(ge=1, le=999_999_999, description="By default the latest")]

GraceDays = Annotated[
    int, Field(ge=0, le=GRACE_DAYS_MAX, description="Days; kept for whoever bills, and told back")
]
PaymentMethod = Annotated[
    Name, Field(description="A card or account at the payment provider; kept and told back")
]


def _percent(value: Any) -> Decimal:
    found = exact(value)
    if not 0 <= found <= 100 or found * PPM / 100 % 1:
        raise ValueError("write a number from 0 to 100, of at most four decimals")
    return found


Percent = Annotated[
    Decimal,
    BeforeValidator(_percent),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 1e-4, "examples": [12.5]}),
]


class SubscriptionsAsked(Paged):
    """Filters are exact, and all of them hold."""

    customer_id: Name | None = None
    plan: Name | None = None
    status: Literal["pending", "active", "ended"] | None = None


class OverrideAsked(Asked):
    """What the customer has otherwise than its plan, of one limit."""

    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement | None = None


class DealAsked(Asked):
    """What is paid otherwise than the plan says, of the plan's own price. Usage is charged as in the plan."""

    price: Annotated[Dollars | None, Field(description="Of each period, instead of the plan's")] = None
    price_nano: NanoGiven | None = None
    quantity: Annotated[
        int, Field(ge=1, le=QUANTITY_MAX, description="How many times it is paid, such as for seats")
    ] = 1
    discount_percent: Annotated[Percent, Field(description="Taken off")] = Decimal(0)


class NewSubscription(DealAsked):
    """A customer to be put on a plan."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": "acme", "plan": "pro"}]})

    customer_id: Name
    plan: PlanKey
    version: Version = None
    starts_at: Annotated[Moment | None, Field(description="By default now")] = None
    ends_at: Moment | None = None
    anchor: Annotated[int | None, Field(ge=1, le=31, description="The day on which its months begin")] = None
    limits: Annotated[
        dict[str, OverrideAsked],
        Field(
            default_factory=dict,
            max_length=64,
            description="By the name of the plan's limit, such as search/requests/month",
        ),
    ]
    features: Annotated[
        dict[Name, bool],
        Field(default_factory=dict, max_length=200, description="Granted or refused, whatever the plan says"),
    ]
    grace_period_days: GraceDays = GRACE_DAYS_USUAL
    payment_method_id: PaymentMethod | None = None


class NewDeal(DealAsked):
    """A special price of one customer, for as long as it is on the plan that it is on then."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer_id": "acme", "price": 39.5, "quantity": 12}]}
    )

    customer_id: Name
    starts_at: Annotated[Moment | None, Field(description="By default now; not in the past")] = None
    ends_at: Annotated[Moment | None, Field(description="By default with the plan")] = None


class DealEnd(Asked):
    """From when on the customer pays what its plan says."""

    ends_at: Annotated[Moment | None, Field(description="By default now")] = None


class PlanChange(Asked):
    """Another plan, or another version of the same one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "max", "when": "END_OF_PERIOD"}]})

    plan: PlanKey
    version: Version = None
    when: When = "IMMEDIATE"


class Cancellation(Asked):
    """When it ends."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"when": "END_OF_PERIOD"}]})

    when: When = "END_OF_PERIOD"


def deal_asked(asked: DealAsked) -> Deal:
    """What is paid otherwise, as the book takes it. ValueError says what is wrong."""
    price_nano = None
    if asked.price is not None or asked.price_nano is not None:
        price_nano = read_amount(MONEY, asked.price, asked.price_nano, "price")
    return Deal(price_nano, asked.quantity, int(asked.discount_percent * PPM / 100))


def kind_of(name: str) -> str:
    """The kind in a limit's name, feature/kind/window; features have no slash."""
    parts = name.split("/")
    if len(parts) != 3:
        raise ValueError(f"limits: {name!r} is no limit of a plan; write such as search/requests/month")
    return parts[1]


def override_asked(name: str, asked: OverrideAsked) -> Override:
    """What the customer has otherwise, as the book takes it. ValueError says what is wrong."""
    value = None
    if asked.value is not None or asked.value_nano is not None:
        value = read_amount(kind_of(name), asked.value, asked.value_nano, "value")
    return Override(value, asked.enforcement)
