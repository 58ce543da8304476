"""Golden vectors cost what others published, to the nano-dollar."""

from __future__ import annotations

import pytest

from metering.bill import bill
from metering.money import usd_to_nano
from metering.price import ModelPrice
from metering.pricebook import PriceBook
from metering.pricelist import Entry, PriceList
from metering.usage.readers import READERS
from tests.metering.conftest import moment
from tests.metering.golden import VECTORS
from tests.metering.golden.vector import IN, OUT, READ, sheet, tokens


@pytest.mark.parametrize("number", VECTORS)
def test_a_vector_costs_what_it_was_billed(number: int) -> None:
    vector = VECTORS[number]
    cost = vector.price().cost_of(vector.usage, service_tier=vector.tier)
    assert cost.nano == usd_to_nano(vector.dollars)
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert cost.unpriced_units == ()
    assert bool(cost.notes) == (number in (4, 19))  # the tier that was asked for has no price


def rows(number: int) -> dict[str, int]:
    vector = VECTORS[number]
    cost = vector.price().cost_of(vector.usage, service_tier=vector.tier)
    return {line.unit: line.cost_nano for line in cost.lines}


def test_parts_of_vectors_that_name_them() -> None:
    assert rows(32)["reasoning_output_tokens"] == usd_to_nano("0.007785")
    assert rows(33)[READ] + rows(33)["reasoning_output_tokens"] == usd_to_nano("0.0275")
    assert rows(15)[OUT] == usd_to_nano("0.15")
    assert rows(13)[OUT] == usd_to_nano("0.1125")


def test_37_off_peak_hours_across_midnight() -> None:
    """16:30 to 00:30 UTC: the start belongs to the window, the end does not."""
    half = {"id": "p/m/initial#default@16:30-00:30", "hours_utc": ["16:30", "00:30"], "rates": {IN: 500_000}}
    model = {
        "id": "m",
        "match": {"equals": "m"},
        "prices": [{"id": "p/m/initial#default", "rates": {IN: 1_000_000}}, half],
    }
    document = {
        "provider": "p",
        "name": "P",
        "source": "https://p",
        "checked": "2026-01-01",
        "models": [model],
    }
    found = PriceList(document).find("m")
    assert found is not None

    def rate(at: str) -> int:
        entry: Entry = next(each for each in reversed(found.prices) if each.active(moment(at)))
        return entry.rates[IN].at(0)

    times = (
        "16:29:59.999",
        "16:30",
        "16:30:00.001",
        "23:59:59.999",
        "00:00",
        "00:29:59.999",
        "00:30",
        "00:30:00.001",
    )
    expected = (1_000_000, 500_000, 500_000, 500_000, 500_000, 500_000, 1_000_000, 1_000_000)
    assert tuple(rate(f"2026-11-20T{at}") for at in times) == expected


def test_42_a_provider_reports_the_cost_of_a_model_that_no_list_has() -> None:
    """litellm #38802: DeepInfra's estimated_cost, one and a half times the standard tier's."""
    answer = {
        "model": "Qwen/Qwen3.6-35B",
        "service_tier": "priority",
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "estimated_cost": 8.775e-06},
    }
    reading = READERS["openai.chat"](answer)
    cost = bill(PriceBook.load(), "deepinfra", "Qwen/Qwen3.6-35B", reading, moment("2026-11-21"))
    assert (cost.nano, cost.status) == (8_775, "provider_reported")


def test_41_gpt_4o_priority() -> None:
    price = ModelPrice(
        "p",
        "m",
        None,
        None,
        False,
        sheet({IN: "0.0000025", OUT: "0.00001"}, {}),
        {"priority": sheet({IN: "0.00000425", OUT: "0.000017"}, {})},
    )
    assert price.cost_of(tokens(9, 1), service_tier="priority").nano == usd_to_nano("0.00005525")
