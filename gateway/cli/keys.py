"""`tollkeeper keys`: make, list and revoke the secrets that clients show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from accounts.key import ASSERTIONS, ON_LEDGER_DOWN, KeyRecord
from accounts.keyring import NewLimit
from accounts.scope import DEFAULT_SCOPES
from budgets.limit import ENFORCEMENTS, check_amount
from budgets.window import CALENDAR_WINDOWS
from gateway.cli.control import (
    common_options,
    moment_text,
    open_control,
    read_moment,
    read_usd,
    show_json,
    show_table,
)
from gateway.cli.terms import amount_fields, short_text


@click.group()
def keys() -> None:
    """Make, list and revoke keys."""


@keys.command()
@click.option("--name", required=True, help="What people call it.")
@click.option("--customer", help="Bind the key to this customer, whatever a client says.")
@click.option("--feature", help="Bind the key to this feature, whatever a client says.")
@click.option(
    "--assert",
    "assertion",
    type=click.Choice(ASSERTIONS),
    help="Whom a client may name as customer and feature; default: none for a bound key, else those listed.",
)
@click.option("--customers", help="Customers that a client may name, with commas between.")
@click.option("--features", help="Features that a client may name, with commas between.")
@click.option("--default-customer", help="The customer where a client names none.")
@click.option("--default-feature", help="The feature where a client names none.")
@click.option("--expires", metavar="DATE", help="2026-12-31 or 2026-12-31T18:00, UTC: refused from then on.")
@click.option("--scopes", help=f"With commas between; default {','.join(DEFAULT_SCOPES)}.")
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
    customer: str | None,
    feature: str | None,
    assertion: str | None,
    customers: str | None,
    features: str | None,
    default_customer: str | None,
    default_feature: str | None,
    expires: str | None,
    scopes: str | None,
    limits: tuple[str, ...],
    on_ledger_down: str | None,
    allowance: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a key and print its secret, which is shown only this once.

    The secret alone goes to standard output, so KEY=$(tollkeeper keys create --name app) works.
    """
    with open_control(config, data_dir, create=True) as control:
        secret, record = control.keyring.create(
            name,
            expires_ms=read_moment(expires) if expires else None,
            scopes=_words(scopes) or DEFAULT_SCOPES,
            customer=customer,
            feature=feature,
            assertion=assertion,
            customers=_words(customers),
            features=_words(features),
            default_customer=default_customer,
            default_feature=default_feature,
            limits=[read_limit(text) for text in limits],
            on_ledger_down=on_ledger_down,
            allowance_nano=read_allowance(allowance) if allowance is not None else 0,
        )
        if as_json:
            show_json({"secret": secret, **_document(record)})
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
        show_json([_document(record) for record in records])
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
                _speaks_for(record),
                ", ".join(_limit_text(limit) for limit in record.limits),
                ",".join(record.scopes),
            )
            for record in records
        ],
    )


@keys.command()
@click.argument("key")
@common_options
def revoke(key: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """End a key for good. KEY is its id, the beginning of it, or its name.

    Holds for the next request. Exit code 3: recorded, but a running server could not be told.
    """
    with open_control(config, data_dir) as control:
        record = control.keyring.revoke(control.keyring.find(key).id)
        if as_json:
            show_json(_document(record))
        else:
            click.echo(f"Key {record.id} ({record.name}) is revoked.")
        control.settle(urgent=True)


def read_limit(text: str) -> NewLimit:
    """`month=25usd`, `day=1.50:soft`. ValueError says what is wrong."""
    window, equals, amount = text.partition("=")
    amount, colon, enforcement = amount.partition(":")
    if not equals or window not in CALENDAR_WINDOWS:
        raise ValueError(f"limit {text!r}: write WINDOW=USD; windows are {', '.join(CALENDAR_WINDOWS)}")
    if colon and enforcement not in ENFORCEMENTS:
        raise ValueError(f"limit {text!r}: after the colon write one of {', '.join(ENFORCEMENTS)}")
    value_nano = check_amount(read_usd(amount), f"limit {text!r}")
    return NewLimit(window, value_nano, enforcement or "hard")


def read_allowance(text: str) -> int:
    """Dollars as nano-USD, more than none. ValueError says what is wrong."""
    nano = check_amount(read_usd(text), f"allowance {text!r}")
    if nano == 0:
        raise ValueError(f"allowance {text!r}: must be more than nothing; to refuse, choose closed")
    return nano


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for part in (text or "").split(",") if (word := part.strip()))


def _speaks_for(record: KeyRecord) -> str:
    bound = [
        f"{noun} {name}"
        for noun, name in (("customer", record.customer), ("feature", record.feature))
        if name
    ]
    if record.assertion == "any":
        bound.append("any")
    elif record.assertion == "listed":
        bound += [*record.customers, *record.features]
    return ", ".join(bound)


def _limit_text(limit: Any) -> str:
    suffix = "" if limit.enforcement == "hard" else f" {limit.enforcement}"
    return f"{short_text(limit)}{suffix}"


def _document(record: KeyRecord) -> dict[str, Any]:
    """The record as JSON, amounts as elsewhere."""
    document: dict[str, Any] = orjson.loads(record.to_document())
    for limit in document["limits"]:
        limit |= amount_fields(limit["kind"], "value", limit.pop("value"))
    return document | amount_fields("money", "allowance", document["allowance_nano"])
