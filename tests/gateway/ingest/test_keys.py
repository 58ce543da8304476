"""Keys: what is reported twice counts once, also when it comes at the same time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from metering.event import CostEvent
from metering.ids import new_id
from metering.ingested import replies
from tests.gateway.ingest.world import World, observed


def platform(world: World, **fields: Any) -> dict[str, Any]:
    made = {
        "eventName": "e",
        "eventIdempotencyKey": world.fresh("evt"),
        "featureKey": "f",
        "customerReferenceId": world.fresh("cust"),
        "costAmount": "0.25",
    }
    return made | fields


def test_d14_fifty_parallel_posts_of_one_key_are_one_201_and_49_409(world: World) -> None:
    sent = platform(world)
    with ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(lambda _: world.one(sent), range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 49}
    event = world.only(sent["customerReferenceId"])
    told = {answer.json()["data"]["eventId"] for answer in answers}
    assert told == {event.id}
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"duplicate_event"}


def test_d14_another_constraint_that_fails_is_no_duplicate(world: World) -> None:
    """A row that stands where the event's document goes is a fault of ours, not an earlier report."""
    sent = platform(world)
    with world.events.transaction() as connection:
        trigger = "CREATE TRIGGER broken BEFORE INSERT ON ingested"
        if isinstance(world.stack.database, Path):
            raised = "RAISE(ABORT, 'a constraint that has nothing to do with keys')"
            trigger += f" WHEN new.idempotency_key = 'breaks' BEGIN SELECT {raised}; END"
        else:  # a function that is there and raises such a fault
            trigger += (
                " FOR EACH ROW WHEN (new.idempotency_key = 'breaks') EXECUTE FUNCTION plan_versions_stay()"
            )
        connection.exec_driver_sql(trigger)
    try:
        with ThreadPoolExecutor(2) as crowd:
            broken = crowd.submit(world.one, {**sent, "eventIdempotencyKey": "breaks"})
            beside = crowd.submit(world.one, sent)
        assert broken.result().status_code == 500
        assert broken.result().json()["error"]["code"] == "internal_error"
        assert beside.result().status_code == 201
    finally:
        with world.events.transaction() as connection:
            on_table = "" if isinstance(world.stack.database, Path) else " ON ingested"
            connection.exec_driver_sql(f"DROP TRIGGER broken{on_table}")
    assert world.one({**sent, "eventIdempotencyKey": "breaks"}).status_code == 201


def test_d10_every_event_of_a_batch_is_accepted_duplicate_or_rejected(world: World) -> None:
    keys = [world.fresh("key") for _ in range(3)]
    first = [observed(world, idempotencyKey=key, customerReferenceId="d10") for key in keys]
    assert world.batch(*first).json()["accepted"] == 3
    mixed = [
        *first,
        {**first[0], "inputTokens": 7},
        observed(world, idempotencyKey="d10-new"),
        observed(world, idempotencyKey="d10-new", customerReferenceId="other"),
        observed(world),
        observed(world),
        observed(world, inputTokens=-1),
        {},
    ]
    answer = world.batch(*mixed).json()
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (3, 3, 4)
    assert answer["accepted"] + answer["duplicates"] + answer["rejected"] == len(mixed)
    assert [(each["index"], each["code"]) for each in answer["errors"]] == [
        (3, "idempotency_conflict"),
        (5, "idempotency_conflict"),
        (8, "validation_failed"),
        (9, "validation_failed"),
    ]


def test_of_a_key_twice_in_one_batch_the_first_wins(world: World) -> None:
    event = observed(world, idempotencyKey=world.fresh("key"))
    answer = world.batch(event, event, event).json()
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (1, 2, 0)
    assert len(world.of(event["customerReferenceId"])) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"costAmount": "0.050"},
        {"costAmount": 5e-2},
        {"properties": {"a": "1", "b": None}},
        {"traceId": None, "durationMs": None, "meta": {}},
        {"inputTokens": 1000.0},
        {"requestBody": "not a part of what is kept"},
    ],
)
def test_spelling_does_not_make_another_payload(world: World, change: dict[str, Any]) -> None:
    event = observed(world, idempotencyKey=world.fresh("key"), costAmount=0.05, properties={"a": 1})
    assert world.batch(event).json()["accepted"] == 1
    again = dict(reversed(list({**event, **change}.items())))
    assert world.batch(again).json()["duplicates"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"costAmount": 0.050000001},
        {"outputTokens": 101},
        {"timestamp": None, "revenueAmount": 0},
        {"properties": {"a": "2"}},
        {"modelProvider": "openai"},
        {"usageUnits": 1100},
        {"eventName": "another"},
    ],
)
def test_another_payload_of_the_key_is_a_conflict(world: World, change: dict[str, Any]) -> None:
    event = observed(world, idempotencyKey=world.fresh("key"), costAmount=0.05, properties={"a": 1})
    assert world.batch(event).json()["accepted"] == 1
    answer = world.batch({**event, **change}).json()
    assert [each["code"] for each in answer["errors"]] == ["idempotency_conflict"]


