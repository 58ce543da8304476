"""Whose figure is the cost: a negotiated price, the provider's own bill, or usage at list prices."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metering.bill import REPORTED, bill
from metering.cost import Line
from metering.price import ModelPrice
from metering.pricebook import Override, PriceBook
from metering.usage import Usage
from metering.usage.readers import READERS
from metering.usage.reading import Reading
from tests.metering.conftest import moment

PriceOf = Callable[..., ModelPrice]
NOW = moment("2026-11-21")
USED = Usage(input_tokens=1_000, output_tokens=100)


def test_the_model_that_served_sets_the_price(book: PriceBook) -> None:
    """litellm #38107, #39294: the model asked for was billed although another answered."""
    asked = bill(book, "openai", "gpt-4o", Reading(USED), NOW)
    served = bill(book, "openai", "gpt-4o", Reading(USED, model="gpt-4o-mini-2024-07-18"), NOW)
    unknown = bill(book, "openai", "gpt-4o", Reading(USED, model="gpt-4o-internal"), NOW)
    assert (asked.nano, served.nano, unknown.nano) == (3_500_000, 210_000, 3_500_000)


def test_the_served_tier_and_region_come_before_the_asked_ones(book: PriceBook) -> None:
    flex = bill(book, "openai", "gpt-5", Reading(USED, service_tier="flex"), NOW, service_tier="priority")
    priority = bill(book, "openai", "gpt-5", Reading(USED), NOW, service_tier="priority")
    assert (flex.nano, priority.nano) == (625_000 + 500_000, 2_500_000 + 2_000_000)
    here = bill(book, "anthropic", "claude-opus-4-8", Reading(USED, region="us"), NOW)
    there = bill(book, "anthropic", "claude-opus-4-8", Reading(USED), NOW, region="eu")
    assert (here.nano, there.nano) == (8_250_000, 7_500_000)


def test_what_other_models_used_is_added_at_their_prices(book: PriceBook) -> None:
    adviser = (("claude-opus-4-8", Usage(input_tokens=1_000, output_tokens=10, requests=0)),)
    cost = bill(book, "anthropic", "claude-sonnet-4-5", Reading(USED, elsewhere=adviser), NOW)
    assert cost.nano == (3_000_000 + 1_500_000) + (5_000_000 + 250_000)
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert {entry.split("/")[1] for entry in cost.entry_ids} == {"claude-sonnet-4-5", "claude-opus-4-8"}
    strange = (("claude-unheard-of", Usage(input_tokens=1)),)
    cost = bill(book, "anthropic", "claude-sonnet-4-5", Reading(USED, elsewhere=strange), NOW)
    assert (cost.nano, cost.status, cost.unpriced_units) == (None, "unpriced", ("input_tokens",))


def test_a_router_is_paid_what_it_reports(book: PriceBook) -> None:
    reading = Reading(USED, reported_nano=123_456)
    cost = bill(book, "openrouter", "openai/gpt-4o-mini", reading, NOW)
    assert (cost.nano, cost.status, cost.upper_nano) == (123_456, "provider_reported", 123_456)
    assert cost.lines == (Line(REPORTED, 1, 123_456_000, 123_456),)
    assert cost.notes == ("the provider's bill is 123456 nano-USD; usage at list prices is 210000",)


def test_xai_bills_in_ticks_of_ten_billionths_of_a_dollar(book: PriceBook) -> None:
    """docs.x.ai/developers/cost-tracking: 37,756,000 ticks are $0.0037756, and are what is charged."""
    answer = {
        "model": "grok-4.3",
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "cost_in_usd_ticks": 37_756_000},
    }
    cost = bill(book, "x-ai", "grok-4.3", READERS["openai.chat"](answer), NOW)
    assert (cost.nano, cost.status) == (3_775_600, "provider_reported")


