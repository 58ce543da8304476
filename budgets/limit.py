"""What a limit is: on whom it counts, what it counts, and where its counters lie. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from budgets.window import CALENDAR_WINDOWS, CONCURRENCY_WINDOW, RATE_WINDOW, check_window
from metering.ids import is_below

AMOUNT_MAX = 2**53 - 1
"""Lua compares doubles: every amount, counter and limit stays at or below this (about $9.0 million)."""
RATE_MAX = 60_000_000
"""The highest rate: one a microsecond, the unit in which rates are kept."""
LIMITS_MAX = 16
"""How many limits one request may have to satisfy."""
THRESHOLDS_MAX = 8

Enforcement = Literal["hard", "soft", "shadow"]
ENFORCEMENTS: tuple[Enforcement, ...] = ("hard", "soft", "shadow")

SCOPES = (
    "account",
    "key",
    "customer",
    "workspace",
    "feature",
    "customer_feature",
    "plan",
    "trace",
    "route",
)
EACH = "*"
"""As a scope id: a limit of its own for each thing of the scope."""
PART_SEPARATOR = "\x1f"
"""Between the parts of a composed scope key; no id can contain it."""

COUNT_KINDS = ("money", "requests", "tokens", "input_tokens", "output_tokens")
RATE_KINDS = ("requests_per_minute", "tokens_per_minute")
KINDS = (*COUNT_KINDS, *RATE_KINDS, "concurrency")


class LimitTerms(Protocol):
    """What the ledger reads of a limit, whoever keeps the record of it.

    `id` names its counters, `value_id` its value in force: the same, but for limits of plans, where customers
    of many plans count on rows of one name, each by the value of its own plan. `carry`: how much that was not
    used of a former window may be added to the value, and for whom (budgets.accrual); None: nothing.
    """

    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def scope_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def window(self) -> str: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def anchor(self) -> int: ...
    @property
    def enforcement(self) -> str: ...
    @property
    def value(self) -> int: ...
    @property
    def thresholds(self) -> tuple[int, ...]: ...
    @property
    def version(self) -> int: ...
    @property
    def created_ms(self) -> int: ...
    @property
    def value_id(self) -> str: ...
    @property
    def carry(self) -> tuple[int, str] | None: ...


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on money (nano-USD) or on a count, for a scope and window.

    hard: refuses what would go past it. soft and shadow count but never refuse; soft is meant to be told
    to people, shadow only to be looked at before it is made hard. thresholds: percents of the value at
    which a notice is given, once in each window.
    """

    id: str
    scope: str
    scope_id: str
    window: str
    kind: str
    enforcement: str
    value: int
    version: int = 1
    time_zone: str = "UTC"
    anchor: int = 1
    thresholds: tuple[int, ...] = ()
    created_ms: int = 0

    def __post_init__(self) -> None:
        check_terms(self)

    @property
    def value_id(self) -> str:
        """How its value in force is called: as the limit is."""
        return self.id

    @property
    def carry(self) -> None:
        """What is not used of a window is gone with it."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom one request counts for; None where it names nothing of the kind.

    `label`: under which version of the plan it runs, as its event tells it (`pro@3`).
    """

    account_id: str
    key_id: str
    customer: str | None = None
    workspace: str | None = None
    feature: str | None = None
    plan: str | None = None
    trace_id: str | None = None
    route: str | None = None
    label: str | None = None


def scope_key(scope: str, of: Attribution) -> str | None:
    """What of this scope the request counts for; None when the scope does not concern it."""
    if scope == "account":
        return of.account_id
    if scope == "key":
        return of.key_id
    if scope == "workspace":
        return _both(of.customer, of.workspace)
    if scope == "customer_feature":
        return _both(of.customer, of.feature)
    if scope == "trace":
        return of.trace_id
    found: str | None = getattr(of, scope)
    return found


def _both(first: str | None, second: str | None) -> str | None:
    return None if first is None or second is None else f"{first}{PART_SEPARATOR}{second}"


def names_one(limit: LimitTerms) -> bool:
    """True when the limit is on one thing, False when each thing of its scope has a limit of its own."""
    return EACH not in limit.scope_id.split(PART_SEPARATOR)


def applies(limit: LimitTerms, of: Attribution) -> bool:
    """Whether a request of this attribution counts on the limit."""
    key = scope_key(limit.scope, of)
    if key is None:
        return False
    if limit.scope_id in (key, EACH):
        return True
    if limit.scope == "key":  # a child's requests count for its parents, too
        return is_below(key, limit.scope_id)
    wanted, parts = limit.scope_id.split(PART_SEPARATOR), key.split(PART_SEPARATOR)
    return len(wanted) == len(parts) > 1 and all(
        want in (part, EACH) for want, part in zip(wanted, parts, strict=True)
    )


def row_field(limit: LimitTerms, key: str) -> str:
    """The name of the limit's row for this scope key: one row, or one for each key."""
    return limit.id if names_one(limit) else f"{limit.id}:{key}"


def check_terms(limit: LimitTerms) -> None:
    """Raise ValueError, naming what is wrong, when the ledger could not keep this limit exactly."""
    if limit.scope not in SCOPES:
        raise ValueError(f"scope {limit.scope!r} is unknown; known: {', '.join(SCOPES)}")
    if limit.kind not in KINDS:
        raise ValueError(f"kind {limit.kind!r} is unknown; known: {', '.join(KINDS)}")
    if limit.enforcement not in ENFORCEMENTS:
        raise ValueError(f"enforcement {limit.enforcement!r} is unknown; known: {', '.join(ENFORCEMENTS)}")
    check_window(limit)
    fitting = windows_for(limit.scope, limit.kind)
    if limit.window not in fitting:
        raise ValueError(
            f"a limit of {limit.kind} on {limit.scope} has the window {' or '.join(fitting)}, "
            f"not {limit.window}"
        )
    check_amount(limit.value, "the limit's value")
    if limit.kind in RATE_KINDS and not 1 <= limit.value <= RATE_MAX:
        raise ValueError(f"a rate must be from 1 to {RATE_MAX} per minute, not {limit.value}")
    _check_thresholds(limit)


def windows_for(scope: str, kind: str) -> Sequence[str]:
    """The windows that a limit of this kind may have on this scope."""
    if kind in RATE_KINDS:
        return (RATE_WINDOW,)
    if kind == "concurrency":
        return (CONCURRENCY_WINDOW,)
    # A trace is short, and has no calendar: its counters live as long as it is used.
    return ("lifetime",) if scope == "trace" else CALENDAR_WINDOWS


def _check_thresholds(limit: LimitTerms) -> None:
    marks = limit.thresholds
    if not marks:
        return
    if limit.kind not in COUNT_KINDS:
        raise ValueError(f"a limit of {limit.kind} has no thresholds")
    if (
        len(marks) > THRESHOLDS_MAX
        or list(marks) != sorted(set(marks))
        or not 1 <= marks[0] <= marks[-1] <= 1000
    ):
        raise ValueError(
            f"thresholds are up to {THRESHOLDS_MAX} rising percents from 1 to 1000, not {list(marks)}"
        )


def check_amount(amount: int, what: str) -> int:
    """`amount` itself when it is an integer between 0 and AMOUNT_MAX, else ValueError."""
    if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
        raise ValueError(f"{what} must be an integer from 0 to {AMOUNT_MAX}, not {amount!r}")
    return amount
