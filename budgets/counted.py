"""Counted: what one closed request, or one correction of it, adds to the rows of limits. Pure.

An event counts in the windows of its start, on the limits that were there by then, and under the names that
it carries; its route is the alias that served it. The record sums by the same rules (metering.rowsums).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from budgets.limit import COUNT_KINDS, EACH, PART_SEPARATOR, SCOPES, Attribution, LimitTerms, scope_key
from budgets.meter import Meter
from budgets.names import RETENTION_MS
from budgets.rowset import Row, concern_of, rows_of
from metering.adjustment import Adjustment
from metering.event import CostEvent
from metering.ids import key_and_above


class Amounts(Protocol):
    """What requests have counted: nano-USD, tokens, and their number."""

    @property
    def spent_nano(self) -> int: ...
    @property
    def doubted_nano(self) -> int: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def requests(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """One event or adjustment. Amounts of an adjustment are what it adds, and may be negative."""

    id: str
    of: Attribution
    started_ms: int
    spent_nano: int
    doubted_nano: int
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0


def counted_event(event: CostEvent, corrections: Iterable[Adjustment] = ()) -> Counted:
    """What the event counts, with these corrections of it."""
    usage = event.usage or {}
    spent, doubted = event.known_nano, event.doubted_nano
    for each in corrections:
        spent += each.cost_delta_nano
        doubted += each.doubted_delta_nano
    return Counted(
        id=event.id,
        of=attribution_of(event),
        started_ms=event.started_ms,
        spent_nano=spent,
        doubted_nano=doubted,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        requests=1,
    )


def counted_adjustment(adjustment: Adjustment, event: Counted) -> Counted:
    """What a correction adds where its event counts."""
    return replace(
        event,
        id=adjustment.id,
        spent_nano=adjustment.cost_delta_nano,
        doubted_nano=adjustment.doubted_delta_nano,
        input_tokens=0,
        output_tokens=0,
        requests=0,
    )


def attribution_of(event: CostEvent) -> Attribution:
    """Whom the event counts for. A name that is empty is none."""
    return Attribution(
        account_id=event.account_id,
        key_id=event.key_id or "",
        customer=event.customer or None,
        workspace=event.workspace or None,
        feature=event.feature or None,
        plan=event.plan.partition("@")[0] if event.plan else None,
        trace_id=event.trace_id or None,
        route=event.route_final or None,
        label=event.plan or None,
    )


def amounts(kind: str, of: Amounts) -> tuple[int, int]:
    """(spent, doubted) on rows of this kind. What is doubted of tokens is known to the ledger alone."""
    if kind == "money":
        return of.spent_nano, of.doubted_nano
    if kind == "requests":
        return of.requests, 0
    if kind == "input_tokens":
        return of.input_tokens, 0
    if kind == "output_tokens":
        return of.output_tokens, 0
    return of.input_tokens + of.output_tokens, 0


def counts_from(limit: LimitTerms, window_start_ms: int, now_ms: int) -> int:
    """When the limit's rows begin to count: with the window, or when the limit was made.

    A trace's rows are forgotten 40 days after its last request, so what is older no longer counts.
    """
    if limit.scope == "trace":
        return max(limit.created_ms, now_ms - RETENTION_MS, 0)
    return max(limit.created_ms, window_start_ms)


class LimitIndex:
    """The limits of one account, found by whom a request counts for: `limits`, which count anything, and
    those of plans among them. `values`: every value that must be in force, by its name.

    `meters`: what the plans' limits count on, each once. `plan_values`: the values of these by their names.
    """

    def __init__(
        self,
        account_id: str,
        limits: Sequence[LimitTerms],
        meters: Sequence[Meter] = (),
        plan_values: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.account_id = account_id
        ordinary = [limit for limit in limits if limit.kind in COUNT_KINDS]
        self.limits: tuple[LimitTerms, ...] = (*ordinary, *meters)
        self.values = {limit.id: limit.value for limit in limits} | dict(plan_values)
        self._by_scope: dict[tuple[str, str], list[LimitTerms]] = {}
        for limit in ordinary:
            self._by_scope.setdefault((limit.scope, limit.scope_id), []).append(limit)
        self._scopes = [scope for scope in SCOPES if any(limit.scope == scope for limit in ordinary)]
        self._concern = concern_of(limit.scope for limit in self.limits)
        self._by_label: dict[str, list[Meter]] = {}
        for meter in meters:
            for label in meter.labels:
                self._by_label.setdefault(label, []).append(meter)

    def concern(self, counted: Counted) -> Hashable:
        """Alike for events that count on the same rows."""
        return self._concern(counted.of), counted.of.label, counted.started_ms

    def rows(self, counted: Counted) -> list[Row]:
        """The rows on which this counts."""
        found: list[LimitTerms] = []
        for scope in self._scopes:
            key = scope_key(scope, counted.of)
            if key:
                for scope_id in _fitting(scope, key):
                    found += self._by_scope.get((scope, scope_id), ())
        if counted.of.label is not None:
            found += self._by_label.get(counted.of.label, ())
        counting = [limit for limit in found if limit.created_ms <= counted.started_ms]
        return rows_of(counting, counted.of, counted.started_ms)


def _fitting(scope: str, key: str) -> list[str]:
    """The scope ids of limits that apply to this scope key."""
    if scope == "key":
        return [*key_and_above(key), EACH]
    first, separator, second = key.partition(PART_SEPARATOR)
    if not separator:
        return [key, EACH]
    return [
        key,
        EACH,
        f"{EACH}{PART_SEPARATOR}{second}",
        f"{first}{PART_SEPARATOR}{EACH}",
        f"{EACH}{PART_SEPARATOR}{EACH}",
    ]
