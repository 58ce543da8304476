"""What reported events cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.ingest.fields import Refused
from gateway.ingest.making import make_report
from gateway.ingest.observe import read_observe
from gateway.ingest.pricing import Pricer
from metering.event import CostEvent
from metering.ids import new_id
from metering.override import Override
from metering.pricebook import PriceBook

NOW_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    own = Override(
        provider="openai",
        model="gpt-4o",
        effective_from_ms=0,
        rates_pico={"input_tokens": 1_000_000, "output_tokens": 2_000_000},
        account="partner",
    )
    dated = [
        Override("openai", "dated", at_ms, {"input_tokens": pico})
        for at_ms, pico in ((0, 7_000_000), (1_717_286_400_000, 9_000_000))
    ]
    return Pricer(PriceBook.load([own, *dated]), {"our-azure": "azure"})


def made(pricer: Pricer, *, account_id: str = "default", **fields: Any) -> CostEvent:
    item = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f", **fields}
    reported = read_observe(json.loads(json.dumps(item), parse_float=Decimal), NOW_MS)
    return make_report(
        reported, pricer, event_id=new_id(), account_id=account_id, key_id="key_1", now_ms=NOW_MS
    ).event


def test_d1_a_model_that_nobody_knows_costs_something_unknown_and_never_nothing(pricer: Pricer) -> None:
    for fields in (
        {"model": "made-up-9000", "inputTokens": 1_000, "outputTokens": 10},
        {"model": "gpt-4o", "modelProvider": "made-up", "inputTokens": 1_000},
        {"model": "gpt-4o"},  # nobody told the tokens
        {"inputTokens": 1_000, "outputTokens": 10},  # of whatever model
    ):
        event = made(pricer, **fields)
        assert (event.cost_nano, event.cost_status) == (None, "unpriced"), fields
        assert event.cost_upper_nano is None
        assert all(attempt.cost_nano is None for attempt in event.attempts)


def test_d3_a_million_of_the_smallest_events_sum_exactly(pricer: Pricer) -> None:
    event = made(pricer, model="text-embedding-3-small", inputTokens=10)
    assert event.cost_nano == 200  # 10 tokens at $0.02 per million
    tiny = made(pricer, model="text-embedding-3-small", inputTokens=1)
    assert tiny.cost_nano == 20
    assert 1_000_000 * event.known_nano == 200_000_000  # 20 cents, to the nano-dollar


def test_an_amount_that_is_given_comes_first_and_0_is_given(pricer: Pricer) -> None:
    call = {"model": "gpt-4o", "inputTokens": 1_000, "outputTokens": 100}
    for amount, nano in ((0, 0), ("0", 0), (0.05, 50_000_000), ("0.000000001", 1)):
        event = made(pricer, costAmount=amount, **call)
        assert (event.cost_nano, event.cost_status, event.provider) == (nano, "override", "openai")
        assert sum(row["cost_nano"] for row in event.breakdown) == nano
        assert event.usage == {"input_tokens": 1_000, "output_tokens": 100, "requests": 1}
    unknown = made(pricer, costAmount=0.01, model="made-up-9000", inputTokens=5)
    assert (unknown.cost_nano, unknown.cost_status) == (10_000_000, "override")


def test_events_without_a_call_cost_nothing_and_say_so(pricer: Pricer) -> None:
    event = made(pricer, revenueAmount=12.5)
    assert (event.cost_nano, event.cost_status, event.revenue_nano) == (0, "free", 12_500_000_000)
    assert (event.cost_type, event.attempts, event.usage) == ("generic", [], None)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-flash", "google"),
        ("mistral-large-latest", "mistral"),
        ("deepseek-chat", "deepseek"),
        ("grok-3", "x-ai"),
        ("openai/gpt-4o", "openai"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
    ],
)
def test_who_made_a_model_is_known_by_its_name(pricer: Pricer, model: str, provider: str) -> None:
    event = made(pricer, model=model, inputTokens=1_000_000)
    assert (event.provider, event.cost_status) == (provider, "priced")
    assert event.cost_nano
    assert (event.provider_requested, event.model) == (None, model)


@pytest.mark.parametrize(
    ("given", "like"),
    [
        ("OpenAI", "openai"),
        ("azure_openai", "azure"),
        ("our-azure", "azure"),
        ("Azure OpenAI", "azure"),
    ],
)
def test_providers_go_by_many_names(pricer: Pricer, given: str, like: str) -> None:
    call = {"model": "gpt-4o", "inputTokens": 1_000, "outputTokens": 100}
    event = made(pricer, modelProvider=given, **call)
    assert (event.provider, event.cost_status) == (given, "priced")
    assert event.cost_nano == made(pricer, modelProvider=like, **call).cost_nano


def test_a_model_that_only_resellers_list_stays_unpriced_until_the_provider_is_told(pricer: Pricer) -> None:
    assert made(pricer, model="llama-3.3-70b", inputTokens=1_000).cost_status == "unpriced"
    told = made(pricer, model="llama-3.3-70b", modelProvider="cerebras", inputTokens=1_000)
    assert told.cost_status == "priced"


def test_an_accounts_own_prices_are_its_own(pricer: Pricer) -> None:
    call = {"model": "gpt-4o", "inputTokens": 1_000, "outputTokens": 100}
    own = made(pricer, account_id="partner", **call)
    assert (own.cost_nano, own.cost_status) == (1_000 * 1_000 + 100 * 2_000, "override")
    assert made(pricer, **call).cost_nano == 1_000 * 2_500 + 100 * 10_000


def test_the_price_is_that_of_the_events_time(pricer: Pricer) -> None:
    item = {"eventName": "e", "customerReferenceId": "c", "featureKey": "f", "model": "dated"}
    item |= {"modelProvider": "openai", "inputTokens": 1_000, "timestamp": "2024-06-01T00:00:00Z"}
    then = read_observe(item, NOW_MS, backfill=True)
    event = make_report(
        then, pricer, event_id=new_id(), account_id="default", key_id="k", now_ms=NOW_MS
    ).event
    assert (event.cost_nano, event.started_ms) == (7_000_000, 1_717_200_000_000)
    later = read_observe(item | {"timestamp": "2024-06-02T00:00:00Z"}, NOW_MS, backfill=True)
    event = make_report(
        later, pricer, event_id=new_id(), account_id="default", key_id="k", now_ms=NOW_MS
    ).event
    assert event.cost_nano == 9_000_000


def test_a_served_tier_has_its_own_price(pricer: Pricer) -> None:
    call = {"model": "gpt-5", "inputTokens": 1_000_000, "outputTokens": 0}
    batch = made(pricer, serviceTier="batch", **call)
    assert batch.cost_nano is not None
    assert 2 * batch.cost_nano == made(pricer, **call).cost_nano


def test_more_than_can_be_counted_is_refused(pricer: Pricer) -> None:
    dear = Override("openai", "o-dear", 0, {"input_tokens": 10**10, "output_tokens": 10**10})
    with pytest.raises(Refused, match="more than can be counted"):
        made(Pricer(PriceBook.load([dear])), model="o-dear", modelProvider="openai", inputTokens=10**9)
