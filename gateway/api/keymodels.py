"""What is asked of keys: the bodies and queries of their endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from gateway.api.amounts import Dollars, Given, NanoGiven
from gateway.api.fields import Asked, Moment, Name, Paged
from gateway.api.limitmodels import Anchor, Enforcement, Kind, Thresholds, TimeZone, Window

DAY_S = 24 * 3_600
OVERLAP_USUAL_S = DAY_S
OVERLAP_MAX_S = 30 * DAY_S
EXPIRY_MAX_S = 3_650 * DAY_S
CENTS_MAX = 900_000_000
"""Nine million dollars: about what a limit can be."""

Title = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""What people call it."""
Names = Annotated[list[Name], Field(max_length=200)]
Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=64)]
Cents = Annotated[int, Field(ge=0, le=CENTS_MAX)]
ExpiresIn = Annotated[int, Field(ge=1, le=EXPIRY_MAX_S)]
ScopeNames = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)]


class KeysAsked(Paged):
    """A key without the scope `admin` sees itself and its children."""

    status: Literal["active", "revoked"] | None = None


class OverlapAsked(Asked):
    """How long the former secret works beside the new one."""

    overlap_seconds: Annotated[
        int, Field(ge=0, le=OVERLAP_MAX_S, description="0: no earlier secret works any more")
    ] = OVERLAP_USUAL_S


class NewKeyLimit(Asked):
    """A limit that the key is made with."""

    kind: Kind = "money"
    window: Window
    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement = "hard"
    time_zone: TimeZone = "UTC"
    anchor: Anchor = 1
    thresholds: Thresholds = Field(default_factory=list)


class NewKey(Asked):
    """A key to be made. It is a child of the key that asks, never above it, and ends with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "checkout", "scopes": ["proxy.chat"], "budget_cents": 2500, "budget_period": "month"}
            ]
        }
    )

    name: Title
    scopes: Annotated[
        ScopeNames | None, Field(description="By default proxy.chat and models.read, of those that it may")
    ] = None
    independent: Annotated[
        bool,
        Field(description="No child: only with the scope admin, by a key that nothing limits"),
    ] = False
    expires_at: Moment | None = None
    expires_in_seconds: ExpiresIn | None = None
    customer_id: Annotated[Name | None, Field(description="Bind it to this customer")] = None
    feature_key: Annotated[Name | None, Field(description="Bind it to this feature")] = None
    assertion: Literal["none", "listed", "any"] | None = None
    customers: Names = Field(default_factory=list)
    features: Names = Field(default_factory=list)
    default_customer: Name | None = None
    default_feature: Name | None = None
    routes: Patterns = Field(default_factory=list)
    models: Patterns = Field(default_factory=list)
    sources: Annotated[list[Literal["metadata", "baggage"]], Field(max_length=2)] = Field(
        default_factory=list
    )
    required_headers: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=list)
    budget_cents: Annotated[Cents | None, Field(description="A hard limit on money")] = None
    budget_period: Annotated[
        Literal["day", "week", "month"] | None, Field(description="null: for its whole life")
    ] = None
    limits: Annotated[list[NewKeyLimit], Field(max_length=16)] = Field(default_factory=list)
    on_ledger_down: Literal["closed", "open", "allowance"] | None = None
    allowance: Dollars | None = None

    @model_validator(mode="after")
    def told_once(self) -> NewKey:
        if self.expires_at is not None and self.expires_in_seconds is not None:
            raise ValueError("send expires_at or expires_in_seconds, not both")
        if self.budget_period is not None and self.budget_cents is None:
            raise ValueError("budget_period goes with budget_cents")
        return self
