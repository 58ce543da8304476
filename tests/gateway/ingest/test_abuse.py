"""What nobody should send, and what another account must not learn."""

from __future__ import annotations

from prometheus_client import REGISTRY

from accounts.keyring import Keyring
from budgets.rows import LedgerRows
from metering.database import open_database
from tests.gateway.ingest.world import World, observed


def unpriced(provider: str) -> float:
    return REGISTRY.get_sample_value("tollkeeper_unpriced_requests_total", {"provider": provider}) or 0


def test_d1_an_unknown_model_is_counted_as_unpriced_and_told_as_unknown(world: World) -> None:
    before = unpriced("openai"), unpriced("other")
    event = observed(world, model="gpt-99-imaginary", modelProvider="openai")
    other = observed(world, model="gpt-99-imaginary")
    assert world.batch(event, other).json()["accepted"] == 2
    assert (unpriced("openai"), unpriced("other")) == (before[0] + 1, before[1] + 1)
    recorded = world.only(event["customerReferenceId"])
    assert (recorded.cost_nano, recorded.cost_status) == (None, "unpriced")
    (sums,) = [
        each for each in world.events.cost_by(["customer"]) if each.key == (event["customerReferenceId"],)
    ]
    assert (sums.unpriced, sums.events) == (1, 1)


def test_a_batch_of_whatever_is_answered_event_by_event(world: World) -> None:
    long = "x" * 100_000
    bad = [
        *({**observed(world), name: long} for name in ("eventName", "featureKey", "idempotencyKey", "model")),
        *({**observed(world), "inputTokens": value} for value in (-1, 0.5, 1e300, "5", 2**63, [])),
        *({**observed(world), "costAmount": value} for value in (-1, "1e400", "NaN", 10**9, True)),
        {**observed(world), "properties": {str(n): n for n in range(1_000)}},
        {**observed(world), "properties": {"a": long}},
        {**observed(world), "customerReferenceId": "a\r\nSet-Cookie: b"},
        {**observed(world), long[:200]: 1},
        [observed(world)],
    ]
    answer = world.batch(*bad, observed(world))
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, len(bad))
    assert all(len(each["error"]) < 400 for each in answer.json()["errors"])


def test_a_body_beyond_the_bound_is_413(world: World) -> None:
    body = b'{"events": [{"requestBody": "' + b"x" * (16 * 1024 * 1024) + b'"}]}'
    assert world.post("/api/events/ingest", body).status_code == 413


def test_keys_of_accounts_have_nothing_to_do_with_each_other(world: World) -> None:
    engine = open_database(world.stack.database)
    try:
        keyring = Keyring(engine, LedgerRows(world.stack.redis))
        secret, _ = keyring.create("reports", account_id="another", scopes=("events.write",), assertion="any")
    finally:
        engine.dispose()
    event = observed(world, idempotencyKey=world.fresh("key"))
    once = world.fresh("request")
    mine = world.batch(event, Idempotency_Key=once)
    theirs = world.batch(event, secret=secret, Idempotency_Key=once)
    assert (mine.json()["accepted"], theirs.json()["accepted"]) == (1, 1)
    assert "idempotent-replayed" not in theirs.headers
    assert len(world.of(event["customerReferenceId"])) == 1
    found = world.events.page(customer=event["customerReferenceId"], account_id="another").events
    assert [each.account_id for each in found] == ["another"]
