"""Costs as FOCUS 1.2 rows: what FinOps tools read from every provider alike. Pure.

One row for each line of each attempt's bill, one for what an event cost beyond its lines, and one for each
later correction. The sum of EffectiveCost is the sum of known costs in every report. What FOCUS asks and how
it is answered is in docs/export.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from metering.adjustment import Adjustment
from metering.event import CostEvent
from metering.eventexport import Told
from metering.money import PICO_PER_NANO, pico_to_usd
from metering.rollup import HOUR_MS
from metering.units import unit_of
from reports.columns import Cell, Column, Line
from reports.export import charged

CATEGORY, SUBCATEGORY = "AI and Machine Learning", "Generative AI"
CORRECTION = "Correction"
REQUESTS = "requests"
"""The unit of what is charged for a request as a whole."""
OVERRIDE = "override:"
"""How ids of price entries begin that are the operator's own, negotiated ones."""

COLUMNS = [
    Column("BilledCost", "pico"),
    *map(Column, ("BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency")),
    Column("BillingPeriodEnd", "second"),
    Column("BillingPeriodStart", "second"),
    *map(Column, ("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency")),
    Column("ChargePeriodEnd", "second"),
    Column("ChargePeriodStart", "second"),
    Column("ConsumedQuantity", "decimal"),
    Column("ConsumedUnit"),
    Column("ContractedCost", "pico"),
    Column("ContractedUnitPrice", "pico"),
    Column("EffectiveCost", "pico"),
    *map(Column, ("InvoiceId", "InvoiceIssuerName")),
    Column("ListCost", "pico"),
    Column("ListUnitPrice", "pico"),
    Column("PricingCategory"),
    Column("PricingQuantity", "decimal"),
    *map(Column, ("PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName")),
    *map(Column, ("ResourceId", "ResourceName", "ResourceType")),
    *map(Column, ("ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter")),
    Column("SkuPriceDetails", "json"),
    *map(Column, ("SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType")),
    Column("Tags", "json"),
    *map(Column, ("x_EventId", "x_CostStatus")),
    Column("x_EffectiveCostNano", "whole"),
]
_NAMES = [column.name for column in COLUMNS]
_PLURALS = {"bills": "Bills", "calls": "Calls", "requests": "Requests"}


def focus_lines(told: Told) -> Iterator[Line]:
    """The event's rows of COLUMNS; an event of which no cost is known has no rows."""
    event, left_nano = told.event, told.event.known_nano
    common = _common(event)
    for number, provider, model, row in charged(event):
        left_nano -= row.get("cost_nano") or 0
        yield _line(common | _charge(event, number, provider, model, row))
    if left_nano:
        rest = {
            "unit": REQUESTS,
            "quantity": 1,
            "price_pico": left_nano * PICO_PER_NANO,
            "cost_nano": left_nano,
        }
        yield _line(common | _charge(event, 0, event.provider, event.model, rest))
    for adjustment in told.adjustments:
        if adjustment.cost_delta_nano:
            yield _line(common | _corrected(event, adjustment))


def _line(cells: dict[str, Cell]) -> Line:
    return [cells.get(name) for name in _NAMES]


def _common(event: CostEvent) -> dict[str, Cell]:
    """What all rows of the event say."""
    hour = event.started_ms - event.started_ms % HOUR_MS
    start, end = _month(event.started_ms)
    provider = event.provider or event.provider_requested or "unknown"
    tags = {
        "customer": event.customer,
        "feature": event.feature,
        "route": event.route_final or event.route,
        "task": event.task,
        "trace": event.trace_id,
        "key": event.key_id,
        "plan": event.plan,
        "user": event.user,
    }
    return {
        "BillingAccountId": event.account_id,
        "BillingAccountName": event.account_id,
        "BillingAccountType": "Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": hour,
        "ChargePeriodEnd": hour + HOUR_MS,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "InvoiceIssuerName": provider,
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceCategory": CATEGORY,
        "ServiceSubcategory": SUBCATEGORY,
        "ServiceName": event.surface or event.model or provider,
        "SubAccountId": event.workspace,
        "SubAccountName": event.workspace,
        "SubAccountType": None if event.workspace is None else "Workspace",
        "Tags": {name: value for name, value in tags.items() if value is not None},
        "x_EventId": event.id,
        "x_CostStatus": event.cost_status,
    }


