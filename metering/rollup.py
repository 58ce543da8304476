"""Rollups: narrow sums of events that make reports cheap and stay equal to the events.

A rollup sums every measure over events that share an account, a time bucket and a few dimensions. Sums are
whole numbers added in the transaction that stores the events, so any split of events into batches, in any
order, gives the same rows. `pieces` answers a span of time from whole buckets where there are some and from
single events at its ragged ends, which is what makes a rollup's answer equal to the events' for any span.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from metering.event import CostEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

MEASURES = (
    "events",
    "successes",
    "failures",
    "attempts",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano",
    "wasted_nano",
    "unpriced",
    "unknown_nano",
    "doubted_nano",
    "revenue_nano",
    "revenue_known",
)
"""Summed columns, the same in `events` and in every rollup; migrations/0001_events.sql says what each is."""

CORRECTED = ("cost_nano", "doubted_nano", "unknown_nano", "unpriced")
"""Those of the measures that later knowledge can change (metering.adjustment)."""

DIMENSIONS = ("customer", "feature", "model", "provider", "route", "key", "day")
"""What cost may be asked by. `day` is the UTC day in which the request began."""

metadata = MetaData()


@dataclass(frozen=True, slots=True)
class Rollup:
    """One table of sums: its time bucket and the dimension columns beside account and bucket.

    `only`: a column without which an event is not summed here. `together`: the buckets of one value of the
    first column lie together; elsewhere the values of one bucket do.
    """

    table: Table
    bucket_ms: int
    columns: tuple[str, ...]
    only: str | None = None
    together: bool = False

    def knows(self, columns: Collection[str]) -> bool:
        """Can the rollup answer a question by these columns?"""
        return set(columns) <= set(self.columns) and (self.only is None or self.only in columns)


def measure_columns() -> list[Column[int]]:
    """Fresh column objects for the measures of one table."""
    return [Column(name, BigInteger, nullable=False) for name in MEASURES]


def _rollup(
    name: str, bucket_ms: int, *columns: str, only: str | None = None, together: bool = False
) -> Rollup:
    keys: list[Column[str] | Column[int]] = [
        Column("account_id", Text, primary_key=True),
        Column("bucket_ms", BigInteger, primary_key=True),
        *(Column(column, Text, primary_key=True) for column in columns),
    ]
    return Rollup(Table(name, metadata, *keys, *measure_columns()), bucket_ms, columns, only, together)


ROLLUPS = (
    _rollup("costs_by_feature_day", DAY_MS, "feature", "plan"),
    _rollup("costs_by_customer_day", DAY_MS, "customer", "feature"),
    _rollup("costs_by_plan_day", DAY_MS, "customer", "feature", "plan", only="plan"),
    _rollup("costs_by_workspace_day", DAY_MS, "customer", "workspace", only="workspace"),
    _rollup("costs_by_model_hour", HOUR_MS, "provider", "model", "route"),
    _rollup("costs_by_key_hour", HOUR_MS, "key_id", together=True),
    _rollup("costs_by_customer_hour", HOUR_MS, "customer", "feature"),
)
"""Coarse before fine, so that `pieces` takes the largest buckets first, and of one size the fewest rows."""


def measured(event: CostEvent) -> tuple[int, ...]:
    """What one event adds to each measure, in the order of MEASURES."""
    usage = event.usage or {}
    return (
        1,
        1 if event.outcome == "success" else 0,
        1 if event.outcome == "failure" else 0,
        len(event.attempts),
        usage.get("input_tokens", 0),
        usage.get("cache_read_input_tokens", 0),
        usage.get("output_tokens", 0),
        usage.get("reasoning_output_tokens", 0),
        event.known_nano,
        event.wasted_nano,
        1 if event.cost_nano is None else 0,
        event.unknown_nano,
        event.doubted_nano,
        event.revenue_nano or 0,
        0 if event.revenue_nano is None else 1,
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A half-open part of a span, and the rollup that answers it; None means single events."""

    rollup: Rollup | None
    since_ms: int
    until_ms: int | None


def pieces(since_ms: int, until_ms: int | None, columns: Iterable[str]) -> list[Piece]:
    """Cover [since_ms, until_ms) without overlap, from the coarsest rollups that know the columns."""
    wanted = frozenset(columns)
    return _cover(since_ms, until_ms, [rollup for rollup in ROLLUPS if rollup.knows(wanted)])


def _cover(since_ms: int, until_ms: int | None, rollups: list[Rollup]) -> list[Piece]:
    if until_ms is not None and since_ms >= until_ms:
        return []
    if not rollups:
        return [Piece(None, since_ms, until_ms)]
    chosen, finer = rollups[0], [other for other in rollups[1:] if other.bucket_ms < rollups[0].bucket_ms]
    size = chosen.bucket_ms
    first = -(-since_ms // size) * size
    last = None if until_ms is None else until_ms // size * size
    if last is not None and first >= last:
        return _cover(since_ms, until_ms, finer)
    found = _cover(since_ms, first, finer)
    found.append(Piece(chosen, first, last))
    if last is not None:
        found += _cover(last, until_ms, finer)
    return found
