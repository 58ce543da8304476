"""The order of rows of a view, and pages of it: a page goes on behind a row, not behind a number of rows.

The cursor holds the span that the first page was asked for as well, so that `until` now means the same on
every page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.spans import Span
from gateway.api.views import Row

SortBy = Literal["cost", "revenue", "margin", "margin_pct", "requests", "tasks", "wasted", "name"]
SortDir = Literal["asc", "desc"]
_FIGURES: dict[str, Callable[[Row], Any]] = {
    "cost": lambda row: row.margin.known_cost_nano,
    "revenue": lambda row: row.margin.revenue_nano,
    "margin": lambda row: row.margin.margin_nano,
    "margin_pct": lambda row: None if row.margin.margin_pct is None else int(row.margin.margin_pct.scaleb(4)),
    "requests": lambda row: row.sums.events,
    "tasks": lambda row: row.sums.tasks,
    "wasted": lambda row: row.sums.wasted_nano,
    "name": lambda row: 0,
}
Place = tuple[int, int, str, tuple[tuple[int, str], ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """By a figure, unknown ones last, then by kind and names."""

    by: str
    direction: str

    def place(self, row: Row) -> Place:
        """Where the row is; smaller is earlier."""
        value = _FIGURES[self.by](row)
        names = tuple((0 if part is None else 1, part or "") for part in row.key)
        known = 0 if value is None else (value if self.direction == "asc" else -value)
        return (1 if value is None else 0, known, row.margin.kind, names)

    def sorted(self, rows: Sequence[Row]) -> list[Row]:
        """All rows, first to last."""
        found = sorted(rows, key=self.place)
        return found[::-1] if self.by == "name" and self.direction == "desc" else found

    def page(self, rows: Sequence[Row], limit: int, after: Place | None) -> tuple[list[Row], Place | None]:
        """So many rows behind a place, and the place behind which the next page begins; None at the end."""
        ordered = self.sorted(rows)
        if after is not None:
            backwards = self.by == "name" and self.direction == "desc"
            ordered = [
                row for row in ordered if (self.place(row) < after if backwards else self.place(row) > after)
            ]
        found = ordered[:limit]
        return found, self.place(found[-1]) if len(ordered) > limit else None


def encode_place(of: Sequence[Part], span: Span, place: Place) -> str:
    """A cursor."""
    return encode_cursor(of, (json.dumps([span.since_ms, span.until_ms, place]),))


def decode_place(of: Sequence[Part], cursor: str) -> tuple[Span, Place]:
    """The span that the first page had, and where the next one begins. BadRequest."""
    told = decode_cursor(of, cursor, (str,))[0]
    since_ms, until_ms, (unknown, value, kind, names) = json.loads(str(told))
    return Span(since_ms, until_ms), (unknown, value, kind, tuple((first, part) for first, part in names))
