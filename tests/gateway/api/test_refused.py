"""What clients try that must not work, or must work exactly so: each was once answered wrongly."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from accounts.scope import ADMIN
from tests.gateway.api.asking import Asker, all_pages
from tests.stack import Stack

pytestmark = pytest.mark.wide
INGEST, EVENT = "/api/events/ingest", "/api/v1/client/events"


@pytest.fixture
def admin(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=(ADMIN,), assertion="any"))


@pytest.fixture
def ours(stack: Stack, http: httpx2.Client) -> Asker:
    """A key that is bound to the customer `ours`."""
    return Asker(http, stack.key(scopes=("events.read", "events.write"), customer="ours", assertion="any"))


def event(**fields: Any) -> dict[str, Any]:
    return {"eventName": "x", "customerReferenceId": "ours", "featureKey": "chat", "costAmount": 1, **fields}


def test_a_bound_key_cannot_make_anothers_task_its_own(admin: Asker, ours: Asker) -> None:
    """An event of one's own, earlier than the task's first one, made the task one's own with all its sums."""
    reported = [
        event(customerReferenceId="theirs", taskId="theirs", costAmount=40),
        event(taskId="ours"),
    ]
    assert admin.post(INGEST, {"events": reported})["accepted"] == 2
    ours.get("/api/tasks/theirs", status=404)
    alone = admin.get("/api/tasks/theirs")
    early = event(taskId="theirs", timestamp=alone["started_at"][:10] + "T00:00:00Z")
    assert ours.post(INGEST, {"events": [early]})["accepted"] == 1
    assert admin.get("/api/tasks/theirs")["customer_id"] == "ours"  # its first event is now this one
    ours.get("/api/tasks/theirs", status=404)
    ours.post("/api/tasks/theirs/outcome", {"outcome": "failure"}, status=404)
    assert [each["task_id"] for each in all_pages(ours, "/api/tasks", "tasks", limit=1)] == ["ours"]
    assert ours.post("/api/tasks/ours/outcome", {"outcome": "failure"})["outcome"] == "failure"
    assert admin.get("/api/tasks/theirs")["outcome_given"] is False


def test_a_reason_with_a_nul_is_refused(admin: Asker) -> None:
    told = admin.post("/api/tasks/any/outcome", {"outcome": "success", "reason": "a\0b"}, status=400)
    assert told["param"] == "reason"


def test_a_name_that_is_twice_in_an_object_is_refused(admin: Asker) -> None:
    """Whichever of the two amounts was taken, the other would be lost."""
    whole = json.dumps(event()).removesuffix("}") + ', "costAmount": 2}'
    told = admin.ask("POST", INGEST, status=400, content=f'{{"events": [{whole}]}}')
    assert told["error"] == "The body is not JSON: costAmount is there twice."


def test_an_event_with_all_the_properties_that_it_may_have_is_taken(admin: Asker) -> None:
    meta = {f"property-{number}": "\N{GRINNING FACE}" * 1_024 for number in range(64)}
    whole = event(eventIdempotencyKey="large", meta=meta)
    body = json.dumps(whole)  # each character as twelve bytes
    assert len(body) > 12 * 64 * 1_024
    admin.ask("POST", EVENT, status=201, content=body)


def test_a_customer_is_named_by_its_id_at_stripe(admin: Asker, ours: Asker) -> None:
    for name, stripe in (("linked", "cus_1"), ("twin-1", "cus_2"), ("twin-2", "cus_2")):
        admin.post("/api/customers", {"customer_id": name, "stripe_customer_id": stripe}, status=201)

    def told(asker: Asker, status: int, **fields: Any) -> Any:
        said = {**event(**fields), "eventIdempotencyKey": json.dumps(fields), "customerReferenceId": None}
        return asker.post(EVENT, said | fields, status=status)

    stored = told(admin, 201, stripeCustomerId="cus_1")["data"]["eventId"]
    assert admin.get(f"/api/events/{stored}")["customer_id"] == "linked"
    assert told(admin, 409, stripeCustomerId="cus_1")["data"]["duplicate"] is True
    assert told(admin, 404, stripeCustomerId="cus_9")["error"]["code"] == "not_found"
    assert "several" in told(admin, 400, stripeCustomerId="cus_2")["error"]["message"]
    both = told(admin, 400, stripeCustomerId="cus_1", customerReferenceId="linked")
    assert both["error"]["detail"] == "stripeCustomerId"
    assert told(ours, 404, stripeCustomerId="cus_1")["error"]["code"] == "not_found"


def test_the_operators_own_stays_so_while_it_is_named_so(admin: Asker) -> None:
    admin.post("/api/customers", {"customer_id": "_internal_tests"}, status=201)
    for path, body in (("", {"is_internal": False}), ("/internal", {"is_internal": False})):
        told = admin.ask("PATCH", f"/api/customers/_internal_tests{path}", status=400, json=body)
        assert told["param"] == "is_internal"
    assert admin.patch("/api/customers/_internal_tests/internal", {"is_internal": True})["is_internal"]


def test_faults_are_told_by_the_names_of_fields(admin: Asker) -> None:
    told = admin.post("/api/sdk-keys", {"name": "x", "expires_at": "2020-01-01"}, status=400)
    assert told["error"] == "expires_at lies in the past."
    told = admin.ask("GET", "/api/events", status=400, params={"status": "open", "sort_dir": "asc"})
    assert (told["param"], told["error"].split(":")[0]) == ("query", "query")
    long = admin.ask("POST", "/api/calculator", status=400, content='{"input_tokens": ' + "9" * 5_000 + "}")
    assert long["error"] == "The body is not JSON: a number has more digits than can be read."


@pytest.mark.parametrize("moment", ["t08:30:00z", "T08:30:00Z", " 08:30:00+00:00"])
def test_moments_are_read_in_every_spelling_of_rfc_3339(admin: Asker, moment: str) -> None:
    day = admin.get("/api/metrics/source-breakdown")["since"][:10]
    said = event(timestamp=day + moment, customerReferenceId=f"spelled{moment.strip()[:3]}")
    assert admin.post(INGEST, {"events": [said]})["errors"] == []
    if moment[0] != " ":
        admin.get("/api/events", date_from=day + moment)
