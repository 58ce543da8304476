"""What is asked and told of entitlements: bodies, queries and answers of what workers answer themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from budgets.limit import AMOUNT_MAX
from gateway.api.amounts import Amount, AmountNano
from gateway.api.fields import LIST_MAX, LIST_USUAL, Asked, AskedCamel, OwnName, Told, ToldCamel
from gateway.api.limitmodels import Kind

UNITS_MAX = 2**53 - 1
OFFSET_MAX = 1_000_000
FLOW_MAX = 64
Count = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]


class CheckAsked(AskedCamel):
    """May this customer use this feature?"""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customerReferenceId": "user_42", "featureKey": "search"}]}
    )

    customer_reference_id: OwnName
    feature_key: OwnName
    requested: Annotated[
        dict[Kind, Count] | None,
        Field(description="How much of each kind a request would take; money in nano-USD"),
    ] = None

    @property
    def wishes(self) -> dict[str, int]:
        """How much of each kind."""
        return dict((self.requested or {}).items())


class UsageWish(AskedCamel):
    """A wish to use something. The event's name, its model and `meta` are taken and change nothing."""

    event_name: Annotated[str | None, Field(max_length=128)] = None
    usage_units: Annotated[int, Field(ge=0, le=UNITS_MAX)] = 1
    model: Annotated[str | None, Field(max_length=128)] = None
    meta: dict[str, Any] | None = None


class Context(AskedCamel):
    """What the question is a part of. Nothing is used by asking, so that it can be asked twice anyway."""

    idempotency_key: Annotated[str | None, Field(max_length=255, description="Taken and not kept")] = None
    flow_id: Annotated[str | None, Field(max_length=FLOW_MAX, description="Told back")] = None


class EvaluationAsked(AskedCamel):
    """The same, and what more use would do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customerReferenceId": "user_42",
                    "featureKey": "search",
                    "usage": {"eventName": "search", "usageUnits": 3},
                    "context": {"flowId": "flow-1"},
                }
            ]
        }
    )

    customer_reference_id: OwnName
    feature_key: OwnName
    usage: UsageWish | None = None
    track: Annotated[UsageWish | None, Field(description="Another name of usage; send one of the two")] = None
    context: Context | None = None

    @model_validator(mode="after")
    def one_wish(self) -> EvaluationAsked:
        if self.usage is not None and self.track is not None:
            raise ValueError("send usage or track, not both")
        return self

    @property
    def units(self) -> int | None:
        """How much is wished for; None: nothing is said of that."""
        wish = self.usage or self.track
        return None if wish is None else wish.usage_units


class EntitlementsAsked(Asked):
    """A part of the list."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = LIST_USUAL
    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)] = 0


class Figures(Told):
    """What is left of the limit that describes a feature best; null where there is none."""

    unit: str | None = Field(description="usd, or what is counted, such as requests")
    limit: Amount | None
    limit_nano: AmountNano | None
    used: Amount | None
    used_nano: AmountNano | None
    remaining: Amount | None
    remaining_nano: AmountNano | None
    resets_at: str | None


class EntitlementLimit(Figures):
    """One limit that applies."""

    id: str
    of: str = Field(description="`plan` and its version, or `limit`")
    scope: str
    scope_id: str
    kind: str
    window: str
    enforcement: str
    accumulates: bool = Field(description="What is not used is carried over")
    period_start: str | None


class Decision(Figures):
    """Whether a customer may use a feature now, and why."""

    allowed: bool
    reason: str
    message: str | None
    plan: str | None
    limits: list[EntitlementLimit]


class Checked(Decision):
    """The decision on one customer and feature."""

    customer_reference_id: str = Field(alias="customerReferenceId")
    feature_key: str = Field(alias="featureKey")


class Reason(ToldCamel):
    """Why, for a program and for a person."""

    code: str
    description: str


class EntitlementMeta(ToldCamel):
    """What is told beside the decision."""

    reason: Reason


class Simulation(ToldCamel):
    """What so many units more would do; null where no limit counts them."""

    requested_usage: int
    projected_usage: int | None
    projected_remaining: int | None
    would_exceed_limit: bool | None


class Evaluated(ToldCamel):
    """The decision on one customer and feature. `simulation`: where `usage` was sent."""

    reference_customer_id: str
    customer_reference_id: str
    feature_key: str
    allowed: bool
    flow_id: str | None
    meta: EntitlementMeta
    usage: Figures
    limits: list[EntitlementLimit]
    simulation: Simulation | None = None


class FeatureAllowed(ToldCamel):
    """One feature of a plan."""

    feature_key: str
    allowed: bool


class SubscriptionFeatures(ToldCamel):
    """The features of one subscription; of none where the plan comes by the policy."""

    subscription_id: str | None
    entitlements: list[FeatureAllowed]


class Pagination(ToldCamel):
    """Which part of the list it is."""

    total: int
    limit: int
    offset: int
    has_more: bool


class EntitlementList(ToldCamel):
    """All features of a customer's plan."""

    items: list[SubscriptionFeatures]
    pagination: Pagination


class PlanSubscription(Told):
    """Since when, and until when."""

    id: str
    starts_at: str | None
    ends_at: str | None


class FeatureDecision(Decision):
    """A feature of the plan, and whether the customer may use it now."""

    feature_key: str


class PlanAnswer(Told):
    """A customer's plan with all its features."""

    customer: str
    plan: str | None
    plan_version: int | None
    name: str | None
    reason: str
    subscription: PlanSubscription | None
    other_features: Literal["allow", "deny"] | None
    limits: list[EntitlementLimit]
    features: list[FeatureDecision]
