"""`tollkeeper keys`: make, show, list, change, rotate and revoke keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accounts.key import ON_LEDGER_DOWN
from gateway.cli.control import open_control
from gateway.cli.key_options import (
    key_document,
    key_lines,
    key_options,
    limit_text,
    read_allowance,
    read_limit,
    read_span_ms,
    read_terms,
    speaks_for,
)
from gateway.cli.moments import moment_text
from gateway.cli.options import common_options
from gateway.cli.output import show_json, show_table


@click.group()
def keys() -> None:
    """Make, show, change, rotate and revoke keys."""


@keys.command()
@click.option("--name", required=True, help="What people call it.")
@click.option("--parent", metavar="KEY", help="Make a child of this key, which is never above it.")
@key_options
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="WINDOW=USD",
    help="month=25usd, day=1.50, lifetime=100; add :soft or :shadow to count without refusing. Repeatable.",
)
@click.option(
    "--on-ledger-down",
    type=click.Choice(ON_LEDGER_DOWN),
    help="While the ledger is away: refuse, go on, or go on up to --allowance. "
    "Default: closed where a limit applies, else open.",
)
@click.option(
    "--allowance",
    metavar="USD",
    help="What may be spent while the ledger is away, with --on-ledger-down allowance.",
)
@common_options
def create(
    name: str,
    parent: str | None,
    limits: tuple[str, ...],
    on_ledger_down: str | None,
    allowance: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a key and print its secret, which is shown only this once.

    The secret alone goes to standard output, so KEY=$(tollkeeper keys create --name app) works.
    """
    with open_control(config, data_dir, create=True) as control:
        secret, record = control.keyring.create(
            name,
            parent=control.keyring.find(parent).id if parent is not None else None,
            limits=[read_limit(text) for text in limits],
            on_ledger_down=on_ledger_down,
            allowance_nano=read_allowance(allowance) if allowance is not None else 0,
            **read_terms(**options),
        )
        if as_json:
            show_json({"secret": secret, **key_document(record)})
        else:
            click.echo(f"Key {record.id} ({record.name}). The secret is shown only this once:", err=True)
            click.echo(secret)
        control.settle()


@keys.command("list")
@common_options
def list_keys(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every key, never its secret."""
    with open_control(config, data_dir) as control:
        records = control.keyring.list()
    if as_json:
        show_json([key_document(record) for record in records])
        return
    show_table(
        ("id", "name", "secret", "status", "expires (UTC)", "speaks for", "limits", "scopes"),
        [
            (
                record.id,
                record.name,
                f"obs_...{record.display}",
                record.status,
                moment_text(record.expires_ms),
                speaks_for(record),
                ", ".join(map(limit_text, record.own_limits)),
                ",".join(record.scopes),
            )
            for record in records
        ],
    )


@keys.command()
@click.argument("key")
@common_options
def show(key: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show all of a key but its secret. KEY is its id, the beginning of it, or its name."""
    with open_control(config, data_dir) as control:
        record = control.keyring.find(key)
        former = control.keyring.former_secrets(record.id)
    if as_json:
        show_json(key_document(record, former))
    else:
        for noun, text in key_lines(record, former):
            click.echo(f"{noun + ':':<18}{text}")


@keys.command()
@click.argument("key")
@click.option("--name", help="What people call it.")
@key_options
@click.option(
    "--on-ledger-down",
    type=click.Choice((*ON_LEDGER_DOWN, "default")),
    help="While the ledger is away: refuse, go on, or go on up to --allowance.",
)
@click.option("--allowance", metavar="USD", help="With --on-ledger-down allowance.")
@common_options
def update(
    key: str,
    name: str | None,
    on_ledger_down: str | None,
    allowance: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Change a key; what is not told stays. KEY is its id, the beginning of it, or its name.

    An empty text ("") unbinds or empties a list; --expires never takes the expiry away. Holds for the next
    request. Limits are changed by `tollkeeper limits`.
    """
    with open_control(config, data_dir) as control:
        changes = read_terms(**options) | ({} if name is None else {"name": name})
        if on_ledger_down is not None:
            changes["on_ledger_down"] = None if on_ledger_down == "default" else on_ledger_down
            changes["allowance_nano"] = 0
        if allowance is not None:
            changes["allowance_nano"] = read_allowance(allowance)
        if not changes:
            raise ValueError("nothing to change was told; see `tollkeeper keys update --help`")
        record = control.keyring.update(control.keyring.find(key).id, **changes)
        if as_json:
            show_json(key_document(record))
        else:
            click.echo(f"Key {record.id} ({record.name}) is changed.")
        control.settle(urgent=True)


@keys.command()
@click.argument("key")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    metavar="SPAN",
    help="How long the former secret works beside the new one: 24h, 90m, 7d. 0: no earlier secret any more.",
)
@common_options
def rotate(key: str, overlap: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Give a key a new secret and print it, only this once. KEY is its id, its beginning, or its name.

    The key stays the same: its id, its limits, what it has spent.
    """
    with open_control(config, data_dir) as control:
        overlap_ms = read_span_ms(overlap)
        secret, record = control.keyring.rotate(control.keyring.find(key).id, overlap_ms=overlap_ms)
        if as_json:
            former = control.keyring.former_secrets(record.id)
            show_json({"secret": secret, **key_document(record, former)})
        else:
            works = f"works {overlap} more" if overlap_ms else "has ended"
            click.echo(f"Key {record.id} ({record.name}): the former secret {works}. The new one:", err=True)
            click.echo(secret)
        control.settle(urgent=not overlap_ms)


@keys.command()
@click.argument("key")
@common_options
def revoke(key: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """End a key and its children for good. KEY is its id, the beginning of it, or its name.

    Holds for the next request; running streams are cut with the next heartbeat. Exit code 3: recorded, but a
    running server could not be told.
    """
    with open_control(config, data_dir) as control:
        record = control.keyring.revoke(control.keyring.find(key).id)
        if as_json:
            show_json(key_document(record))
        else:
            click.echo(f"Key {record.id} ({record.name}) is revoked.")
        control.settle(urgent=True)
