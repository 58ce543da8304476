"""The event store: where closed cost events rest, each once, with their rollups.

`append` takes any batch, ignores ids that are already there, and writes event rows and rollups in one
transaction: after it returns the events are on the disk, and before that nothing of them is visible. All
amounts are whole nano-USD, all moments milliseconds since the epoch (UTC).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Select, Table, Text
from sqlalchemy.dialects.sqlite import dialect, insert

from metering.database import open_database, writing
from metering.event import DEFAULT_ACCOUNT, CostEvent, decode, encode
from metering.rollup import (
    DAY_MS,
    DIMENSIONS,
    MEASURES,
    ROLLUPS,
    Piece,
    Rollup,
    measure_columns,
    measured,
    metadata,
    pieces,
)

CHUNK_MAX = 500
"""Events in one statement: so few that no sum over them can pass 64 bits (500 x 2^54)."""
PAGE_MAX = 1_000
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("key_id", "customer", "feature", "provider", "model", "route", "status")
    ),
    *measure_columns(),
    Column("document", Text, nullable=False),
)

_COLUMNS = {name: "key_id" if name == "key" else name for name in DIMENSIONS if name != "day"}


class StoreUnavailable(Exception):
    """The database is busy beyond patience, full or unreadable. Nothing was stored; it may be tried again."""


class UnstorableEvent(Exception):
    """Some event of the batch can never be stored (an amount or sum beyond 64 bits). Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events, newest first, and the cursors of the neighbouring pages; None where there are none."""

    events: tuple[CostEvent, ...]
    older: str | None
    newer: str | None


@dataclass(frozen=True, slots=True)
class CostRow:
    """Summed measures of the events that share `key`, one value for each dimension asked (None: absent).

    `cost_nano` sums the known costs; `unpriced` events have none, and `unknown_nano` is how much the true
    cost may lie above. `revenue_nano` sums the `revenue_known` events that have one.
    """

    key: tuple[str | None, ...]
    events: int
    successes: int
    failures: int
    attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano: int
    wasted_nano: int
    unpriced: int
    unknown_nano: int
    doubted_nano: int
    revenue_nano: int
    revenue_known: int


class EventStore:
    """Events and rollups in the SQLite database at `path`. Safe to use from several threads and processes."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open and migrate. Raises metering.database.DatabaseError; `create` False refuses an absent file."""
        self._engine = open_database(path, create=create)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def append(self, batch: Sequence[CostEvent], documents: Sequence[bytes] | None = None) -> int:
        """Store the events whose ids are new, with their rollups, and give their number.

        `documents` are the events as they came, kept as they are; by default they are encoded. Of several
        events with one id the first counts. Raises StoreUnavailable or UnstorableEvent.
        """
        texts = documents if documents is not None else [encode(event) for event in batch]
        ordered = sorted(zip(batch, texts, strict=True), key=lambda item: item[0].id)
        try:
            with writing(self._engine) as connection:
                return sum(
                    _insert(connection, ordered[start : start + CHUNK_MAX])
                    for start in range(0, len(ordered), CHUNK_MAX)
                )
        except (sa.exc.IntegrityError, sa.exc.DataError, OverflowError, UnicodeError) as error:
            raise UnstorableEvent(_sentence(error)) from error
        except sa.exc.ProgrammingError:
            raise  # a statement of ours is wrong; trying again would hide it
        except sa.exc.DBAPIError as error:
            raise StoreUnavailable(_sentence(error)) from error

    def recorded(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that are stored."""
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(ids), CHUNK_MAX):
                chunk = ids[start : start + CHUNK_MAX]
                found.update(connection.scalars(sa.select(events.c.id).where(events.c.id.in_(chunk))))
        return found

    def find(self, event_id: str) -> CostEvent | None:
        """The event with this id."""
        with self._engine.connect() as connection:
            document = connection.scalar(sa.select(events.c.document).where(events.c.id == event_id))
        return None if document is None else decode(document)

    def page(
        self,
        *,
        before: str | None = None,
        after: str | None = None,
        limit: int = 50,
        account_id: str = DEFAULT_ACCOUNT,
        customer: str | None = None,
        feature: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        status: str | None = None,
    ) -> Page:
        """Up to `limit` events (at most PAGE_MAX) by id, newest first.

        Without a cursor the newest; else the nearest older than `before`, or the nearest newer than `after`.
        Filters are exact; "" finds events without the name.
        """
        limit = max(1, min(limit, PAGE_MAX))
        filters = {
            "customer": customer,
            "feature": feature,
            "key_id": key_id,
            "model": model,
            "status": status,
        }
        query = sa.select(events.c.id, events.c.document)
        for name, value in filters.items():
            if value is not None:
                query = query.where(events.c[name] == value)
        # Where an index leads to the rows, it starts with the account. Elsewhere rows are met in the order of
        # ids, and the account must not look like a reason to take another index and sort all of its events.
        indexed = customer is not None or feature is not None or key_id is not None
        account = events.c.account_id if indexed else sa.func.coalesce(events.c.account_id, "")
        query = query.where(account == account_id).limit(limit + 1)
        forward = after is not None
        if after is not None:
            query = query.where(events.c.id > after)
        if before is not None:
            query = query.where(events.c.id < before)
        query = query.order_by(events.c.id.asc() if forward else events.c.id.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        more, rows = len(rows) > limit, rows[:limit]
        if forward:
            rows = rows[::-1]
        if not rows:
            return Page((), older=None, newer=None)
        return Page(
            tuple(decode(row.document) for row in rows),
            older=rows[-1].id if (more or forward) else None,
            newer=rows[0].id if (more or not forward) else None,
        )

    def arrivals(self, after: int | None = None, *, limit: int = PAGE_MAX) -> tuple[list[CostEvent], int]:
        """Events in the order in which they were stored, after a place in that order, and the next place.

        Every event is met exactly once, also one whose id is older than events met before. Without a place:
        no events, and the place after all that is stored by now.
        """
        with self._engine.connect() as connection:
            if after is None:
                return [], connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
            rows = connection.execute(
                sa.select(events.c.seq, events.c.document)
                .where(events.c.seq > after)
                .order_by(events.c.seq)
                .limit(limit)
            ).all()
        return [decode(row.document) for row in rows], rows[-1].seq if rows else after

    def spent(self, account_id: str, key_id: str | None, from_ms: int, to_ms: int | None) -> tuple[int, int]:
        """(spent, doubted) nano-USD of requests begun in [from_ms, to_ms), of a key or the whole account."""
        column = () if key_id is None else ("key_id",)
        source = sa.union_all(
            *(
                _measures_of(piece, (), account_id, key_id=key_id)
                for piece in pieces(from_ms, to_ms, column) or [Piece(None, 0, 0)]
            )
        ).subquery()
        query = sa.select(sa.func.sum(source.c.cost_nano), sa.func.sum(source.c.doubted_nano))
        with self._engine.connect() as connection:
            spent_nano, doubted_nano = connection.execute(query).one()
        return spent_nano or 0, doubted_nano or 0

    def cost_by(
        self,
        dimensions: Sequence[str],
        since_ms: int | None = None,
        until_ms: int | None = None,
        *,
        account_id: str = DEFAULT_ACCOUNT,
        from_events: bool = False,
    ) -> list[CostRow]:
        """Summed measures of requests begun in [since_ms, until_ms) by any of DIMENSIONS, dearest first.

        Answered from rollups where one knows the dimensions, else from single events; `from_events` asks for
        the latter always. Both give the same rows. ValueError for an unknown or repeated dimension.
        """
        for name in dimensions:
            if name not in DIMENSIONS or dimensions.count(name) > 1:
                raise ValueError(
                    f"{name!r} is not a dimension, or is given twice; known: {', '.join(DIMENSIONS)}"
                )
        columns = [_COLUMNS[name] for name in dimensions if name != "day"]
        since_ms = since_ms or 0
        parts = [Piece(None, since_ms, until_ms)] if from_events else pieces(since_ms, until_ms, columns)
        if not parts:
            return []
        source = sa.union_all(*(_measures_of(piece, columns, account_id) for piece in parts)).subquery()
        keys = [source.c[_COLUMNS.get(name, name)] for name in dimensions]
        query = sa.select(*keys, *(sa.func.sum(source.c[name]) for name in MEASURES)).group_by(*keys)
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        width = len(keys)
        rows = [
            CostRow(tuple(map(_key_part, dimensions, row[:width])), *row[width:])
            for row in found
            if row[width]
        ]
        rows.sort(key=lambda row: (-row.cost_nano, -row.events, [part or "" for part in row.key]))
        return rows


def _insert(connection: Connection, chunk: Sequence[tuple[CostEvent, bytes]]) -> int:
    """Add the new ones of at most CHUNK_MAX events, and to the rollups what they measure.

    The write lock is held, so the rows just added are those after the last one of before.
    """
    latest = connection.scalar(sa.select(sa.func.max(events.c.seq))) or 0
    added = connection.exec_driver_sql(_INSERT, [_row(event, text) for event, text in chunk]).rowcount
    if added:
        for statement in _ROLL_UP:
            connection.exec_driver_sql(statement, (latest,))
    return added


def _row(event: CostEvent, text: bytes) -> tuple[str | int, ...]:
    """The values of one row of `events`, in the order of its columns after `seq`."""
    return (
        event.id,
        event.account_id,
        event.started_ms,
        event.key_id or "",
        event.customer or "",
        event.feature or "",
        event.provider or "",
        event.model or "",
        event.route or "",
        event.status,
        *measured(event),
        text.decode(),
    )


def _text(statement: sa.Insert) -> str:
    """The statement in the driver's words, its parameters in the order of the table's columns.

    Written once: handing each row to SQLAlchemy as names costs 20 us a row, a quarter of the whole append.
    """
    return str(statement.compile(dialect=dialect(paramstyle="qmark")))


def _roll_up(rollup: Rollup) -> str:
    """The statement that adds the events after a `seq` to the rollup's rows."""
    keys = [
        events.c.account_id,
        events.c.started_ms - events.c.started_ms % sa.literal_column(str(rollup.bucket_ms)),
        *(events.c[name] for name in rollup.columns),
    ]
    sums = (sa.func.sum(events.c[name]) for name in MEASURES)
    source = sa.select(*keys, *sums).where(events.c.seq > sa.bindparam("seq")).group_by(*keys)
    table = rollup.table
    statement = insert(table).from_select([column.name for column in table.columns], source)
    added = {name: table.c[name] + statement.excluded[name] for name in MEASURES}
    return _text(statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added))


