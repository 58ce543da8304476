"""An export: which rows, of which span, in which format, as parts of a file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from metering.eventexport import Told
from reports import focus
from reports.columns import Column, Line, csv_parts, jsonl_parts
from reports.export import (
    ATTEMPT_COLUMNS,
    BREAKDOWN_COLUMNS,
    EVENT_COLUMNS,
    attempt_lines,
    breakdown_lines,
    event_lines,
)
from reports.parquet import check_parquet, parquet_parts

Lines = Callable[[Told], Iterator[Line]]
TABLES: dict[str, tuple[Sequence[Column], Lines]] = {
    "events": (EVENT_COLUMNS, event_lines),
    "attempts": (ATTEMPT_COLUMNS, attempt_lines),
    "breakdown": (BREAKDOWN_COLUMNS, breakdown_lines),
    "focus": (focus.COLUMNS, focus.focus_lines),
}
"""What can be exported: its columns, and the rows that an event has of it."""
ROWS = ("events", "attempts", "breakdown")
_WRITERS = {"csv": csv_parts, "jsonl": jsonl_parts, "parquet": parquet_parts}
FORMATS = (*_WRITERS, "focus", "focus-parquet")
"""Of what files can be; `focus` is its rows as CSV."""
MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


class ExportError(ValueError):
    """What is asked for cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What an export is: rows of one of TABLES, written as csv, jsonl or parquet."""

    table: str
    writer: str

    @property
    def media(self) -> str:
        """The type of its content."""
        return MEDIA[self.writer]


def shape_of(form: str, rows: str | None) -> Shape:
    """The shape of a format and the rows that are wished. Raises ExportError, reports.parquet.NoParquet."""
    table = rows or "events"
    writer = form
    if form in ("focus", "focus-parquet"):
        if rows is not None:
            raise ExportError("a FOCUS export has rows of its own: name either the format or the rows")
        table, writer = "focus", "parquet" if form == "focus-parquet" else "csv"
    if writer == "parquet":
        check_parquet()
    return Shape(table, writer)


@dataclass(slots=True)
class Counted:
    """What has been written so far. `unknown`: events whose cost, or a part of it, is not known."""

    events: int = 0
    unknown: int = 0


def export_parts(told: Iterable[Told], shape: Shape, counted: Counted) -> Iterator[bytes]:
    """The file's parts."""
    columns, lines_of = TABLES[shape.table]
    return _WRITERS[shape.writer](columns, _lines(told, lines_of, counted))


def compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts as those of a gzip file, each as soon as there is something of it."""
    gzip = zlib.compressobj(6, wbits=31)
    for part in parts:
        if packed := gzip.compress(part):
            yield packed
    yield gzip.flush()


def _lines(told: Iterable[Told], lines_of: Lines, counted: Counted) -> Iterator[Line]:
    for each in told:
        counted.events += 1
        counted.unknown += each.now.cost_nano is None
        yield from lines_of(each)