def test_rows_stay_where_they_add_up_to_the_reported_bill(book: PriceBook) -> None:
    cost = bill(book, "openrouter", "openai/gpt-4o-mini", Reading(USED, reported_nano=210_000), NOW)
    assert (cost.nano, cost.status, cost.notes) == (210_000, "provider_reported", ())
    assert [line.cost_nano for line in cost.lines] == [150_000, 60_000]


def test_a_reported_cost_that_is_no_bill_does_not_replace_the_price(book: PriceBook) -> None:
    cost = bill(book, "openai", "gpt-4o-mini", Reading(USED, reported_nano=1), NOW)
    assert (cost.nano, cost.status) == (210_000, "priced")


def test_a_reported_cost_stands_in_for_a_price_that_nobody_knows(book: PriceBook) -> None:
    cost = bill(book, "openai", "gpt-99", Reading(USED, reported_nano=77), NOW)
    assert (cost.nano, cost.status) == (77, "provider_reported")
    searched = Usage(input_tokens=1, extra=(("telepathy", 1),))
    cost = bill(book, "openai", "gpt-4o", Reading(searched, reported_nano=88), NOW)
    assert (cost.nano, cost.status) == (88, "provider_reported")


def test_a_negotiated_price_is_owed_whatever_is_reported() -> None:
    book = PriceBook.load([Override("openrouter", "openai/gpt-4o-mini", 0, {"input_tokens": 100_000})])
    cost = bill(book, "openrouter", "openai/gpt-4o-mini", Reading(USED, reported_nano=1), NOW)
    assert (cost.nano, cost.status) == (100_000 + 60_000, "priced")


def test_nothing_reported_and_nothing_used_costs_nothing(book: PriceBook) -> None:
    assert bill(book, "openai", "gpt-4o", Reading(), NOW).nano == 0


@pytest.mark.parametrize(
    ("provider", "model", "region", "times"),
    [
        ("anthropic", "claude-opus-4-8", "us", 1_100),
        ("anthropic", "claude-opus-4-5", "us", 1_000),
        ("openai", "gpt-5.4", "eu", 1_100),
        ("openai", "gpt-5", "eu", 1_000),
        ("x-ai", "grok-4.3", "us", 1_100),
        ("x-ai", "grok-4.3", "eu", 1_000),
    ],
)
def test_a_region_with_its_own_price_raises_every_token_rate(
    price_of: PriceOf, provider: str, model: str, region: str, times: int
) -> None:
    price = price_of(provider, model)
    usage = Usage(input_tokens=300_000, cache_read_input_tokens=7_000, output_tokens=1_000)
    listed, regional = price.cost_of(usage), price.cost_of(usage, region=region)
    assert listed.nano is not None
    assert regional.nano == listed.nano * times // 1_000
    marked = {entry.endswith("*1100") for entry in regional.entry_ids}
    assert marked == {times == 1_100}


def test_a_region_raises_neither_fees_nor_negotiated_rates() -> None:
    usage = Usage(input_tokens=1_000, extra=(("web_searches", 1),))
    book = PriceBook.load([Override("anthropic", "claude-opus-4-8", 0, {"output_tokens": 20_000_000})])
    price = book.find("anthropic", "claude-opus-4-8", NOW)
    assert price is not None
    assert price.cost_of(usage, region="us").nano == 5_500_000 + 10_000_000
    assert price.cost_of(Usage(output_tokens=1_000), region="us").nano == 20_000_000


def test_a_ceiling_bounds_the_dearest_region_that_an_answer_may_tell(price_of: PriceOf) -> None:
    claude, gpt = price_of("anthropic", "claude-opus-4-8"), price_of("openai", "gpt-5.4")
    rates = claude.ceiling_rates([], media=False)
    assert (rates.input_pico, rates.output_pico) == (11_000_000, 27_500_000)
    assert claude.ceiling_rates([], media=False, region="eu").output_pico == 25_000_000
    assert gpt.ceiling_rates([], input_tokens_max=1_000).output_pico == 15_000_000
    assert gpt.ceiling_rates([], input_tokens_max=1_000, region="eu").output_pico == 16_500_000
