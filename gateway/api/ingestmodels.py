"""What the endpoints for reported events are told and tell, as models.

Single fields are read by `gateway.ingest`, which says for each event what is wrong with it; the models say
which fields there are, and describe them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel, WithJsonSchema

from gateway.api.fields import Asked, AskedCamel, Told, ToldCamel
from gateway.ingest.fields import KEY_MAX, NAME_MAX, OUTCOMES, PROPERTIES_MAX, TOKENS_MAX
from gateway.ingest.tokens import TOKEN_FIELDS
from metering.event import AMOUNT_MAX

EVENTS_MAX = 1_000
Schema = dict[str, Any]
_ID: Schema = {"type": ["string", "null"], "pattern": "^[!-~]{0,128}$"}
_NAME: Schema = {"type": ["string", "null"], "maxLength": NAME_MAX}
_KEY: Schema = {"type": ["string", "null"], "pattern": f"^[ -~]{{0,{KEY_MAX}}}$"}
_USD: Schema = {
    "description": "US dollars, a number or a text, of at most 9 decimals; 0 counts as given",
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": AMOUNT_MAX // 10**9, "multipleOf": 1e-9},
        {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?$"},
        {"type": "null"},
    ],
    "examples": [0.05, "0.05"],
}
_TOKENS: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": TOKENS_MAX}
_UNITS: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": AMOUNT_MAX}
_MOMENT: Schema = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "From 35 days ago to 5 minutes ahead; now by default",
}
_PROPERTIES: Schema = {"type": ["object", "null"], "maxProperties": PROPERTIES_MAX}
_OUTCOME: Schema = {"enum": [*OUTCOMES, None]}
_ANYTHING: Schema = {"description": "Taken and not kept: no prompts and no answers are stored"}
_EXTRAS: dict[str, Schema] = {
    "taskId": _ID,
    "workspaceId": _ID,
    "userId": _ID,
    "serviceTier": _ID,
    "outcome": _OUTCOME,
    "outcomeReason": _ID,
}
OBSERVE_EVENT: Schema = {
    "type": "object",
    "required": ["eventName", "customerReferenceId", "featureKey"],
    "additionalProperties": False,
    "properties": {
        "eventName": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
        "customerReferenceId": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        "featureKey": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        "model": _NAME,
        "modelProvider": {**_NAME, "description": "By default whose model it is, as far as that is known"},
        **dict.fromkeys(TOKEN_FIELDS, _TOKENS),
        "costAmount": _USD,
        "costUnit": {"enum": ["usd", "USD", None]},
        "revenueAmount": _USD,
        "usageUnits": _UNITS,
        "durationMs": {"type": ["integer", "null"], "minimum": 0},
        "traceId": _ID,
        "spanId": _ID,
        "parentSpanId": _ID,
        "agentId": _ID,
        "costType": _ID,
        "timestamp": _MOMENT,
        "idempotencyKey": _KEY,
        "properties": _PROPERTIES,
        "meta": _PROPERTIES,
        "requestBody": _ANYTHING,
        "responseBody": _ANYTHING,
        **_EXTRAS,
    },
}
_COST_INPUT: Schema = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "model": _NAME,
        "modelProvider": _NAME,
        "costUnits": {
            **_USD,
            "deprecated": True,
            "description": "Kept with the event; no part of its cost",
        },
        **dict.fromkeys(TOKEN_FIELDS, _TOKENS),
    },
}

Id = Annotated[Any, WithJsonSchema(_ID)]
Name = Annotated[Any, WithJsonSchema(_NAME)]
Usd = Annotated[Any, WithJsonSchema(_USD)]


class IngestQuery(Asked):
    """`compat=observe`: duplicates are counted among the rejected, as Observe does."""

    compat: Literal["observe"] | None = None


class IngestBody(Asked):
    """A batch of events."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "eventName": "summary",
                            "customerReferenceId": "acme",
                            "featureKey": "ai_summarization",
                            "model": "gpt-4o-mini",
                            "inputTokens": 1200,
                            "outputTokens": 300,
                            "idempotencyKey": "summary-1",
                        }
                    ]
                }
            ]
        }
    )

    events: Annotated[
        Any,
        WithJsonSchema({"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": OBSERVE_EVENT}),
    ]


class IngestError(Told):
    """Why one event of the batch was not taken."""

    index: int = Field(description="Its place in the batch, from 0")
    error: str
    code: str


class IngestAnswer(Told):
    """What became of a batch: accepted + duplicates + rejected is its length."""

    accepted: int
    duplicates: int = Field(description="Reported before with the same content; stored once")
    rejected: int
    errors: list[IngestError]
    usage_limit_exceeded: bool | None = Field(
        alias="usageLimitExceeded",
        description="Whether accepted events count on a hard limit that is passed now; null: not known",
    )


class ObserveError(Told):
    """As Observe tells it."""

    index: int
    error: str


class ObserveAnswer(Told):
    """The answer in Observe's own shape, where duplicates are rejected and have no error."""

    accepted: int
    rejected: int
    errors: list[ObserveError]


class BatchAnswer(RootModel[IngestAnswer | ObserveAnswer]):
    """What became of a batch; with `compat=observe` in the second form."""


class EventBody(AskedCamel):
    """One event, as the platform's clients send it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "eventName": "summary",
                    "eventIdempotencyKey": "summary-2",
                    "customerReferenceId": "acme",
                    "featureKey": "ai_summarization",
                    "costInput": {"model": "gpt-4o-mini", "inputTokens": 1200, "outputTokens": 300},
                }
            ]
        }
    )

    event_name: Annotated[Any, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": NAME_MAX})]
    event_idempotency_key: Annotated[Any, WithJsonSchema(_KEY)] = Field(
        None, description="Required here or in the header X-Idempotency-Key, which wins"
    )
    feature_key: Id = None
    feature_id: Id = Field(None, description="Another name of featureKey; send one of the two")
    customer_reference_id: Id = None
    customer_id: Id = Field(None, description="Another name of customerReferenceId; send one of the two")
    stripe_customer_id: Id = None
    occurred_at: Annotated[Any, WithJsonSchema(_MOMENT)] = None
    usage_units: Annotated[Any, WithJsonSchema({**_UNITS, "default": 1})] = None
    cost_amount: Usd = None
    revenue_amount: Usd = None
    cost_input: Annotated[Any, WithJsonSchema(_COST_INPUT)] = None
    flow_id: Annotated[Any, WithJsonSchema({**_ID, "pattern": "^[!-~]{0,64}$"})] = None
    subscription_id: Id = None
    entitlement_id: Id = None
    invoice_id: Id = None
    meta: Annotated[Any, WithJsonSchema(_PROPERTIES)] = None
    task_id: Id = None
    workspace_id: Id = None
    user_id: Id = None
    service_tier: Id = None
    outcome: Annotated[Any, WithJsonSchema(_OUTCOME)] = None
    outcome_reason: Id = None


class EventAnswer(ToldCamel):
    """The event is stored, with its true cost."""

    event_id: str
    duplicate: bool = False
    usage_limit_exceeded: bool | None = Field(
        description="Whether it counts on a hard limit that is passed now; null: not known"
    )
    message: str | None = None


class EarlierEvent(ToldCamel):
    """The event that has this key already."""

    event_id: str
    duplicate: bool