def _charge(
    event: CostEvent, number: int, provider: str | None, model: str | None, row: dict[str, Any]
) -> dict[str, Cell]:
    """One line of a bill. Prices are those of one unit; of one that covers more, such as an hour of audio
    seconds, the part of one, where that is a whole number of pico-USD: else its product with the quantity
    would not be the cost, and the price as it is agreed is told in SkuPriceDetails alone."""
    unit, quantity, nano = row.get("unit") or REQUESTS, row.get("quantity"), row.get("cost_nano") or 0
    known = unit_of(unit)
    agreed, per = row.get("price_pico"), 1 if known is None else known.per
    price = agreed // per if agreed is not None and agreed % per == 0 else None
    entry = _entry(event, number, unit)
    exact = nano * PICO_PER_NANO if price is None or quantity is None else quantity * price
    family = known.family if known is not None else unit
    label = known.label if known is not None else unit
    negotiated = entry is not None and entry.startswith(OVERRIDE)
    sku = f"{provider or 'unknown'}/{model or 'unknown'}/{unit}"
    named: dict[str, Cell] = {} if provider is None else {"ProviderName": provider, "PublisherName": provider}
    return named | {
        "BilledCost": nano * PICO_PER_NANO,
        "EffectiveCost": nano * PICO_PER_NANO,
        "x_EffectiveCostNano": nano,
        "ContractedCost": exact,
        "ContractedUnitPrice": price,
        "ListCost": exact,
        "ListUnitPrice": None if negotiated else price,
        "PricingCategory": "Standard" if price is not None else "Other",
        "PricingQuantity": quantity,
        "PricingUnit": _plural(family),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": _plural(family),
        "ChargeDescription": f"{model or provider or 'unknown'}: {label}",
        "SkuId": sku,
        "SkuMeter": label,
        "SkuPriceDetails": None
        if agreed is None or per == 1
        else {"x_Price": pico_to_usd(agreed), "x_PriceUnits": per},
        "SkuPriceId": sku if entry is None else f"{entry}/{unit}",
    }


def _corrected(event: CostEvent, adjustment: Adjustment) -> dict[str, Cell]:
    """A correction: of its event's hour; for FOCUS it is one of an invoiced period, and belongs to the period
    in which it became known, where that is a later month."""
    pico, (start, end) = adjustment.cost_delta_nano * PICO_PER_NANO, _month(adjustment.at_ms)
    later = start > _month(event.started_ms)[0]
    billed: dict[str, Cell] = {"BillingPeriodStart": start, "BillingPeriodEnd": end} if later else {}
    return billed | {
        "ChargeCategory": "Adjustment",
        "ChargeClass": CORRECTION if later else None,
        "ChargeFrequency": "One-Time",
        "ChargeDescription": f"{adjustment.source}: {adjustment.reason}",
        "BilledCost": pico,
        "EffectiveCost": pico,
        "ContractedCost": pico,
        "ListCost": pico,
        "x_EffectiveCostNano": adjustment.cost_delta_nano,
    }


def _entry(event: CostEvent, number: int, unit: str) -> str | None:
    """The id of the price that a line was charged at, where it can only be one."""
    entries = event.attempts[number - 1].price_entries if number else event.price_entries
    return entries[0] if len(entries) == 1 else None


def _plural(family: str) -> str:
    return _PLURALS.get(family, family.capitalize())


def _month(at_ms: int) -> tuple[int, int]:
    """The calendar month (UTC) of a moment, as its first moment and the next month's."""
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * 1_000, int(end.timestamp()) * 1_000
