"""The order of rows of a view, and pages of it: a page goes on behind a row, not behind a number of rows.

The cursor holds the span that the first page was asked for as well, so that `until` now means the same on
every page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from operator import itemgetter
from typing import Any, Literal, Protocol, TypeVar

from billing.margin import MarginRow
from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.spans import Span

SortBy = Literal["cost", "revenue", "margin", "margin_pct", "requests", "tasks", "wasted", "name"]
SortDir = Literal["asc", "desc"]


class Ordered(Protocol):
    """What of a row its place depends on."""

    @property
    def key(self) -> tuple[str | None, ...]: ...
    @property
    def margin(self) -> MarginRow: ...
    @property
    def tasks(self) -> int: ...


_FIGURES: dict[str, Callable[[Ordered], Any]] = {
    "cost": lambda row: row.margin.known_cost_nano,
    "revenue": lambda row: row.margin.revenue_nano,
    "margin": lambda row: row.margin.margin_nano,
    "margin_pct": lambda row: None if row.margin.margin_pct is None else int(row.margin.margin_pct.scaleb(4)),
    "requests": lambda row: row.margin.events,
    "tasks": lambda row: row.tasks,
    "wasted": lambda row: row.margin.wasted_nano,
    "name": lambda row: 0,
}
Place = tuple[int, int, str, tuple[tuple[int, str], ...]]
R = TypeVar("R", bound=Ordered)


@dataclass(frozen=True, slots=True)
class Order:
    """By a figure, unknown ones last, then by kind and names."""

    by: str
    direction: str

    def place(self, row: Ordered) -> Place:
        """Where the row is; smaller is earlier."""
        value = _FIGURES[self.by](row)
        names = tuple((0 if part is None else 1, part or "") for part in row.key)
        known = 0 if value is None else (value if self.direction == "asc" else -value)
        return (1 if value is None else 0, known, row.margin.kind, names)

    def sorted(self, rows: Iterable[R]) -> list[R]:
        """All rows, first to last."""
        return sorted(rows, key=self.place, reverse=self._backwards)

    def page(self, rows: Iterable[R], limit: int, after: Place | None) -> tuple[list[R], Place | None]:
        """So many rows behind a place, and the place behind which the next page begins; None at the end."""
        placed, backwards = [(self.place(row), row) for row in rows], self._backwards
        if after is not None:
            placed = [each for each in placed if (each[0] < after if backwards else each[0] > after)]
        first = nlargest if backwards else nsmallest
        found = first(limit, placed, key=itemgetter(0))
        return [row for _, row in found], found[-1][0] if len(placed) > limit else None

    @property
    def _backwards(self) -> bool:
        return self.by == "name" and self.direction == "desc"


def encode_place(of: Sequence[Part], span: Span, place: Place) -> str:
    """A cursor."""
    return encode_cursor(of, (json.dumps([span.since_ms, span.until_ms, place]),))


def decode_place(of: Sequence[Part], cursor: str) -> tuple[Span, Place]:
    """The span that the first page had, and where the next one begins. BadRequest."""
    told = decode_cursor(of, cursor, (str,))[0]
    since_ms, until_ms, (unknown, value, kind, names) = json.loads(str(told))
    return Span(since_ms, until_ms), (unknown, value, kind, tuple((first, part) for first, part in names))
