"""Rules of plans and what a customer has otherwise, as people read and write them."""

from __future__ import annotations

from typing import Any

from accounts.plan import EACH, OWN_DAY, PlanRule, PlanVersion
from budgets.limit import ENFORCEMENTS
from gateway.cli.price_lines import price_document
from gateway.cli.terms import amount_fields, amount_text, kind_of, kind_word, read_value

FORM = "write FEATURE/KIND/WINDOW=VALUE, such as search/requests/month=1000 or */money/month=25.00"


def read_rule(text: str) -> PlanRule:
    """`search/requests/month=1000:soft`, `*/tokens/day=100:carry=50`. ValueError says what is wrong."""
    name, equals, rest = text.partition("=")
    feature, kind, window = read_rule_name(name) if equals else (None, "", "")
    if not equals:
        raise ValueError(f"{text!r}: {FORM}")
    value, *marks = rest.split(":")
    enforcement, mode, carry_max = "hard", "reset", 0
    for mark in marks:
        if mark in ENFORCEMENTS:
            enforcement = mark
        elif mark.startswith("carry="):
            mode, carry_max = "accumulate", read_value(kind, mark.removeprefix("carry="))
        else:
            raise ValueError(f"{text!r}: {mark!r} is unknown; write soft, shadow or carry=AMOUNT")
    return PlanRule(kind, window, read_value(kind, value), feature, enforcement, mode, carry_max)


def read_rule_name(name: str) -> tuple[str | None, str, str]:
    """(feature or None, kind, window) of `search/requests/month`. ValueError says what is wrong."""
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{name!r}: {FORM}")
    feature, kind, window = parts
    return (None if feature == EACH else feature), kind_of(kind), window


def read_label(text: str) -> tuple[str, int | None]:
    """A plan and its version in `pro@2`, the plan and None in `pro`. ValueError says what is wrong."""
    plan, _, version = text.partition("@")
    return plan, read_version(version) if version else None


def read_version(text: str) -> int:
    """A version's number. ValueError says what is wrong."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no version; write a number, such as 2")
    return int(text)


def others_word(plan: PlanVersion) -> str:
    """What holds for features that the plan does not name."""
    return "allow" if plan.others else "deny"


def rule_text(rule: PlanRule) -> str:
    """`search: 1000 requests a month, hard`."""
    amount = amount_text(rule.kind, rule.value)
    what = f"${amount}" if rule.kind == "money" else f"{amount} {kind_word(rule.kind)}"
    window = (
        ""
        if rule.window in ("minute", "now")
        else f" in {rule.window}"
        if rule.window == "lifetime"
        else f" a {rule.window}"
    )
    carried = f", carries over up to {amount_text(rule.kind, rule.carry_max)}" if rule.carry_max else ""
    return f"{rule.feature or 'all features'}: {what}{window}, {rule.enforcement}{carried}"


def plan_document(plan: PlanVersion) -> dict[str, Any]:
    """A plan's version as a JSON document."""
    return {
        "plan": plan.plan,
        "version": plan.version,
        "name": plan.name,
        "features": list(plan.features),
        "other_features": others_word(plan),
        "time_zone": plan.time_zone,
        "anchor": "subscription" if plan.anchor == OWN_DAY else plan.anchor,
        "price": None if plan.price is None else price_document(plan.price),
        "limits": [
            {
                "feature": rule.feature,
                "kind": rule.kind,
                "window": rule.window,
                "enforcement": rule.enforcement,
                "mode": rule.mode,
                **amount_fields(rule.kind, "value", rule.value),
                **amount_fields(rule.kind, "carry_max", rule.carry_max),
                "thresholds": list(rule.thresholds),
            }
            for rule in plan.rules
        ],
    }
