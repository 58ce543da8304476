"""Rows of sums, grouped anew: by fewer names, by other ones, or not at all. Pure, exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from metering.costsums import CostRow
from metering.rollup import MEASURES

Key = tuple[str | None, ...]


def nothing(key: Key = ()) -> CostRow:
    """The sums of no events."""
    return CostRow(key, *(0 for _ in MEASURES))


def added(rows: Iterable[CostRow], key: Key = ()) -> CostRow:
    """All of these as one row."""
    columns = list(zip(*rows, strict=True))[1:]
    return CostRow(key, *map(sum, columns)) if columns else nothing(key)


def regrouped(rows: Iterable[CostRow], key_of: Callable[[Key], Key | None]) -> list[CostRow]:
    """The rows under the keys that `key_of` makes of theirs, in the order in which these come; rows for
    which it gives None are left out."""
    groups: dict[Key, list[CostRow]] = {}
    for row in rows:
        key = key_of(row.key)
        if key is not None:
            groups.setdefault(key, []).append(row)
    return [added(mine, key) for key, mine in groups.items()]