def test_both_endpoints_share_their_keys(world: World) -> None:
    sent = platform(world)
    event_id = world.one(sent).json()["data"]["eventId"]
    batch = {
        "eventName": sent["eventName"],
        "featureKey": sent["featureKey"],
        "customerReferenceId": sent["customerReferenceId"],
        "costAmount": 0.25,
        "usageUnits": 1,
        "idempotencyKey": sent["eventIdempotencyKey"],
    }
    assert world.batch(batch).json()["duplicates"] == 1
    answer = world.one({**sent, "eventName": "other"})
    assert answer.json()["data"] == {"eventId": event_id, "duplicate": False}


def test_a_call_that_the_gateway_recorded_itself_is_a_duplicate_under_its_id(world: World) -> None:
    own = CostEvent(id=new_id(), customer="gateway-made", feature="f", cost_nano=5, started_ms=1)
    world.events.append([own])
    answer = world.batch(observed(world, idempotencyKey=own.id, customerReferenceId="gateway-made")).json()
    assert (answer["accepted"], answer["duplicates"]) == (0, 1)
    assert [event.id for event in world.of("gateway-made")] == [own.id]


def test_a_request_with_a_key_of_its_own_is_answered_once(world: World) -> None:
    event = observed(world)
    key = world.fresh("request")
    first = world.batch(event, {}, Idempotency_Key=key)
    again = world.batch({**event, "costAmount": None}, {}, Idempotency_Key=key)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(world.of(event["customerReferenceId"])) == 1
    other = world.batch(observed(world), Idempotency_Key=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_single_event_is_answered_201_again_under_a_request_key(world: World) -> None:
    sent, key = platform(world), world.fresh("request")
    first = world.one(sent, Idempotency_Key=key)
    again = world.one(sent, Idempotency_Key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    assert world.one(sent).status_code == 409  # without the header it is a second report
    late = world.fresh("request")
    refused = world.one(sent, Idempotency_Key=late)
    assert refused.status_code == 409
    assert world.one(sent, Idempotency_Key=late).json() == refused.json()
    other = world.one(platform(world), Idempotency_Key=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_parallel_requests_with_one_request_key_have_one_effect(world: World) -> None:
    event, key = observed(world), world.fresh("request")
    with ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(lambda _: world.batch(event, Idempotency_Key=key), range(20)))
    assert len(world.of(event["customerReferenceId"])) == 1
    done = [answer for answer in answers if answer.status_code == 200]
    running = [answer for answer in answers if answer.status_code == 409]
    assert len(done) + len(running) == 20
    assert len({answer.text for answer in done}) == 1
    assert {answer.json()["code"] for answer in running} <= {"request_in_progress"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in running)


def test_an_answer_is_kept_for_a_day(world: World) -> None:
    event, key = observed(world), world.fresh("request")
    world.batch(event, Idempotency_Key=key)
    with world.events.transaction() as connection:
        aged = sa.update(replies).values(at_ms=replies.c.at_ms - 86_400_001)
        connection.execute(aged.where(replies.c.idempotency_key == key))
    again = world.batch(event, Idempotency_Key=key)
    assert "idempotent-replayed" not in again.headers
    assert len(world.of(event["customerReferenceId"])) == 2


@pytest.mark.parametrize("key", ["k" * 10_000, "k" * 256, "ü", "a\nb", 7, {}])
def test_keys_that_are_none_are_refused(world: World, key: Any) -> None:
    answer = world.batch(observed(world, idempotencyKey=key)).json()
    assert (answer["accepted"], answer["errors"][0]["code"]) == (0, "validation_failed")
    assert world.batch(observed(world, idempotencyKey="k" * 255)).status_code == 200


def test_what_became_of_reports_is_counted(world: World) -> None:
    def counts() -> list[float]:
        return [
            REGISTRY.get_sample_value("tollkeeper_ingested_events_total", {"outcome": became}) or 0
            for became in ("stored", "duplicate", "conflict", "rejected")
        ]

    before = counts()
    first = observed(world, idempotencyKey=world.fresh("key"))
    world.batch(first, observed(world), first, first | {"inputTokens": 7}, {"eventName": "nobody's"})
    assert [after - was for was, after in zip(before, counts(), strict=True)] == [2, 1, 1, 1]
    repeated = {"Idempotency-Key": world.fresh("once")}
    for _ in range(3):
        world.batch(observed(world, customerReferenceId="acme"), **repeated)
    assert [after - was for was, after in zip(before, counts(), strict=True)] == [3, 1, 1, 1]
