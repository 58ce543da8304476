"""Limits as `limits list` shows them: with what is used, in a table or in a JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from accounts.key import KeyLimit
from accounts.keyring import ACCOUNT
from budgets.client import SyncClient
from budgets.limit import RATE_KINDS, names_one
from budgets.usage import EachUsage, LimitUsage, read_each, read_rows
from budgets.window import Window
from gateway.cli.subject import subject_text
from gateway.cli.terms import amount_fields, amount_text, kind_word

AMOUNTS = ("value", "spent", "reserved", "doubted", "remaining")
COLUMNS = ("on", "name", "kind", "window", "enforcement", *AMOUNTS)
NUMERIC = AMOUNTS
_Amounts = tuple[int | None, int | None, int | None, int | None, int | None]
_NOT_COUNTED = {
    **dict.fromkeys(RATE_KINDS, ("spent", "reserved", "doubted")),
    "concurrency": ("spent", "doubted"),
}
"""Amounts that a kind does not have."""


@dataclass(frozen=True, slots=True)
class Line:
    """A limit to be shown. `name`: of the key it is on. `of`: of a limit on each, only this scope key's row.

    `usage` or, for a limit on each, `each`: once it was read.
    """

    limit: KeyLimit
    name: str | None
    of: str | None = None
    usage: LimitUsage | None = None
    each: EachUsage | None = None

    @property
    def subject(self) -> str:
        """What the limit is on."""
        return subject_text(self.limit.scope, self.limit.scope_id)


def used_lines(redis: SyncClient, lines: Sequence[Line], *, rows_max: int | None) -> list[Line]:
    """The same lines with what is used; at most `rows_max` rows of a limit on each. redis.RedisError."""
    single = [(line.limit, line.of or line.limit.scope_id) for line in lines if _has_one_row(line)]
    usages = iter(read_rows(redis, ACCOUNT, single))
    return [
        replace(line, usage=next(usages))
        if _has_one_row(line)
        else replace(line, each=read_each(redis, ACCOUNT, line.limit, rows_max=rows_max))
        for line in lines
    ]


def lines_of(line: Line) -> list[tuple[str, ...]]:
    """The rows of a table: one, and one more for each thing of a limit on each."""
    limit = line.limit
    if line.of is not None:
        text = subject_text(limit.scope, line.of)
        return [_row(limit, text, f"of {line.subject}", line.usage, _amounts(limit, line.usage))]
    if line.each is None:
        name = line.name or ("" if names_one(limit) else "each")
        return [_row(limit, line.subject, name, line.usage, _amounts(limit, line.usage))]
    each = line.each
    value = each.value if each.published else limit.value
    head = _row(limit, line.subject, f"each, {each.total} in use", each, (value, None, None, None, None), "")
    return [
        head,
        *(
            _row(limit, subject_text(limit.scope, row.key), f"of {line.subject}", row, _amounts(limit, row))
            for row in each.rows
        ),
    ]


def document_of(line: Line) -> dict[str, Any]:
    """The limit as JSON; null where nothing is known. Moments are ms since the epoch."""
    limit = line.limit
    known = line.usage or line.each
    document: dict[str, Any] = {"id": limit.id, "subject": line.subject, "scope": limit.scope}
    if limit.scope == "key" and names_one(limit):
        document |= {"key_id": limit.scope_id, "key_name": line.name}
    document |= {
        "kind": limit.kind,
        "window": limit.window,
        "window_id": known.window.id if known else None,
        "time_zone": limit.time_zone,
        "anchor": limit.anchor,
        "enforcement": limit.enforcement,
        "thresholds": list(limit.thresholds),
        "created_ms": limit.created_ms,
    }
    if names_one(limit):
        return document | _amounts_document(limit, _amounts(limit, line.usage))
    document |= amount_fields(limit.kind, "value", known.value if known and known.published else limit.value)
    rows = line.each.rows if line.each else (line.usage,) if line.usage else ()
    document["rows"] = [
        {"subject": subject_text(limit.scope, row.key)} | _amounts_document(limit, _amounts(limit, row))
        for row in rows
    ]
    document["rows_total"] = line.each.total if line.each else None
    return document


def _has_one_row(line: Line) -> bool:
    return line.of is not None or names_one(line.limit)


def _row(
    limit: KeyLimit,
    subject: str,
    name: str,
    known: LimitUsage | EachUsage | None,
    amounts: _Amounts,
    unknown: str = "?",
) -> tuple[str, ...]:
    cells = [
        ""
        if column in _NOT_COUNTED.get(limit.kind, ())
        else unknown
        if amount is None
        else amount_text(limit.kind, amount)
        for column, amount in zip(AMOUNTS, amounts, strict=True)
    ]
    window = _window_text(limit, known.window if known else None)
    return (subject, name, kind_word(limit.kind), window, limit.enforcement, *cells)


def _window_text(limit: KeyLimit, window: Window | None) -> str:
    """`month 2026-11`; windows without an end, and such as nobody could ask about, by their kind alone."""
    if window is None or limit.window in ("lifetime", "minute", "now"):
        return limit.window
    return f"{limit.window} {window.id}"


def _amounts(limit: KeyLimit, usage: LimitUsage | None) -> _Amounts:
    """Value, spent, reserved, doubted, remaining; None where nothing is known."""
    if usage is None or not usage.published:
        return (limit.value, None, None, None, None)
    return (usage.value, usage.spent, usage.reserved, usage.doubted, usage.remaining)


def _amounts_document(limit: KeyLimit, amounts: _Amounts) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, amount in zip(AMOUNTS, amounts, strict=True):
        if name not in _NOT_COUNTED.get(limit.kind, ()):
            document |= amount_fields(limit.kind, name, amount)
    return document
