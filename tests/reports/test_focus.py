"""FOCUS rows of single bills: unit prices of what is priced by the hour."""

from __future__ import annotations

from decimal import Decimal

import pytest

from metering.adjustment import corrected
from metering.event import Attempt, CostEvent
from metering.eventexport import Told
from metering.money import half_even, pico_to_usd
from metering.units import unit_of
from reports.focus import COLUMNS, focus_lines

NAMES = [column.name for column in COLUMNS]


def told(event: CostEvent) -> Told:
    """The event as it came, without corrections."""
    return Told(event, corrected(event, []), None, None, [])


@pytest.mark.parametrize(
    ("hour_pico", "second_pico"),
    [(180_000_000_000, 50_000_000), (210_000_000_000, None), (0, 0)],
)
def test_a_price_by_the_hour_is_told_of_a_second_where_that_is_exact(
    hour_pico: int, second_pico: int | None
) -> None:
    unit = unit_of("audio_seconds")
    assert unit is not None
    assert unit.per == 3_600
    nano = half_even(95 * hour_pico, 3_600 * 1_000)
    bill = [{"unit": "audio_seconds", "quantity": 95, "price_pico": hour_pico, "cost_nano": nano}]
    attempt = Attempt(
        provider="mistral", model="voxtral", cost_nano=nano, breakdown=bill, price_entries=["e"]
    )
    event = CostEvent("e", attempts=[attempt], cost_nano=nano, provider="mistral", model="voxtral")
    (line,) = focus_lines(told(event))
    cells = dict(zip(NAMES, line, strict=True))
    assert (cells["ListUnitPrice"], cells["ContractedUnitPrice"]) == (second_pico, second_pico)
    assert cells["SkuPriceDetails"] == {"x_Price": pico_to_usd(hour_pico), "x_PriceUnits": 3_600}
    assert (cells["PricingUnit"], cells["PricingQuantity"]) == ("Seconds", 95)
    if second_pico is not None:
        assert cells["ListCost"] == 95 * second_pico
    assert abs(int(str(cells["ListCost"])) - Decimal(95 * hour_pico) / 3_600) <= 500


def test_a_price_of_one_unit_has_no_details() -> None:
    bill = [{"unit": "output_tokens", "quantity": 3, "price_pico": 600_000, "cost_nano": 1_800}]
    attempt = Attempt(provider="openai", model="gpt-4o-mini", cost_nano=1_800, breakdown=bill)
    event = CostEvent("e", attempts=[attempt], cost_nano=1_800)
    (line,) = focus_lines(told(event))
    cells = dict(zip(NAMES, line, strict=True))
    assert (cells["ListUnitPrice"], cells["SkuPriceDetails"]) == (600_000, None)
