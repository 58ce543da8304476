"""`tollkeeper limits`: what each key may spend, and how much of it is spent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from accounts.key import KeyLimit, KeyRecord
from budgets.limit import ENFORCEMENTS, check_amount
from budgets.usage import LimitUsage, read_usage
from budgets.window import WINDOW_KINDS
from gateway.cli.control import Control, common_options, open_control, read_usd, show_json, show_table
from metering.money import nano_to_usd

_AMOUNTS = ("value", "spent", "reserved", "doubted", "remaining")


@click.group()
def limits() -> None:
    """Set, list and clear what keys may spend."""


@limits.command("set")
@click.argument("key")
@click.argument("window", type=click.Choice(WINDOW_KINDS))
@click.argument("usd")
@click.option(
    "--enforcement",
    type=click.Choice(ENFORCEMENTS),
    help="hard refuses; soft and shadow only count. Default: as it is, hard for a new limit.",
)
@common_options
def set_limit(
    key: str,
    window: str,
    usd: str,
    enforcement: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Set what KEY may spend in each WINDOW (UTC), in dollars: limits set my-app month 25.00

    KEY is an id, the beginning of one, or a name. It holds for the next request. A new limit counts from now
    on; changing one keeps what it has counted.
    """
    with open_control(config, data_dir) as control:
        record = control.keyring.find(key)
        value_nano = check_amount(read_usd(usd), "the limit")
        limit = control.keyring.set_limit(record.id, window, value_nano, enforcement)
        if as_json:
            show_json(_document(record, limit, None))
        else:
            amount = nano_to_usd(value_nano)
            click.echo(f"Key {record.id} ({record.name}): {window} limit ${amount}, {limit.enforcement}.")
        control.settle()


@limits.command("list")
@click.argument("key", required=False)
@common_options
def list_limits(key: str | None, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every limit, or KEY's, with what is spent, reserved, doubted and left in its present window."""
    with open_control(config, data_dir) as control:
        records = [control.keyring.find(key)] if key else control.keyring.list()
        shown = _with_usage(control, records)
    if as_json:
        show_json([_document(record, limit, usage) for record, limit, usage in shown])
        return
    if shown and shown[0][2] is None:
        click.echo("No server is reachable: what is spent is not shown.", err=True)
    show_table(
        ("key", "name", "window", "enforcement", *_AMOUNTS),
        [
            (
                record.id,
                record.name,
                f"{limit.window} {usage.window.id}" if usage else limit.window,
                limit.enforcement,
                *(nano_to_usd(amount) if amount is not None else "?" for amount in _amounts(limit, usage)),
            )
            for record, limit, usage in shown
        ],
        numeric=_AMOUNTS,
    )


@limits.command("clear")
@click.argument("key")
@click.argument("window", type=click.Choice(WINDOW_KINDS))
@common_options
def clear_limit(key: str, window: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Take a limit away from KEY."""
    with open_control(config, data_dir) as control:
        record = control.keyring.find(key)
        cleared = control.keyring.clear_limit(record.id, window)
        if as_json:
            show_json({"key_id": record.id, "window": window, "cleared": cleared})
        elif cleared:
            click.echo(f"Key {record.id} ({record.name}) has no {window} limit any more.")
        if cleared:
            control.settle()
    if not cleared:
        click.echo(f"Key {record.id} ({record.name}) has no {window} limit.", err=True)
        sys.exit(1)


def _with_usage(
    control: Control, records: list[KeyRecord]
) -> list[tuple[KeyRecord, KeyLimit, LimitUsage | None]]:
    """Each limit of these keys; without usage where the ledger cannot be reached."""
    pairs = [(record, limit) for record in records for limit in record.limits]
    if control.redis is None or not pairs:
        return [(record, limit, None) for record, limit in pairs]
    usages = read_usage(control.redis, pairs[0][0].account_id, [limit for _, limit in pairs])
    return [(record, limit, usage) for (record, limit), usage in zip(pairs, usages, strict=True)]


def _amounts(limit: KeyLimit, usage: LimitUsage | None) -> tuple[int | None, ...]:
    """Value, spent, reserved, doubted, remaining in nano-USD; None where nothing is known."""
    if usage is None or not usage.published:
        return (limit.value_nano, None, None, None, None)
    return (
        usage.value_nano,
        usage.spent_nano,
        usage.reserved_nano,
        usage.doubted_nano,
        usage.remaining_nano,
    )


def _document(record: KeyRecord, limit: KeyLimit, usage: LimitUsage | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": limit.id,
        "key_id": record.id,
        "key_name": record.name,
        "window": limit.window,
        "window_id": usage.window.id if usage else None,
        "enforcement": limit.enforcement,
    }
    for name, amount in zip(_AMOUNTS, _amounts(limit, usage), strict=True):
        document[f"{name}_usd"] = None if amount is None else nano_to_usd(amount)
        document[f"{name}_nano"] = None if amount is None else str(amount)
    return document
