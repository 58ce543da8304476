"""A key to be made: what is asked of it as the keyring takes it, and whether its maker may make it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accounts.key import KeyRecord
from accounts.keyterms import above
from accounts.publishing import wall_ms
from accounts.scope import ADMIN, DEFAULT_SCOPES, allows
from accounts.tables import new_limit
from accounts.terms import NewLimit
from budgets.limit import EACH, check_terms
from gateway.api.amounts import CENT_NANO, read_amount
from gateway.api.keymodels import NewKey
from gateway.errors import Forbidden
from metering.money import usd_to_nano


def key_options(asked: NewKey, own: KeyRecord) -> dict[str, Any]:
    """The key as `Keyring.create` takes it. ValueError says what is wrong."""
    expires_ms = asked.expires_at
    now_ms = wall_ms()
    if asked.expires_in_seconds is not None:
        expires_ms = now_ms + asked.expires_in_seconds * 1_000
    if expires_ms is not None and expires_ms <= now_ms:
        raise ValueError("expires_at lies in the past")
    scopes = asked.scopes
    if scopes is None:
        scopes = [each for each in DEFAULT_SCOPES if allows(own.scopes, each)]
    if not scopes:
        raise ValueError("scopes: a key without any could do nothing")
    return {
        "expires_ms": expires_ms,
        "scopes": list(dict.fromkeys(scopes)),
        "customer": asked.customer_id,
        "feature": asked.feature_key,
        "assertion": asked.assertion,
        "customers": asked.customers,
        "features": asked.features,
        "default_customer": asked.default_customer,
        "default_feature": asked.default_feature,
        "routes": asked.routes,
        "models": asked.models,
        "sources": asked.sources,
        "required": asked.required_headers,
        "on_ledger_down": asked.on_ledger_down,
        "allowance_nano": 0 if asked.allowance is None else usd_to_nano(asked.allowance),
    }


def key_limits(asked: NewKey) -> list[NewLimit]:
    """The limits that it is made with, its budget among them. ValueError says what is wrong."""
    limits = [
        NewLimit(
            window=each.window,
            value=read_amount(each.kind, each.value, each.value_nano, "value"),
            enforcement=each.enforcement,
            kind=each.kind,
            time_zone=each.time_zone,
            anchor=each.anchor,
            thresholds=tuple(each.thresholds),
        )
        for each in asked.limits
    ]
    if asked.budget_cents is not None:
        limits.append(NewLimit(asked.budget_period or "lifetime", asked.budget_cents * CENT_NANO))
    for wish in limits:
        check_terms(new_limit("key", EACH, wish, 0))
    return limits


def check_independent(own: KeyRecord, options: dict[str, Any]) -> None:
    """Forbidden where the new key would be above the one that makes it, though it is no child."""
    wanted: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    bound = bool(wanted["customer"] or wanted["feature"])
    listed = bool(wanted["customers"] or wanted["features"])
    wanted["assertion"] = wanted["assertion"] or ("none" if bound and not listed else "listed")
    wanted["on_ledger_down"] = wanted["on_ledger_down"] or "closed"
    faults = above(own, replace(own, **wanted))
    if ADMIN not in own.scopes or own.parent_id is not None:
        faults.append("no child")
    if own.limits:
        faults.append("without the limits of this key")
    if faults:
        raise Forbidden(
            f"An independent key would be above the one that makes it: {'; '.join(faults)}.",
            code="above_its_maker",
        )
