"""Pages of groups as the database finds them, against all groups sorted by a plain program."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from metering.costpage import After, GroupPage, Rank, Wanted, cost_page
from metering.costsums import CostRow, cost_by, questions
from metering.database import Where
from metering.eventstore import EventStore
from metering.rollup import DAY_MS, HOUR_MS
from tests.metering.events import NOVEMBER_MS, event

RANKS: tuple[Rank, ...] = ("cost", "revenue", "margin", "requests", "tasks", "wasted", "name")
WHOLE = (NOVEMBER_MS, NOVEMBER_MS + 4 * DAY_MS)
RAGGED = (NOVEMBER_MS + 5 * HOUR_MS + 7, NOVEMBER_MS + 3 * DAY_MS + 9 * HOUR_MS + 77)


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    """Events of four days, with many equal figures, unknown costs, unknown revenue and absent names."""
    store = EventStore(database)
    draw = Random(7)
    made = []
    for number in range(240):
        known = draw.random() < 0.7
        made.append(
            event(
                started_ms=NOVEMBER_MS + number * 24 * 60_000,
                feature=draw.choice(("a", "b", None)),
                model=draw.choice(("m", "n", "ö")),
                cost_nano=draw.randrange(3) if known else None,
                wasted_nano=0,
                revenue_nano=draw.choice((None, 0, 2)),
                task_id=draw.choice((None, "t", "u")),
            )
        )
    store.append(made)
    yield store
    store.close()


def figure(row: CostRow, rank: Rank) -> int | None:
    """What the row is sorted by."""
    revenue = row.revenue_nano if row.revenue_known else None
    no_cost = row.unpriced and row.unpriced == row.events and not row.cost_nano
    figures: dict[str, int | None] = {
        "cost": row.cost_nano,
        "revenue": revenue,
        "margin": None if revenue is None or no_cost else revenue - row.cost_nano,
        "requests": row.events,
        "tasks": row.tasks,
        "wasted": row.wasted_nano,
        "name": 0,
    }
    return figures[rank]


def ordered(rows: list[CostRow], rank: Rank, *, descending: bool) -> list[CostRow]:
    def place(row: CostRow) -> tuple[Any, ...]:
        value = figure(row, rank)
        names = tuple(part or "" for part in row.key)
        return value is None, (value or 0) * (-1 if descending else 1), names

    return sorted(rows, key=place, reverse=rank == "name" and descending)


@pytest.mark.parametrize("span", [WHOLE, RAGGED], ids=["whole days", "ragged"])
@pytest.mark.parametrize(
    "names", [("feature", "model", "day"), ("day", "model"), ("model", "hour"), ("feature", "model")]
)
def test_pages_are_those_of_all_groups_in_every_order(
    store: EventStore, names: tuple[str, ...], span: tuple[int, int]
) -> None:
    with store.reading() as connection:
        asked = questions(connection, names, *span, "default", {})
        every = cost_by(connection, names, *span, "default", {}, top=None, from_events=True)
        assert len(every) > 3
        for rank in RANKS:
            for descending in (False, True):
                rows = ordered(every, rank, descending=descending)
                for first in range(0, len(rows), len(rows) // 3):
                    after = After(figure(rows[first - 1], rank), rows[first - 1].key) if first else None
                    page = cost_page(connection, asked, names, Wanted(rank, descending, after, 5))
                    assert page.count == len(every)
                    assert set(rows[first : first + 5]) <= set(page.rows) <= set(every)


def test_a_place_behind_all_groups_of_a_figure_begins_with_the_next_figure(store: EventStore) -> None:
    names = ("feature", "model", "day")
    with store.reading() as connection:
        asked = questions(connection, names, *WHOLE, "default", {})
        every = cost_by(connection, names, *WHOLE, "default", {}, top=None, from_events=True)
        rows = ordered(every, "margin", descending=False)
        value = figure(rows[3], "margin")
        page = cost_page(connection, asked, names, Wanted("margin", False, After(value, None), 5))
        expected = [row for row in rows if figure(row, "margin") not in (value,)]
        later = [row for row in expected if rows.index(row) > 3]
        assert set(page.rows) == set(later[:5])
        behind_all = cost_page(connection, asked, names, Wanted("margin", False, After(None, None), 5))
        assert behind_all.rows == []
        assert behind_all.count == len(every)


def test_groups_of_which_all_is_taken_off_again_are_on_no_page(store: EventStore) -> None:
    """An event in the hour that is taken whole, before the span begins."""
    since_ms = NOVEMBER_MS // HOUR_MS * HOUR_MS + 100 * DAY_MS + 60_000
    store.append([event(started_ms=since_ms - 1, model="before"), event(started_ms=since_ms, model="inside")])
    with store.reading() as connection:
        asked = questions(connection, ("model",), since_ms, since_ms + HOUR_MS, "default", {})
        assert any(each.piece.sign < 0 for each in asked)
        page = cost_page(connection, asked, ("model",), Wanted("requests", True, None, 5))
        assert ([row.key for row in page.rows], page.count) == ([("inside",)], 1)
        behind = cost_page(connection, asked, ("model",), Wanted("cost", True, After(0, None), 5))
        assert (behind.rows, behind.count) == ([], 1)


def test_nothing_recorded_is_an_empty_page(store: EventStore) -> None:
    with store.reading() as connection:
        asked = questions(connection, ("model",), *WHOLE, "nobody", {})
        assert cost_page(connection, asked, ("model",), Wanted("cost", True, None, 5)) == GroupPage([], 0)
