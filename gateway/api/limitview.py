"""Limits as the API tells them, with what the ledger has counted on them now. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from accounts.key import KeyLimit
from budgets.limit import EACH, PART_SEPARATOR, RATE_KINDS, names_one
from budgets.usage import EachUsage, LimitUsage
from budgets.window import FOREVER_MS, Window
from gateway.api.amounts import Amount, AmountNano, amount
from gateway.api.fields import MomentText, Told, moment_text

UNKNOWN_TO_LEDGER = "not_in_ledger"
EACH_HAS_ITS_OWN = "each_has_its_own"


class Subject(Told):
    """What a limit is on. `*` stands for each: every customer, say, has a limit of its own."""

    scope: str
    key_id: str | None
    customer_id: str | None
    workspace: str | None
    feature_key: str | None
    plan: str | None
    trace_id: str | None
    route: str | None


class Used(Told):
    """What is used of a limit in its present window. Amounts are dollars where money is limited."""

    spent: Amount | None = Field(description="Settled; null for rates and for requests at once")
    spent_nano: AmountNano | None
    reserved: Amount | None = Field(description="Held for what runs now")
    reserved_nano: AmountNano | None
    doubted: Amount | None = Field(description="Held until it is known what it cost")
    doubted_nano: AmountNano | None
    used: Amount | None = Field(description="All that is not free")
    used_nano: AmountNano | None
    remaining: Amount | None = Field(description="Free now; below 0 after an overrun or a lowered limit")
    remaining_nano: AmountNano | None


class EachRow(Subject, Used):
    """What one of those has used on whom a limit on each is."""


class LimitTold(Subject, Used):
    """A limit, its value in force, and what is used of it."""

    id: str
    kind: str = Field(description="money, or what is counted")
    window: str
    time_zone: str
    anchor: int = Field(description="First day of months (1 to 31) or weeks (1, Monday, to 7)")
    enforcement: str = Field(description="hard refuses; soft and shadow only count")
    thresholds: list[int] = Field(description="Percents of the value at which a notice is given")
    value: Amount
    value_nano: AmountNano | None
    created_at: MomentText
    window_starts_at: MomentText | None
    window_ends_at: MomentText | None
    used_reason: str | None = Field(description="Why nothing is told of its use; null where it is")


class LimitDetail(LimitTold):
    """A limit; where it is on each of something, also those with the least left."""

    rows: list[EachRow]
    rows_total: int | None = Field(description="How many have used it now; null where it is on one")


def subject_of(scope: str, scope_id: str) -> dict[str, str | None]:
    """The fields of `Subject`."""
    first, _, second = scope_id.partition(PART_SEPARATOR)
    second = second or EACH
    named: dict[str, dict[str, str]] = {
        "account": {},
        "key": {"key_id": first},
        "customer": {"customer_id": first},
        "workspace": {"customer_id": first, "workspace": second},
        "feature": {"feature_key": first},
        "customer_feature": {"customer_id": first, "feature_key": second},
        "plan": {"plan": first},
        "trace": {"trace_id": first},
        "route": {"route": first},
    }
    empty: dict[str, str | None] = dict.fromkeys(Subject.model_fields)
    return empty | {"scope": scope} | named[scope]


def limit_told(limit: KeyLimit, usage: LimitUsage | None) -> LimitTold:
    """A limit with what is used of it; None for a limit on each."""
    return LimitTold(**_limit(limit, usage))


def limit_detail(limit: KeyLimit, usage: LimitUsage | None, each: EachUsage | None) -> LimitDetail:
    """A limit with its rows."""
    fields = _limit(limit, usage)
    if each is not None and each.published:
        fields |= amount(limit.kind, "value", each.value) | _window(each.window)
    rows = each.rows if each is not None else ()
    return LimitDetail(
        **fields,
        rows=[EachRow(**subject_of(limit.scope, row.key), **used_of(row)) for row in rows],
        rows_total=None if each is None else each.total,
    )


def used_of(usage: LimitUsage | None) -> dict[str, Any]:
    """The fields of `Used`; null where the ledger does not know."""
    figures: dict[str, int | None] = dict.fromkeys(("spent", "reserved", "doubted", "used", "remaining"))
    if usage is None:
        return _both("", figures)
    if usage.published:
        kind = usage.limit.kind
        figures["remaining"] = usage.remaining
        figures["used"] = usage.value - usage.remaining
        if kind not in RATE_KINDS:
            figures["reserved"] = usage.reserved
            if kind != "concurrency":
                figures |= {"spent": usage.spent, "doubted": usage.doubted}
    return _both(usage.limit.kind, figures)


def _both(kind: str, figures: dict[str, int | None]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, found in figures.items():
        told |= amount(kind, name, found)
    return told


def _limit(limit: KeyLimit, usage: LimitUsage | None) -> dict[str, Any]:
    known = usage is not None and usage.published
    value = usage.value if usage is not None and known else limit.value
    reason = None if known else UNKNOWN_TO_LEDGER if names_one(limit) else EACH_HAS_ITS_OWN
    return {
        "id": limit.id,
        **subject_of(limit.scope, limit.scope_id),
        "kind": limit.kind,
        "window": limit.window,
        "time_zone": limit.time_zone,
        "anchor": limit.anchor,
        "enforcement": limit.enforcement,
        "thresholds": list(limit.thresholds),
        **amount(limit.kind, "value", value),
        "created_at": moment_text(limit.created_ms),
        **_window(usage.window if usage is not None else None),
        **used_of(usage),
        "used_reason": reason,
    }


def _window(window: Window | None) -> dict[str, str | None]:
    if window is None or window.end_ms >= FOREVER_MS:
        return {"window_starts_at": None, "window_ends_at": None}
    return {
        "window_starts_at": moment_text(window.start_ms),
        "window_ends_at": moment_text(window.end_ms),
    }
