"""Usability: what `open` would answer, told from what limits have counted, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from accounts.plan import PlanLimit
from budgets.limit import PART_SEPARATOR, RATE_KINDS
from budgets.limitusage import LimitUsage
from budgets.window import FOREVER_MS
from metering.money import nano_to_usd

LEAST = 1
"""Without a wish this much must be free: one request, one token, a billionth of a dollar."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request would be let in; if not, the limit that says so.

    reason: limit_reached, limit_held (only others' holds are in the way) or rate_reached.
    """

    allowed: bool
    reason: str | None = None
    usage: LimitUsage | None = None


FREE = Verdict(True)


def judge(usages: Sequence[LimitUsage], requested: Mapping[str, int]) -> Verdict:
    """The verdict on a request that would take so much of each kind (nano-USD of money).

    As `open`: what is used up is told before what others hold, and that before a rate.
    """
    held = late = None
    for usage in usages:
        need = requested.get(usage.limit.kind, LEAST)
        if usage.limit.enforcement != "hard" or need <= usage.remaining:
            continue
        if usage.limit.kind in RATE_KINDS:
            late = late or Verdict(False, "rate_reached", usage)
        elif need > usage.value - usage.spent - usage.doubted:
            return Verdict(False, "limit_reached", usage)
        else:
            held = held or Verdict(False, "limit_held", usage)
    return held or late or FREE


def tightest(usages: Sequence[LimitUsage]) -> LimitUsage | None:
    """The one limit by which a feature is best described: hard before soft, of the feature before others, of
    its plan before others, and then that of which the smallest part is left."""
    counted = [usage for usage in usages if usage.limit.kind not in (*RATE_KINDS, "concurrency")]
    return min(counted, key=_rank, default=None)


def _rank(usage: LimitUsage) -> tuple[bool, bool, bool, float]:
    limit = usage.limit
    left = usage.remaining / usage.value if usage.value else 0.0
    return (
        limit.enforcement != "hard",
        limit.scope != "customer_feature",
        not isinstance(limit, PlanLimit),
        left,
    )


def figures(usage: LimitUsage | None) -> dict[str, Any]:
    """limit, used, remaining and resets_at of a limit; null where there is none, or it is not known. Money is
    told in dollars and, as *_nano, in nano-USD."""
    if usage is None:
        names = ("limit", "used", "remaining")
        return {"unit": None, **dict.fromkeys(names), **_nano(dict.fromkeys(names)), "resets_at": None}
    used = usage.used if usage.used is not None else usage.spent + usage.doubted
    shown = {"limit": usage.value, "used": used, "remaining": max(0, usage.remaining)}
    resets_at = moment_text(usage.window.end_ms)
    if usage.limit.kind != "money":
        return {"unit": usage.limit.kind, **shown, **_nano(dict.fromkeys(shown)), "resets_at": resets_at}
    dollars = {name: Decimal(nano_to_usd(amount)) for name, amount in shown.items()}
    return {"unit": "usd", **dollars, **_nano(shown), "resets_at": resets_at}


def _nano(amounts: Mapping[str, int | None]) -> dict[str, str | None]:
    return {f"{name}_nano": None if nano is None else str(nano) for name, nano in amounts.items()}


def limit_document(usage: LimitUsage) -> dict[str, Any]:
    """One limit in full."""
    limit = usage.limit
    return {
        "id": limit.id,
        "of": f"plan {limit.plan}" if isinstance(limit, PlanLimit) else "limit",
        "scope": limit.scope,
        "scope_id": limit.scope_id.replace(PART_SEPARATOR, "/"),
        "kind": limit.kind,
        "window": limit.window,
        "enforcement": limit.enforcement,
        "accumulates": limit.carry is not None,
        **figures(usage),
        "period_start": moment_text(usage.window.start_ms or FOREVER_MS),
    }


def moment_text(moment_ms: int) -> str | None:
    """`2026-12-01T00:00:00Z`; None for never."""
    if moment_ms >= FOREVER_MS:
        return None
    return f"{datetime.fromtimestamp(moment_ms / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
