"""What a customer has used of its plan, as the ledger counts it now."""

from __future__ import annotations

from typing import Any

from accounts.keyring import ACCOUNT
from accounts.subscription import Subscription
from budgets.limit import Attribution, applies, scope_key
from budgets.usage import LimitUsage, read_rows
from gateway.cli.control import Control
from gateway.cli.terms import amount_fields


def usages_of(control: Control, customer: str, present: Subscription) -> list[LimitUsage]:
    """What the customer has used of every limit of its plan; empty where the ledger cannot be asked."""
    if control.redis is None:
        return []
    plan = control.planbook.plan(present.plan, present.version)
    wanted = []
    for limit, rule in zip(present.terms(plan).limits, plan.rules, strict=True):
        of = Attribution(ACCOUNT, "", customer, feature=rule.feature)
        key = scope_key(limit.scope, of)
        if key is not None and applies(limit, of):
            wanted.append((limit, key))
    return read_rows(control.redis, ACCOUNT, wanted)


def usage_document(usage: LimitUsage) -> dict[str, Any]:
    limit = usage.limit
    document = {"limit": getattr(limit, "rule", limit.id), "enforcement": limit.enforcement}
    for name, amount in zip(("value", "used", "remaining"), amounts(usage), strict=True):
        document |= amount_fields(limit.kind, name, amount)
    return document


def amounts(usage: LimitUsage) -> tuple[int | None, int, int | None]:
    """Value, used, what is left; None where the value in force is not known."""
    used = usage.used if usage.used is not None else usage.spent
    return (usage.value, used, max(0, usage.remaining)) if usage.published else (None, used, None)
