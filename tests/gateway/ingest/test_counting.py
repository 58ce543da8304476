"""Reported events on the rows of limits: each once, whatever dies in between, and never refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from redis import Redis

from accounts.plan import PlanRule, PlanVersion
from accounts.publishing import Publisher
from budgets.batch import Batch, encode_batch
from budgets.names import names_of
from budgets.reconcile import Reconciler
from budgets.rows import LedgerRows
from gateway.errors import Unavailable
from gateway.healing.healing import RecordedTerms
from gateway.ingest.calls import Calls
from gateway.ingest.counting import BEHIND_MAX, Counting
from gateway.ingest.ingest import wall_ms
from gateway.ingest.making import make_report
from gateway.ingest.observe import read_observe
from gateway.ingest.pricing import Pricer
from gateway.ingest.recording import Recording
from gateway.ingest.work import Rendered, Work
from gateway.ingest.writer import WAITING_MAX, IngestWriter
from metering.database import open_database
from metering.ids import new_id
from metering.ingested import Uncounted, note_uncounted
from metering.pricebook import PriceBook
from tests.gateway.ingest.world import World, observed
from tests.stack import ACCOUNT

DOLLAR = 10**9


def limit(world: World, scope: str, scope_id: str, value: int, kind: str = "money", **more: Any) -> str:
    made = world.stack.limits.set(scope, scope_id, kind, more.pop("window", "month"), value, **more)
    return made.limit.id


def compared(world: World) -> tuple[int, int]:
    """(rows raised, rows lowered) when the ledger is compared with the record, at night too."""
    terms = RecordedTerms(world.events._engine)
    reconciler = Reconciler(world.stack.redis, world.events)
    for nightly in (False, True):
        reconciler.compare_now(names_of(ACCOUNT).shard, [terms.index(ACCOUNT)], nightly=nightly)
    return reconciler.counters.raised, reconciler.counters.lowered


def test_events_count_for_their_customer_and_feature_and_not_for_a_key(world: World) -> None:
    customer, feature = world.fresh("customer"), world.fresh("feature")
    on_customer = limit(world, "customer", customer, 100 * DOLLAR)
    on_feature = limit(world, "feature", feature, 100 * DOLLAR)
    on_key = limit(world, "key", world.stack.records[world.secret], 100 * DOLLAR)
    tokens = limit(world, "customer", customer, 10**9, "tokens")
    event = observed(world, customerReferenceId=customer, featureKey=feature, costAmount="0.25")
    assert world.batch(event, event, {**event, "featureKey": "other"}).json()["accepted"] == 3
    assert world.row(on_customer) == (750_000_000, 0, 0)
    assert world.row(on_feature) == (500_000_000, 0, 0)
    assert world.row(tokens) == (3 * 1_100, 0, 0)
    assert world.row(on_key) is None
    assert compared(world) == (0, 0)
    world.record()
    assert world.uncounted() == []
    assert compared(world) == (0, 0)
    assert world.row(on_customer) == (750_000_000, 0, 0)


def test_d13_an_event_beyond_a_hard_limit_keeps_its_true_cost(world: World) -> None:
    customer = world.fresh("customer")
    row = limit(world, "customer", customer, DOLLAR)
    event = observed(world, customerReferenceId=customer, costAmount="0.75", revenueAmount="0.50")
    first = world.batch(event).json()
    assert (first["accepted"], first["usageLimitExceeded"]) == (1, False)
    other = observed(world)
    second = world.batch(other, event).json()
    assert (second["accepted"], second["rejected"], second["usageLimitExceeded"]) == (2, 0, True)
    sent = {
        "eventName": "e",
        "eventIdempotencyKey": world.fresh("evt"),
        "featureKey": "f",
        "customerReferenceId": customer,
        "costAmount": 0.5,
    }
    single = world.one(sent, Idempotency_Key=sent["eventIdempotencyKey"])
    assert single.status_code == 200
    assert single.json()["data"]["usageLimitExceeded"] is True
    assert "limit" in single.json()["data"]["message"]
    again = world.one(sent, Idempotency_Key=sent["eventIdempotencyKey"])
    assert (again.status_code, again.json()) == (200, single.json())
    costs = sorted(recorded.cost_nano or 0 for recorded in world.of(customer))
    assert costs == [500_000_000, 750_000_000, 750_000_000]
    assert world.row(row) == (2 * DOLLAR, 0, 0)
    (sums,) = [each for each in world.events.cost_by(["customer"]) if each.key == (customer,)]
    assert sums.revenue_nano - sums.cost_nano == -DOLLAR  # the margin of who overran is seen


def test_the_next_request_of_who_overran_is_refused(world: World) -> None:
    customer = world.fresh("customer")
    limit(world, "customer", customer, DOLLAR, window="lifetime")
    world.batch(observed(world, customerReferenceId=customer, costAmount=2))
    secret = world.stack.key(scopes=("usage.read",))
    answer = world.post(
        "/api/v1/client/entitlements/check",
        {"customerReferenceId": customer, "featureKey": "summaries"},
        secret,
    )
    assert (answer.status_code, answer.json()["allowed"]) == (200, False)


def test_events_of_customers_on_a_plan_count_on_its_limits(world: World) -> None:
    rule = PlanRule("requests", "month", 2)
    world.stack.plans.put_plan(PlanVersion("tiny", 1, features=("summaries",), rules=(rule,)))
    customer = world.fresh("customer")
    world.stack.customers.subscribe(customer, "tiny", starts_ms=wall_ms() - 86_400_000)
    event = observed(world, customerReferenceId=customer)
    early = {**event, "timestamp": "2020-01-01T00:00:00Z"}
    assert world.batch(event, event).json()["usageLimitExceeded"] is False
    assert world.batch(event).json()["usageLimitExceeded"] is True
    admin = world.key("admin")
    assert world.batch(early, secret=admin).json()["accepted"] == 1
    labels = sorted(str(recorded.plan) for recorded in world.of(customer))
    assert labels == ["None"] + ["tiny@1"] * 3  # it was on no plan in 2020
    assert compared(world) == (0, 0)


def recording(world: World) -> tuple[Recording, Counting]:
    """What the api process writes and counts by, over the same record and ledger."""
    engine = open_database(world.stack.database)
    terms = RecordedTerms(engine)
    counting = Counting(
        world.events,
        world.stack.redis,
        terms.index,
        Publisher(engine, LedgerRows(world.stack.redis)),
        now_ms=wall_ms,
    )
    calls = Calls(world.stack.redis)
    return Recording(world.events, lambda *asked: bool(terms.index(*asked).limits), calls, wall_ms), counting


def work_of(world: World, *events: dict[str, Any]) -> Work:
    now_ms, pricer = wall_ms(), Pricer(PriceBook.load())
    reports = [
        make_report(
            read_observe(replace_decimals(event), now_ms),
            pricer,
            event_id=new_id(),
            account_id=ACCOUNT,
            key_id="k",
            now_ms=now_ms,
        )
        for event in events
    ]
    return Work(ACCOUNT, reports, lambda outcomes: Rendered(200, b"{}"))


def replace_decimals(event: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, float) else value for name, value in event.items()}


def test_what_was_stored_and_not_counted_is_counted_by_the_next_process_once(quiet: World) -> None:
    """The process was killed between the two: nothing of it is left but the record."""
    quiet.record()
    customer = quiet.fresh("customer")
    row = limit(quiet, "customer", customer, 100 * DOLLAR)
    writing, _ = recording(quiet)
    writing.record([work_of(quiet, observed(quiet, customerReferenceId=customer, costAmount="0.25"))])
    assert quiet.row(row) is None
    assert compared(quiet) == (0, 0)  # who compares leaves it to whoever counts
    for _ in range(2):
        _, counting = recording(quiet)
        assert counting.recount() == 1
        assert quiet.row(row) == (250_000_000, 0, 0)
        assert compared(quiet) == (0, 0)
    quiet.record()
    _, counting = recording(quiet)
    assert counting.recount() == 0
    assert quiet.row(row) == (250_000_000, 0, 0)
    assert compared(quiet) == (0, 0)


def test_an_account_without_limits_has_nothing_to_count(quiet: World) -> None:
    account = quiet.fresh("account")
    writing, _ = recording(quiet)
    work = work_of(quiet, observed(quiet))
    for report in work.reports:
        report.event.account_id = account
    work.account_id = account
    assert writing.record([work]).batches == []


def test_a_call_of_the_gateway_that_is_not_recorded_yet_is_a_duplicate(world: World) -> None:
    call = new_id()
    names = names_of(ACCOUNT)
    world.stack.redis.set(names.open + call, "succeeded", px=60_000)
    event = observed(world, idempotencyKey=call)
    assert world.batch(event).json()["duplicates"] == 1
    assert world.of(event["customerReferenceId"]) == []
    world.stack.redis.delete(names.open + call)


def test_notices_of_thresholds_are_given(world: World) -> None:
    customer = world.fresh("customer")
    named = limit(world, "customer", customer, DOLLAR, thresholds=(50, 100))
    before = world.stack.redis.xlen(names_of(ACCOUNT).notices)
    event = observed(world, customerReferenceId=customer, costAmount="0.60")
    world.batch(event)
    world.batch(event)
    found = world.stack.redis.xrange(names_of(ACCOUNT).notices)[before:]
    assert [(each[b"limit"], each[b"percent"]) for _, each in found] == [
        (named.encode(), b"50"),
        (named.encode(), b"100"),
    ]


def test_a_ledger_that_is_away_is_not_asked_for_each_report_and_told_when_it_is_back(quiet: World) -> None:
    quiet.record()
    customer = quiet.fresh("customer")
    row = limit(quiet, "customer", customer, 100 * DOLLAR)
    writing, counting = recording(quiet)
    there, counting._redis = counting._redis, Redis(host="127.0.0.1", port=1)
    recorded = writing.record([work_of(quiet, observed(quiet, customerReferenceId=customer, costAmount="1"))])
    assert counting.count(recorded) is None
    counting._redis = there
    assert counting.count(recorded) is None  # so soon after nobody waits for it
    assert quiet.row(row) is None
    assert counting.recount() == 1
    assert quiet.row(row) == (DOLLAR, 0, 0)
    assert counting.count(recorded) == frozenset()  # told again, and counted once
    assert quiet.row(row) == (DOLLAR, 0, 0)


def test_reports_are_held_off_while_the_ledger_is_far_behind(quiet: World) -> None:
    writing, counting = recording(quiet)
    with quiet.events.transaction() as connection:
        empty = [Batch(f"behind-{number}", ACCOUNT, 0, ()) for number in range(BEHIND_MAX + 1)]
        waiting = [Uncounted(each.id, ACCOUNT, encode_batch(each).decode()) for each in empty]
        note_uncounted(connection, waiting)
    counting._redis = Redis(host="127.0.0.1", port=1)
    counting._told = {each.id: counting._monotonic() for each in waiting}
    counting.recount()
    with ThreadPoolExecutor(1) as thread:
        writer = IngestWriter(thread, writing, counting)
        with pytest.raises(Unavailable) as refused:
            writer.submit(work_of(quiet, observed(quiet)))
        assert (refused.value.code, refused.value.retry_after_s) == ("ingest_behind", 10)
        quiet.events.settle_uncounted([each.id for each in waiting])
        counting.recount()
        assert writer.submit(work_of(quiet, observed(quiet))).result().status == 200


def test_too_many_at_once_are_told_to_come_back(quiet: World) -> None:
    writing, counting = recording(quiet)
    busy = Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(busy.wait)
        writer = IngestWriter(thread, writing, counting)
        work = work_of(quiet, observed(quiet))
        answers = [writer.submit(work)]
        many = work_of(quiet)
        many.reports = work.reports * WAITING_MAX
        try:
            with pytest.raises(Unavailable) as refused:
                writer.submit(many)
            assert (refused.value.code, refused.value.retry_after_s) == ("ingest_busy", 1)
        finally:
            busy.set()
        assert [answer.result().status for answer in answers] == [200]
