"""What is asked of limits: the bodies and queries of their endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from gateway.api.amounts import Given, NanoGiven
from gateway.api.fields import LIST_MAX, Asked, Name, Paged

ROWS_USUAL = 10
ScopeName = Literal[
    "account", "key", "customer", "workspace", "feature", "customer_feature", "plan", "trace", "route"
]
Kind = Literal[
    "money",
    "requests",
    "tokens",
    "input_tokens",
    "output_tokens",
    "requests_per_minute",
    "tokens_per_minute",
    "concurrency",
]
Enforcement = Literal["hard", "soft", "shadow"]
Window = Literal["day", "week", "month", "lifetime", "minute", "now"]
Anchor = Annotated[int, Field(ge=1, le=31)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64, examples=["Europe/Berlin"])]
Thresholds = Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(max_length=8)]


class LimitsAsked(Paged):
    """Filters are exact, and all of them hold."""

    scope: ScopeName | None = None
    kind: Kind | None = None
    customer_id: Annotated[
        Name | None, Field(description="On it, on its workspaces and on its use of features")
    ] = None
    key_id: Annotated[Name | None, Field(description="On this very key")] = None
    feature_key: Annotated[Name | None, Field(description="On this feature of all customers together")] = None
    plan: Name | None = None

    @model_validator(mode="after")
    def one_subject(self) -> LimitsAsked:
        named = [name for name in ("customer_id", "key_id", "feature_key", "plan") if getattr(self, name)]
        if len(named) > 1:
            raise ValueError(f"send one of {', '.join(named)}")
        return self


class LimitAsked(Asked):
    """How many rows of a limit on each of something are told."""

    rows: Annotated[int, Field(ge=0, le=LIST_MAX)] = ROWS_USUAL


class NewLimitAsked(Asked):
    """A limit to be set. `scope` says which of the names it has; `*` in place of one is each."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"scope": "customer", "customer_id": "acme", "window": "month", "value": 25.5},
                {
                    "scope": "workspace",
                    "customer_id": "acme",
                    "workspace": "*",
                    "kind": "requests",
                    "window": "day",
                    "value": 1000,
                    "enforcement": "soft",
                    "thresholds": [80, 100],
                },
            ]
        }
    )

    scope: ScopeName
    key_id: Name | None = None
    customer_id: Name | None = None
    workspace: Name | None = None
    feature_key: Name | None = None
    plan: Name | None = None
    trace_id: Name | None = None
    route: Name | None = None
    kind: Kind = "money"
    window: Annotated[
        Window | None, Field(description="May be left out where the kind or the scope has but one")
    ] = None
    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement | None = None
    time_zone: TimeZone | None = None
    anchor: Anchor | None = None
    thresholds: Thresholds | None = None


class LimitChange(Asked):
    """What is not told stays. Another time zone or anchor begins other windows, and counts anew."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": 10, "thresholds": [50, 80, 100]}]})

    value: Given | None = None
    value_nano: NanoGiven | None = None
    enforcement: Enforcement | None = None
    time_zone: TimeZone | None = None
    anchor: Anchor | None = None
    thresholds: Thresholds | None = None