_GIVEN: dict[str, Any] = {
    column.name: sa.bindparam(column.name) for column in events.columns if column.name != "seq"
}
_INSERT = _text(insert(events).values(_GIVEN).on_conflict_do_nothing(index_elements=[events.c.id]))
_ROLL_UP = [_roll_up(rollup) for rollup in ROLLUPS]


def _measures_of(
    piece: Piece, columns: Sequence[str], account_id: str, *, key_id: str | None = None
) -> Select[Any]:
    """The rows of one piece: the columns, the UTC day as a number, and the measures."""
    table = events if piece.rollup is None else piece.rollup.table
    moment = table.c.started_ms if piece.rollup is None else table.c.bucket_ms
    query = sa.select(
        *(table.c[name] for name in columns),
        (moment // DAY_MS).label("day"),
        *(table.c[name] for name in MEASURES),
    ).where(table.c.account_id == account_id, moment >= piece.since_ms)
    if piece.until_ms is not None:
        query = query.where(moment < piece.until_ms)
    return query if key_id is None else query.where(table.c.key_id == key_id)


def _key_part(dimension: str, value: str | int) -> str | None:
    if dimension == "day":
        return time.strftime("%Y-%m-%d", time.gmtime(int(value) * DAY_MS // 1000))
    return str(value) or None


def _sentence(error: Exception) -> str:
    """A driver's error without the statement and the parameters that SQLAlchemy adds to it."""
    return str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
