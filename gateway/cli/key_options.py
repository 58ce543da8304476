"""What the commands that make and change keys have in common: their options, and how a key is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click
import orjson

from accounts.key import ASSERTIONS, KeyRecord
from accounts.keyring import FormerSecret, NewLimit
from accounts.scope import SCOPES
from budgets.limit import ENFORCEMENTS, check_amount
from budgets.window import CALENDAR_WINDOWS
from gateway.cli.moments import moment_text, read_moment
from gateway.cli.options import Command
from gateway.cli.terms import amount_fields, read_usd, short_text

NEVER = "never"
_SPAN = re.compile(r"(\d{1,6})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def key_options(command: Command) -> Command:
    """Whom a key speaks for, what it may ask for, and until when."""
    for option in (
        click.option("--scopes", help=f"With commas between, of: {', '.join(SCOPES)}."),
        click.option(
            "--expires", metavar="DATE", help="2026-12-31 or 2026-12-31T18:00, UTC: refused from then on."
        ),
        click.option(
            "--require", "required", help="Headers without which it is refused: Observe-Customer,..."
        ),
        click.option("--sources", help="Whom a request is for may also stand in: metadata,baggage."),
        click.option(
            "--models",
            help="Models that may serve it, provider/model too; a * at the end: all that begin so.",
        ),
        click.option("--routes", help="Routes and models that it may ask for, in the same way."),
        click.option("--default-feature", help="The feature where a client names none."),
        click.option("--default-customer", help="The customer where a client names none."),
        click.option("--features", help="Features that a client may name, with commas between."),
        click.option("--customers", help="Customers that a client may name, with commas between."),
        click.option(
            "--assert",
            "assertion",
            type=click.Choice(ASSERTIONS),
            help="Whom a client may name as customer and feature; default: none for a bound key, else those "
            "listed.",
        ),
        click.option("--feature", help="Bind the key to this feature, whatever a client says."),
        click.option("--customer", help="Bind the key to this customer, whatever a client says."),
    ):
        command = option(command)
    return command


def read_terms(
    *, scopes: str | None, expires: str | None, required: str | None, sources: str | None, **options: Any
) -> dict[str, Any]:
    """What was told of a key, by the names of KeyRecord; what was not told is left out.

    An empty text unbinds, or empties a list; `never` takes an expiry away.
    """
    told: dict[str, Any] = {}
    lists = {"scopes": scopes, "required": required, "sources": sources}
    for name in ("customers", "features", "routes", "models"):
        lists[name] = options[name]
    for name, text in lists.items():
        if text is not None:
            told[name] = words(text)
    for name in ("customer", "feature", "default_customer", "default_feature"):
        if options[name] is not None:
            told[name] = options[name] or None
    if options["assertion"] is not None:
        told["assertion"] = options["assertion"]
    if expires is not None:
        told["expires_ms"] = None if expires == NEVER else read_moment(expires)
    return told


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


def read_span_ms(text: str) -> int:
    """`24h`, `90m`, `30s`, `7d` or `0` as milliseconds. ValueError says what is wrong."""
    if text == "0":
        return 0
    found = _SPAN.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of time; write such as 24h, 90m, 30s, 7d, or 0")
    return int(found[1]) * _SECONDS[found[2]] * 1_000


def words(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def speaks_for(record: KeyRecord) -> str:
    """Whom the key speaks for, in a few words."""
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


def limit_text(limit: Any) -> str:
    """The limit in a few words."""
    suffix = "" if limit.enforcement == "hard" else f" {limit.enforcement}"
    return f"{short_text(limit)}{suffix}"


def key_document(record: KeyRecord, former: Sequence[FormerSecret] = ()) -> dict[str, Any]:
    """The record as JSON, amounts as elsewhere; `inherited_limits` are those of the keys above it."""
    document: dict[str, Any] = orjson.loads(record.to_document())
    del document["secret_ends_ms"]
    limits = document["limits"]
    for limit in limits:
        limit |= amount_fields(limit["kind"], "value", limit.pop("value"))
    document["limits"] = [limit for limit in limits if limit["scope_id"] == record.id]
    document["inherited_limits"] = [limit for limit in limits if limit["scope_id"] != record.id]
    document["parent_id"] = record.parent_id
    document["former_secrets"] = [{"display": each.display, "ends_ms": each.ends_ms} for each in former]
    return document | amount_fields("money", "allowance", document["allowance_nano"])


def key_lines(record: KeyRecord, former: Sequence[FormerSecret]) -> list[tuple[str, str]]:
    """Everything of a key for people, a line each; what says nothing is left out."""
    on_down = record.on_ledger_down + ("" if record.ledger_down_chosen else " (default)")
    inherited = [limit for limit in record.limits if limit.scope_id != record.id]
    lines = [
        ("id", record.id),
        ("name", record.name),
        ("parent", record.parent_id or ""),
        ("status", record.status),
        ("secret", f"obs_...{record.display}"),
        *(
            ("earlier secret", f"obs_...{each.display} until {moment_text(each.ends_ms)} UTC")
            for each in former
        ),
        ("expires", "" if record.expires_ms is None else f"{moment_text(record.expires_ms)} UTC"),
        ("scopes", ", ".join(record.scopes)),
        ("speaks for", speaks_for(record)),
        ("default customer", record.default_customer or ""),
        ("default feature", record.default_feature or ""),
        ("sources", ", ".join(record.sources)),
        ("required", ", ".join(record.required)),
        ("routes", ", ".join(record.routes)),
        ("models", ", ".join(record.models)),
        ("limits", ", ".join(map(limit_text, record.own_limits))),
        ("limits above it", ", ".join(f"{limit_text(each)} ({each.scope_id})" for each in inherited)),
        ("ledger away", on_down),
    ]
    return [(noun, text) for noun, text in lines if text]
