"""Rollups: narrow sums of events that make reports cheap and stay equal to the events.

A rollup sums every measure over events that share an account, a time bucket and a few dimensions. Sums are
whole numbers added in the transaction that stores the events, so any split of events into batches, in any
order, gives the same rows. `pieces` answers a span of time from whole buckets where there are some and from
single events at its ragged ends, which is what makes a rollup's answer equal to the events' for any span.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from metering.event import CostEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS

MEASURES = (
    "events",
    "successes",
    "failures",
    "attempts",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "units",
    "cost_nano",
    "wasted_nano",
    "unpriced",
    "unknown_nano",
    "doubted_nano",
    "revenue_nano",
    "revenue_known",
    "tasks",
    "task_successes",
)
"""Summed columns, the same in `events`, in `tasks` and in every rollup. What each is, is said in
migrations/sqlite/0007_record.sql."""

CORRECTED = ("cost_nano", "doubted_nano", "unknown_nano", "unpriced")
"""Those of the measures that later knowledge of the cost can change (metering.adjustment)."""

COUNTED = ("tasks", "task_successes")
"""Those that follow tasks (metering.tasks): an event has them while it is the first one of its task."""

DIMENSIONS = ("customer", "workspace", "feature", "plan", "model", "provider", "route", "key", "day", "hour")
"""What cost may be asked by. `day` and `hour` are the UTC ones in which the request began."""

BUCKETS_MAX = 4_000
"""So many buckets of one name are looked up one by one; beyond (eleven years of days), all are read."""

metadata = MetaData()


@dataclass(frozen=True, slots=True)
class Rollup:
    """One table of sums: its time bucket and the dimension columns beside account and bucket.

    `together`: the buckets of one value of the first column lie together; elsewhere the values of one bucket
    do.
    """

    table: Table
    bucket_ms: int
    columns: tuple[str, ...]
    together: bool = False

    def knows(self, columns: Collection[str]) -> bool:
        """Can the rollup answer a question by these columns?"""
        return set(columns) <= set(self.columns)


def measure_columns() -> list[Column[int]]:
    """Fresh column objects for the measures of one table."""
    return [Column(name, BigInteger, nullable=False) for name in MEASURES]


def _rollup(name: str, bucket_ms: int, *columns: str, together: bool = False) -> Rollup:
    keys: list[Column[str] | Column[int]] = [
        Column("account_id", Text, primary_key=True),
        Column("bucket_ms", BigInteger, primary_key=True),
        *(Column(column, Text, primary_key=True) for column in columns),
    ]
    table = Table(name, metadata, *keys, *measure_columns())
    return Rollup(table, bucket_ms, columns, together)


_ROUTE = ("route", "model", "provider")
_MODEL = ("feature", "model", "provider")
_CUSTOMER = ("customer", "workspace", "plan")
_USE = ("customer", "feature", "model", "provider", "plan")

ROLLUPS = (
    _rollup("costs_by_account_day", DAY_MS),
    _rollup("costs_by_feature_day", DAY_MS, "feature", "plan"),
    _rollup("costs_by_route_day", DAY_MS, *_ROUTE),
    _rollup("costs_by_model_day", DAY_MS, *_MODEL),
    _rollup("costs_by_customer_week", WEEK_MS, "customer", "plan"),
    _rollup("costs_by_customer_day", DAY_MS, *_CUSTOMER),
    _rollup("costs_by_use_day", DAY_MS, *_USE),
    _rollup("costs_by_route_hour", HOUR_MS, *_ROUTE),
    _rollup("costs_by_model_hour", HOUR_MS, *_MODEL),
    _rollup("costs_by_key_hour", HOUR_MS, "key_id", together=True),
    _rollup("costs_by_customer_hour", HOUR_MS, *_CUSTOMER),
    _rollup("costs_by_use_hour", HOUR_MS, *_USE),
)
"""In the order in which they are asked: what has the fewest rows for a question comes first, and of the rest
`pieces` takes only what is finer."""


def source_of(rollup: Rollup) -> Rollup | None:
    """The finer rollup that knows all of its names, from which it can be summed; None: only from events."""
    finer = [each for each in ROLLUPS if each.bucket_ms < rollup.bucket_ms and each.knows(rollup.columns)]
    return finer[0] if finer else None


def measured(event: CostEvent) -> tuple[int, ...]:
    """What one event adds to each measure, in the order of MEASURES, with the revenue that it tells."""
    return measured_with(event, event.revenue_nano)


def measured_with(event: CostEvent, revenue_nano: int | None) -> tuple[int, ...]:
    """The same with the revenue that it was stored with; None is not known.

    An event that names no task is one; where it is one of several, the task counts at the first of them.
    """
    usage = event.usage or {}
    alone = not event.task_id
    return (
        1,
        1 if event.outcome == "success" else 0,
        1 if event.outcome == "failure" else 0,
        len(event.attempts),
        usage.get("input_tokens", 0),
        usage.get("cache_read_input_tokens", 0),
        usage.get("output_tokens", 0),
        usage.get("reasoning_output_tokens", 0),
        event.units,
        event.known_nano,
        event.wasted_nano,
        1 if event.cost_nano is None else 0,
        event.unknown_nano,
        event.doubted_nano,
        revenue_nano or 0,
        0 if revenue_nano is None else 1,
        1 if alone else 0,
        1 if alone and event.outcome == "success" else 0,
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A half-open part of a span, and the rollup that answers it; None means single events. `sign`: -1 where
    what lies inside is taken off again."""

    rollup: Rollup | None
    since_ms: int
    until_ms: int | None
    sign: int = 1


