"""Key terms: what a key can be, and what a child must not have that its parent has not. Pure.

A child is a key whose id begins with its parent's. All that it may do, its parent may; whatever it spends
also counts on its parent's limits; and it ends with its parent.
"""

from __future__ import annotations

from collections.abc import Sequence

from accounts.key import ASSERTIONS, ON_LEDGER_DOWN, KeyRecord
from accounts.naming import check_name, check_required, check_sources
from accounts.scope import allows, check_scopes
from metering.ids import CHILD

PATTERNS_MAX = 64
PATTERN_CHARS_MAX = 256
DEPTH_MAX = 4
"""A key, its child, the child's child, and so on: so many at most."""
_FREEDOM = {"closed": 0, "allowance": 1, "open": 2}


def check_key(record: KeyRecord) -> None:
    """Raise ValueError, naming what is wrong, for a key that cannot be."""
    check_scopes(record.scopes)
    check_sources(record.sources)
    check_required(record.required)
    if record.assertion not in ASSERTIONS:
        raise ValueError(f"assertion {record.assertion!r} is unknown; known: {', '.join(ASSERTIONS)}")
    if (record.customers or record.features) and record.assertion != "listed":
        raise ValueError(f"lists of customers or features need the assertion listed, not {record.assertion}")
    for noun, names in (("customer", record.customers), ("feature", record.features)):
        for name in names:
            check_name(noun, name)
    for noun, named in (
        ("customer", record.customer),
        ("feature", record.feature),
        ("customer", record.default_customer),
        ("feature", record.default_feature),
    ):
        if named is not None:
            check_name(noun, named)
    for noun, patterns in (("routes", record.routes), ("models", record.models)):
        _check_patterns(noun, patterns)
    if record.id.count(CHILD) >= DEPTH_MAX:
        raise ValueError(f"keys are at most {DEPTH_MAX} deep: a child of this one would be one too many")
    _check_ledger_down(record)


def _check_patterns(noun: str, patterns: Sequence[str]) -> None:
    if len(patterns) > PATTERNS_MAX:
        raise ValueError(f"{noun}: at most {PATTERNS_MAX} names, not {len(patterns)}")
    for pattern in patterns:
        if not pattern or len(pattern) > PATTERN_CHARS_MAX or "*" in pattern[:-1]:
            raise ValueError(
                f"{noun}: {pattern!r} is no name; write a name, or the beginning of one with a * at its end"
            )


def _check_ledger_down(record: KeyRecord) -> None:
    choice = record.on_ledger_down
    if choice not in ON_LEDGER_DOWN:
        raise ValueError(
            f"{choice!r} is no way to go on without the ledger; known: {', '.join(ON_LEDGER_DOWN)}"
        )
    if choice == "allowance" and record.allowance_nano < 1:
        raise ValueError("the choice allowance needs an amount that may be spent while the ledger is away")
    if choice != "allowance" and record.allowance_nano:
        named = choice if record.ledger_down_chosen else "the default"
        raise ValueError(f"an allowance goes with the choice allowance, not with {named}")


def check_child(parent: KeyRecord, child: KeyRecord) -> None:
    """Raise ValueError, naming everything, where the child would be above its parent."""
    faults = above(parent, child)
    if faults:
        raise ValueError(f"key {child.name!r} would be above its parent {parent.id}: {'; '.join(faults)}")


def above(parent: KeyRecord, child: KeyRecord) -> list[str]:
    """What the child has that its parent has not, a sentence each."""
    faults = [f"scope {scope}" for scope in child.scopes if not allows(parent.scopes, scope)]
    if parent.expires_ms is not None and (child.expires_ms is None or child.expires_ms > parent.expires_ms):
        faults.append("it would expire later")
    faults += _named_above("customer", parent, child)
    faults += _named_above("feature", parent, child)
    for noun, allowed, wanted in (
        ("routes", parent.routes, child.routes),
        ("models", parent.models, child.models),
    ):
        if allowed and not wanted:
            faults.append(f"all {noun}")
        elif allowed:
            faults += [f"{noun} {each}" for each in wanted if not any(_within(each, one) for one in allowed)]
    faults += [f"source {each}" for each in child.sources if each not in parent.sources]
    dropped = {each.lower() for each in parent.required} - {each.lower() for each in child.required}
    faults += [f"without the required header {each}" for each in sorted(dropped)]
    if (_FREEDOM[child.on_ledger_down], child.allowance_nano) > (
        _FREEDOM[parent.on_ledger_down],
        parent.allowance_nano,
    ):
        faults.append(f"{child.on_ledger_down} while the ledger is away")
    return faults


def _named_above(noun: str, parent: KeyRecord, child: KeyRecord) -> list[str]:
    """The same of customers or features: the child may speak for some of those that its parent may."""
    bound, wanted = getattr(parent, noun), getattr(child, noun)
    if bound is not None:
        return [] if wanted == bound else [f"not bound to the {noun} {bound}"]
    if parent.assertion == "any":
        return []
    allowed = {*getattr(parent, f"{noun}s"), getattr(parent, f"default_{noun}")}
    named = {wanted, *getattr(child, f"{noun}s"), getattr(child, f"default_{noun}")} - {None}
    faults = [f"{noun} {name}" for name in sorted(named - allowed)]
    if wanted is None and child.assertion == "any":
        faults.append(f"any {noun}")
    return faults


def _within(pattern: str, allowed: str) -> bool:
    """Whether everything that fits the pattern fits what is allowed."""
    if allowed.endswith("*"):
        return pattern.removesuffix("*").startswith(allowed[:-1])
    return pattern == allowed
