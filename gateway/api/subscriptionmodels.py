"""What is asked of subscriptions: the bodies and queries of their endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from accounts.subscription import GRACE_DAYS_MAX, GRACE_DAYS_USUAL, Override
from gateway.api.amounts import Given, NanoGiven, read_amount
from gateway.api.fields import Asked, Moment, Name, Paged
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


class NewSubscription(Asked):
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