def buckets(piece: Piece, fixed: Collection[str], last_ms: int) -> Sequence[int] | None:
    """The buckets of the piece one by one, where a value of the first column is wanted and lies in each of
    them: a few look-ups instead of all values of all buckets. `last_ms`: no event is later."""
    rollup = piece.rollup
    if rollup is None or rollup.together or not rollup.columns or rollup.columns[0] not in fixed:
        return None
    until_ms = last_ms + 1 if piece.until_ms is None else min(piece.until_ms, last_ms + 1)
    found = range(piece.since_ms, until_ms, rollup.bucket_ms)
    return found if len(found) <= BUCKETS_MAX else None


def pieces(
    since_ms: int, until_ms: int | None, columns: Iterable[str], coarsest_ms: int = WEEK_MS
) -> list[Piece]:
    """Cover [since_ms, until_ms) without overlap, from the coarsest rollups that know the columns and have
    buckets of at most `coarsest_ms`."""
    return _cover(since_ms, until_ms, _knowing(columns, coarsest_ms))


def signed_pieces(
    since_ms: int,
    until_ms: int | None,
    columns: Iterable[str],
    coarsest_ms: int = WEEK_MS,
    *,
    apart: bool = False,
) -> list[Piece]:
    """The same span as sums and differences of buckets, those that are added first: where most of a bucket is
    wanted it is taken whole, and what lies outside of the span is taken off.

    So no end needs more than about half of a bucket in finer ones, and half an hour of single events. What is
    taken off lies in what was added: a group of it is a group there. `apart`: buckets of the coarsest size
    from which something is taken off are no part of the piece of those from which nothing is.
    """
    known = _knowing(columns, coarsest_ms)
    found = _signed_cover(since_ms, until_ms, known, 1, apart=apart)
    return sorted(found, key=lambda piece: -piece.sign)


def _knowing(columns: Iterable[str], coarsest_ms: int) -> list[Rollup]:
    wanted = frozenset(columns)
    return [each for each in ROLLUPS if each.bucket_ms <= coarsest_ms and each.knows(wanted)]


def _signed_cover(
    since_ms: int, until_ms: int | None, rollups: list[Rollup], sign: int, *, apart: bool = False
) -> list[Piece]:
    if until_ms is not None and since_ms >= until_ms:
        return []
    if not rollups:
        return [Piece(None, since_ms, until_ms, sign)]
    chosen, finer = rollups[0], [other for other in rollups[1:] if other.bucket_ms < rollups[0].bucket_ms]
    size = chosen.bucket_ms
    first, last = -(-since_ms // size) * size, None if until_ms is None else until_ms // size * size
    if last is not None and until_ms is not None and first > last:  # all of it lies inside one bucket
        if not _is_most(until_ms - since_ms, size):
            return _signed_cover(since_ms, until_ms, finer, sign)
        rest = [(last, since_ms), (until_ms, first)]
        whole = [Piece(chosen, last, first, sign)]
        return whole + [each for ends in rest for each in _signed_cover(*ends, finer, -sign)]
    whole, ends = [], []
    if _is_most(first - since_ms, size):
        whole.append(Piece(chosen, first - size, first, sign))
        ends += _signed_cover(first - size, since_ms, finer, -sign)
    elif first == last and until_ms is not None and not _is_most(until_ms - first, size):
        return _signed_cover(since_ms, until_ms, finer, sign)
    else:
        ends += _signed_cover(since_ms, first, finer, sign)
    if first != last:
        whole.append(Piece(chosen, first, last, sign))
    if until_ms is not None and last is not None:
        if _is_most(until_ms - last, size):
            whole.append(Piece(chosen, last, last + size, sign))
            ends += _signed_cover(until_ms, last + size, finer, -sign)
        else:
            ends += _signed_cover(last, until_ms, finer, sign)
    if whole and not apart:
        whole = [Piece(chosen, whole[0].since_ms, whole[-1].until_ms, sign)]
    return whole + ends


def _is_most(part_ms: int, size_ms: int) -> bool:
    """Whether a bucket and the rest of it have fewer rows than the part: a bucket has about as many as two or
    three of the finer ones, of which there are seven, 24, or a few thousand events."""
    return part_ms - (size_ms - part_ms) > size_ms // 8


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
