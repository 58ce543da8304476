"""`tollkeeper features`: parts of the product that plans grant, and the switch that turns one off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accounts.feature import Feature
from accounts.featureprices import UNIT, FeaturePrice
from gateway.cli.control import open_control
from gateway.cli.moments import moment_text, read_moment
from gateway.cli.options import common_options
from gateway.cli.output import show_json, show_table
from gateway.cli.price_lines import read_unit_price, unit_price_text
from metering.money import pico_to_usd


@click.group()
def features() -> None:
    """List features, name and price them, and switch them off and on for everybody."""


@features.command("set")
@click.argument("feature")
@click.option("--name", help="What people call it. Default: as it is.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether anybody may use it.")
@common_options
def set_feature(
    feature: str,
    name: str | None,
    enabled: bool | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Record a feature, or what changes of it. A new one is enabled."""
    with open_control(config, data_dir, create=True) as control:
        before = {each.key: each for each in control.planbook.features()}.get(feature, Feature(feature))
        after = Feature(
            feature,
            before.name if name is None else name,
            before.enabled if enabled is None else enabled,
        )
        control.planbook.put_feature(after)
        if as_json:
            show_json({"feature": after.key, "name": after.name, "enabled": after.enabled})
        else:
            click.echo(f"Feature {feature} is {'on' if after.enabled else 'off for everybody'}.")
        control.settle(urgent=not after.enabled)


@features.command("price")
@click.argument("feature")
@click.argument("price", metavar="USD[/UNITS]", required=False)
@click.option("--unit", default=UNIT, show_default=True, help="What people call a unit.")
@click.option("--from", "starts", metavar="DATE", help="2026-12-31 or 2026-12-31T18:00, UTC. Default: now.")
@click.option("--none", "ends", is_flag=True, help="No price from then on.")
@common_options
def price_feature(
    feature: str,
    price: str | None,
    unit: str,
    starts: str | None,
    ends: bool,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Set what a customer owes for a unit of FEATURE, whatever its plan: 0.002, or 2.00/1000000 for so many.

    A unit is what was reported with an event, else an input or output token, else a request. An event has the
    price of the moment at which it began; what is stored already keeps its revenue.
    """
    if (price is None) is not ends:
        raise click.UsageError("give a price, or --none")
    with open_control(config, data_dir, create=True) as control:
        added = FeaturePrice(
            feature,
            read_moment(starts) if starts else control.planbook.now_ms(),
            None if price is None else read_unit_price(price),
            unit,
        )
        new = control.planbook.put_feature_price(added)
    if as_json:
        show_json(_price_document(added) | {"new": new})
        return
    told = "no price" if added.price_pico is None else f"{_price_text(added)}"
    click.echo(
        f"Feature {feature} has {told} from {moment_text(added.effective_ms)} on{'' if new else ' already'}."
    )


@features.command("prices")
@common_options
def list_prices(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every price that features ever had, and from when on."""
    with open_control(config, data_dir) as control:
        found = control.planbook.feature_prices().entries()
    if as_json:
        show_json([_price_document(each) for each in found])
        return
    rows = [
        (
            each.feature,
            moment_text(each.effective_ms),
            "none" if each.price_pico is None else pico_to_usd(each.price_pico),
            each.unit_label,
        )
        for each in found
    ]
    show_table(("feature", "from", "$ for a unit", "unit"), rows, numeric=("$ for a unit",))


@features.command("list")
@common_options
def list_features(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every recorded feature, and its price now. Plans may grant others too."""
    with open_control(config, data_dir) as control:
        found = control.planbook.features()
        prices, now_ms = control.planbook.feature_prices(), control.planbook.now_ms()
    priced = [(each, prices.at(each.key, now_ms)) for each in found]
    if as_json:
        show_json(
            [
                {
                    "feature": each.key,
                    "name": each.name,
                    "enabled": each.enabled,
                    "price": None if price is None else _price_document(price),
                }
                for each, price in priced
            ]
        )
        return
    rows = [
        (each.key, each.name, "on" if each.enabled else "off", "" if price is None else _price_text(price))
        for each, price in priced
    ]
    show_table(("feature", "name", "state", "price"), rows)


def _price_text(price: FeaturePrice) -> str:
    """`$2.00 for 1000000 (token)`."""
    assert price.price_pico is not None
    return f"{unit_price_text(price.price_pico)} ({price.unit_label})"


def _price_document(price: FeaturePrice) -> dict[str, Any]:
    pico = price.price_pico
    return {
        "feature": price.feature,
        "price_per_unit_usd": None if pico is None else pico_to_usd(pico),
        "price_per_unit_pico": None if pico is None else str(pico),
        "unit_label": price.unit_label,
        "effective_ms": price.effective_ms,
    }
