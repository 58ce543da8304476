"""Keys as the API tells them: everything but their secrets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from accounts.key import PREFIX, KeyLimit, KeyRecord
from accounts.keyring import FormerSecret
from accounts.pages import RecordedKey
from budgets.usage import LimitUsage
from gateway.api.amounts import CENT_NANO, MONEY, Amount, AmountNano, amount
from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text, money

PERIODS = {"day": "day", "week": "week", "month": "month", "lifetime": None}
"""A limit's window as `budget_period`; null is for the key's whole life."""


class KeyLimitTold(Told):
    """A limit of a key."""

    id: str
    kind: str
    window: str
    enforcement: str
    value: Amount
    value_nano: AmountNano | None


class FormerSecretTold(Told):
    """A secret that a rotation replaced and that works beside the new one."""

    key_prefix: str
    ends_at: MomentText


class KeyTold(Told):
    """A key, never its secret."""

    id: str
    name: str
    parent_id: str | None = Field(description="The key that it is a child of, and ends with")
    key_prefix: str = Field(description="By which people know it: `obs_...` and the last four characters")
    full_key: None = Field(description="Kept nowhere: shown once, when the key is made or rotated")
    status: str = Field(description="active or revoked")
    created_at: MomentText
    last_used_at: MomentText | None = Field(description="The hour in which its last recorded request began")
    expires_at: MomentText | None
    revoked_at: MomentText | None
    scopes: list[str]
    customer_id: str | None = Field(description="Whom it is bound to, whatever a client says")
    feature_key: str | None
    assertion: str = Field(description="Whom a client may name: none, listed, or any")
    customers: list[str]
    features: list[str]
    default_customer: str | None
    default_feature: str | None
    routes: list[str] = Field(description="What it may ask for; empty: everything")
    models: list[str] = Field(description="Which models may serve it; empty: all")
    sources: list[str]
    required_headers: list[str]
    on_ledger_down: str
    allowance: Usd | None
    allowance_nano: Nano | None
    limits: list[KeyLimitTold]
    inherited_limits: list[KeyLimitTold] = Field(description="Of the keys above it; they count for it, too")
    budget_cents: int | None = Field(description="Of its own tightest hard limit on money; whole cents, down")
    budget_period: str | None
    former_secrets: list[FormerSecretTold]


class KeyMade(KeyTold):
    """A key that was just made or rotated, with its secret, which is told only here."""

    key: str
    prefix: str


class KeyBudget(Told):
    """What a key may spend, what it has, and until when. Cents are whole ones, rounded down."""

    auth_type: str = "sdk_key"
    id: str
    name: str
    scopes: list[str]
    customer_id: str | None
    feature_key: str | None
    expires_at: MomentText | None
    budget_cents: int | None
    budget_used_cents: int | None
    budget_remaining_cents: int | None
    budget_period: str | None = Field(description="day, week or month; null is for its whole life")
    budget: Usd | None
    budget_nano: Nano | None
    budget_used: Usd | None
    budget_used_nano: Nano | None
    budget_remaining: Usd | None
    budget_remaining_nano: Nano | None
    budget_resets_at: MomentText | None


def shown_secret(last: str) -> str:
    """How people know a secret."""
    return f"{PREFIX}...{last}"


def key_told(found: RecordedKey, last_used_ms: int | None, former: Sequence[FormerSecret]) -> KeyTold:
    """A key as lists show it."""
    return KeyTold(**_fields(found, last_used_ms, former))


def key_made(found: RecordedKey, secret: str, former: Sequence[FormerSecret]) -> KeyMade:
    """A key with its new secret."""
    prefix = shown_secret(found.record.display)
    return KeyMade(**_fields(found, None, former), key=secret, prefix=prefix)


def key_budget(record: KeyRecord, usages: Sequence[tuple[LimitUsage, int | None]]) -> KeyBudget:
    """Of the limits on money that count for the key, the one of which least is left; hard before soft.

    usages: each with the end of its window (ms), None where it has none.
    """
    known = [each for each in usages if each[0].published]
    tightest = min(
        known, key=lambda each: (each[0].limit.enforcement != "hard", each[0].remaining), default=None
    )
    value = used = left = resets = period = None
    if tightest is not None:
        usage, resets = tightest
        value, left = usage.value, max(0, usage.remaining)
        used = usage.value - usage.remaining
        period = PERIODS[usage.limit.window]
    return KeyBudget(
        id=record.id,
        name=record.name,
        scopes=list(record.scopes),
        customer_id=record.customer,
        feature_key=record.feature,
        expires_at=moment_text(record.expires_ms),
        budget_cents=_cents(value),
        budget_used_cents=_cents(used),
        budget_remaining_cents=_cents(left),
        budget_period=period,
        **money(budget=value, budget_used=used, budget_remaining=left),
        budget_resets_at=moment_text(resets),
    )


def _fields(found: RecordedKey, last_used_ms: int | None, former: Sequence[FormerSecret]) -> dict[str, Any]:
    record = found.record
    hard = [limit for limit in record.own_limits if limit.kind == MONEY and limit.enforcement == "hard"]
    tightest = min(hard, key=lambda limit: limit.value, default=None)
    return {
        "id": record.id,
        "name": record.name,
        "parent_id": record.parent_id,
        "key_prefix": shown_secret(record.display),
        "full_key": None,
        "status": record.status,
        "created_at": moment_text(found.created_ms),
        "last_used_at": moment_text(last_used_ms),
        "expires_at": moment_text(record.expires_ms),
        "revoked_at": moment_text(found.revoked_ms),
        "scopes": list(record.scopes),
        "customer_id": record.customer,
        "feature_key": record.feature,
        "assertion": record.assertion,
        "customers": list(record.customers),
        "features": list(record.features),
        "default_customer": record.default_customer,
        "default_feature": record.default_feature,
        "routes": list(record.routes),
        "models": list(record.models),
        "sources": list(record.sources),
        "required_headers": list(record.required),
        "on_ledger_down": record.on_ledger_down,
        **money(allowance=record.allowance_nano or None),
        "limits": [_limit(limit) for limit in record.own_limits],
        "inherited_limits": [_limit(limit) for limit in record.limits if limit.scope_id != record.id],
        "budget_cents": None if tightest is None else _cents(tightest.value),
        "budget_period": None if tightest is None else PERIODS[tightest.window],
        "former_secrets": [
            FormerSecretTold(key_prefix=shown_secret(each.display), ends_at=str(moment_text(each.ends_ms)))
            for each in former
        ],
    }


def _limit(limit: KeyLimit) -> KeyLimitTold:
    return KeyLimitTold(
        id=limit.id,
        kind=limit.kind,
        window=limit.window,
        enforcement=limit.enforcement,
        **amount(limit.kind, "value", limit.value),
    )


def _cents(nano: int | None) -> int | None:
    return None if nano is None else nano // CENT_NANO
