"""The requests of the API's description, sent as written there and answered as described."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.ingest.world import World, observed
from tests.stack import ACCOUNT


def test_a_batch_is_taken_event_by_event(world: World) -> None:
    good = observed(world, modelProvider="openai", idempotencyKey=world.fresh("key"), timestamp=None)
    answer = world.batch(good, {"eventName": "x"}, good)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": 1,
        "errors": [
            {
                "index": 1,
                "error": "Missing required fields: customerReferenceId, featureKey",
                "code": "validation_failed",
            }
        ],
        "usageLimitExceeded": False,
    }
    event = world.only(good["customerReferenceId"])
    assert (event.source, event.event_name, event.feature) == ("sdk", "document.summarized", "summaries")
    assert event.cost_nano == 1_000 * 2_500 + 100 * 10_000  # $2.50 and $10 per million
    assert (event.cost_status, event.usage_source, event.cost_type) == ("priced", "client", "llm")
    assert (event.key_id, event.reported_by) == (None, world.stack.records[world.secret])


def test_every_field_of_an_observed_event_is_kept(world: World) -> None:
    sent = observed(
        world,
        modelProvider="anthropic",
        model="claude-sonnet-4-5",
        inputTokens=1_000,
        outputTokens=500,
        cacheReadInputTokens=200,
        cacheWrite5mInputTokens=100,
        reasoningOutputTokens=50,
        costUnit="usd",
        revenueAmount=0.02,
        usageUnits=3,
        durationMs=1_250,
        traceId="trace-1",
        spanId="span-2",
        parentSpanId="span-1",
        agentId="agent-7",
        costType="llm",
        idempotencyKey=world.fresh("key"),
        properties={
            "tier": "gold",
            "pages": 12,
            "draft": False,
            "ratio": 0.5,
            "tags": ["a", 1.5],
            "none": None,
        },
        meta={"stripe_customer_id": "cus_123"},
        requestBody={"messages": [{"role": "user", "content": "secret"}]},
        responseBody="also secret",
        taskId="task-9",
        workspaceId="workspace-3",
        userId="user-4",
        outcome="failure",
        outcomeReason="invalid_json",
    )
    assert world.batch(sent).json()["accepted"] == 1
    event = world.only(sent["customerReferenceId"])
    assert event.usage == {
        "input_tokens": 1_000,
        "cache_read_input_tokens": 200,
        "cache_write_5m_input_tokens": 100,
        "output_tokens": 500,
        "reasoning_output_tokens": 50,
        "requests": 1,
    }
    # $3 and $15 per million; a tenth for what was cached, a quarter more for what was written to the cache
    assert event.cost_nano == 700 * 3_000 + 200 * 300 + 100 * 3_750 + 500 * 15_000
    assert (event.revenue_nano, event.revenue_source, event.usage_units) == (20_000_000, "explicit", 3)
    assert (event.duration_ms, event.ended_ms) == (1_250, event.started_ms + 1_250)
    assert (event.trace_id, event.span_id, event.parent_span_id) == ("trace-1", "span-2", "span-1")
    assert (event.task_id, event.workspace, event.user) == ("task-9", "workspace-3", "user-4")
    assert (event.agent_id, event.cost_type, event.provider) == ("agent-7", "llm", "anthropic")
    assert (event.outcome, event.outcome_reason) == ("failure", "invalid_json")
    assert event.properties == {
        "tier": "gold",
        "pages": "12",
        "draft": "false",
        "ratio": "0.5",
        "tags": '["a",1.5]',
        "meta.stripe_customer_id": "cus_123",
    }
    (attempt,) = event.attempts
    assert (attempt.kind, attempt.status, attempt.cost_nano) == ("primary", "succeeded", event.cost_nano)
    (text,) = world.rows("SELECT count(*) FROM events WHERE id = :id", id=event.id)
    assert text == (1,)
    assert "secret" not in str(event)


@pytest.mark.parametrize("path", ["/api/events/ingest", "/api/events/ingest?compat=observe"])
def test_duplicates_are_counted_or_folded_as_observe_does(world: World, path: str) -> None:
    first = observed(world, idempotencyKey=world.fresh("key"))
    assert world.batch(first).json()["accepted"] == 1
    answer = world.batch(first, observed(world), {**first, "costAmount": 1}, {}, path=path).json()
    if "compat" not in path:
        assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (1, 1, 2)
        assert [each["code"] for each in answer["errors"]] == ["idempotency_conflict", "validation_failed"]
    else:
        assert {name: answer[name] for name in ("accepted", "rejected")} == {"accepted": 1, "rejected": 3}
        assert [set(each) for each in answer["errors"]] == [{"index", "error"}] * 2
        assert set(answer) == {"accepted", "rejected", "errors"}


def test_a_batch_of_which_nothing_can_be_taken_is_200(world: World) -> None:
    answer = world.batch({}, 7, None, [])
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (0, 4)
    assert [each["index"] for each in answer.json()["errors"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"events": {}}, "events: expected a list of events."),
        ({"events": []}, "events: the list is empty."),
        ({"events": [{}] * 1_001}, "Batch size exceeds maximum of 1000 events."),
        ([], "The body must be a JSON object."),
        ({}, "events: Field required."),
        ("{", None),
        ('{"events": [{"costAmount": NaN}]}', None),
    ],
)
def test_what_is_no_batch_is_400(world: World, body: Any, text: str | None) -> None:
    answer = world.post("/api/events/ingest", body)
    assert answer.status_code == 400
    assert set(answer.json()) >= {"error", "code"}
    if text is not None:
        assert answer.json()["error"] == text


def test_who_may_not_report_is_told_so(world: World) -> None:
    event = observed(world)
    assert world.batch(event, secret="obs_nothing").status_code == 401
    refused = world.batch(event, secret=world.key("usage.read"))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    bound = world.key("events.write", customer="acme")
    answer = world.batch(event, {**event, "customerReferenceId": "acme"}, secret=bound).json()
    assert (answer["accepted"], answer["errors"][0]["code"]) == (1, "customer_not_allowed")
    own = world.batch(observed(world, customerReferenceId=..., eventName="own"), secret=bound).json()
    assert own["accepted"] == 1
    assert world.of("acme")[0].event_name == "own"
    assert world.of(event["customerReferenceId"]) == []


def test_one_event_of_the_platform(world: World) -> None:
    sent = {
        "eventName": "ai_summarization",
        "eventIdempotencyKey": world.fresh("evt"),
        "featureKey": "ai_summarization",
        "customerReferenceId": world.fresh("cust"),
        "occurredAt": None,
        "costAmount": 0.05,
        "revenueAmount": "0.10",
        "costInput": {
            "model": "gpt-4o-mini",
            "modelProvider": "openai",
            "inputTokens": 1_500,
            "outputTokens": 300,
        },
        "flowId": "flow-1",
        "subscriptionId": "sub_1",
        "entitlementId": "ent_1",
        "invoiceId": "inv_1",
        "meta": {"region": "eu"},
    }
    answer = world.one(sent)
    assert answer.status_code == 201, answer.text
    event = world.only(sent["customerReferenceId"])
    assert answer.json() == {
        "success": True,
        "data": {"eventId": event.id, "duplicate": False, "usageLimitExceeded": False, "message": None},
    }
    assert (event.cost_nano, event.cost_status, event.revenue_nano) == (50_000_000, "override", 100_000_000)
    assert (event.model, event.provider, event.usage_units) == ("gpt-4o-mini", "openai", 1)
    assert event.idempotency_key == sent["eventIdempotencyKey"]
    assert event.properties == {
        "flowId": "flow-1",
        "subscriptionId": "sub_1",
        "entitlementId": "ent_1",
        "invoiceId": "inv_1",
        "region": "eu",
    }

    again = world.one({**sent, "costAmount": "5e-2"})
    assert again.status_code == 409
    assert again.json()["success"] is False
    assert again.json()["error"]["code"] == "duplicate_event"
    assert again.json()["data"] == {"eventId": event.id, "duplicate": True}
    other = world.one({**sent, "costAmount": 0.06})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert other.json()["data"] == {"eventId": event.id, "duplicate": False}
    assert world.only(sent["customerReferenceId"]).cost_nano == 50_000_000


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"eventIdempotencyKey": None}, 400, "validation_failed", "eventIdempotencyKey"),
        ({"eventName": ""}, 400, "validation_failed", "eventName"),
        ({"customerReferenceId": None}, 400, "validation_failed", "customerReferenceId"),
        ({"customerId": "other"}, 400, "validation_failed", "customerId"),
        ({"featureKey": None}, 400, "validation_failed", "featureKey"),
        ({"customerReferenceId": None, "stripeCustomerId": "cus_1"}, 404, "not_found", "stripeCustomerId"),
        ({"occurredAt": "2001-01-01T00:00:00Z"}, 400, "timestamp_out_of_range", "occurredAt"),
        ({"costInput": {"tokens": 5}}, 400, "unknown_field", "tokens"),
        ({"costs": 5}, 400, "unknown_field", "costs"),
        ({"flowId": "f" * 65}, 400, "validation_failed", "flowId"),
    ],
)
def test_what_is_no_event_of_the_platform_is_told_with_its_field(
    world: World, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    sent = {
        "eventName": "e",
        "eventIdempotencyKey": world.fresh("evt"),
        "featureKey": "f",
        "customerReferenceId": "c",
        **change,
    }
    answer = world.one(sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["detail"] == field
    assert answer.json()["success"] is False


def test_other_names_of_customer_feature_and_key(world: World) -> None:
    customer = world.fresh("cust")
    sent = {"eventName": "e", "featureId": "f", "customerId": customer, "eventIdempotencyKey": "loses"}
    key = world.fresh("evt")
    assert world.one(sent, X_Idempotency_Key=key).status_code == 201
    assert world.only(customer).idempotency_key == key


def test_customers_and_features_are_made_by_the_events_that_name_them(world: World) -> None:
    event = observed(world, customerReferenceId=world.fresh("_internal"), featureKey=world.fresh("feature"))
    assert world.batch(event, observed(world, customerReferenceId=event["customerReferenceId"])).is_success
    named = {"customer": event["customerReferenceId"], "feature": event["featureKey"]}
    query = "SELECT source FROM customers WHERE account_id = :account AND customer = :customer"
    assert world.rows(query, account=ACCOUNT, customer=named["customer"]) == [("event_auto_created",)]
    query = "SELECT source, enabled FROM features WHERE account_id = :account AND feature = :feature"
    found = world.rows(query, account=ACCOUNT, feature=named["feature"])
    assert found == [("event_auto_created", 1)]
    published = world.stack.redis.keys(f"*customer:{ACCOUNT}:{named['customer']}")
    assert len(published) == 1
    assert b'"registered":true' in world.stack.redis.hget(published[0], "doc")
