"""`tollkeeper features`: parts of the product that plans grant, and the switch that turns one off."""

from __future__ import annotations

from pathlib import Path

import click

from accounts.feature import Feature
from gateway.cli.control import open_control
from gateway.cli.options import common_options
from gateway.cli.output import show_json, show_table


@click.group()
def features() -> None:
    """List features, name them, and switch them off and on for everybody."""


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


@features.command("list")
@common_options
def list_features(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every recorded feature. Plans may grant others too."""
    with open_control(config, data_dir) as control:
        found = control.planbook.features()
    if as_json:
        show_json([{"feature": each.key, "name": each.name, "enabled": each.enabled} for each in found])
        return
    rows = [(each.key, each.name, "on" if each.enabled else "off") for each in found]
    show_table(("feature", "name", "state"), rows)
