from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from metering.activity import active_customers
from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.rollup import DAY_MS, HOUR_MS, WEEK_MS
from tests.metering.events import NOVEMBER_MS, event

WEEK = -(-NOVEMBER_MS // WEEK_MS) * WEEK_MS


@pytest.fixture
def made() -> list[CostEvent]:
    """Six weeks: some customers are there always, many a few times only, some requests name none."""
    draw = Random(3)
    often = [f"often-{n}" for n in range(3)]
    return [
        event(
            started_ms=WEEK + draw.randrange(6 * WEEK_MS),
            customer=draw.choice((None, *often, f"rare-{draw.randrange(120)}")),
        )
        for _ in range(200)
    ]


@pytest.fixture
def store(database: Where, made: list[CostEvent]) -> Iterator[EventStore]:
    store = EventStore(database)
    store.append(made)
    yield store
    store.close()


def test_customers_are_found_in_spans_with_whole_weeks_and_without(
    store: EventStore, made: list[CostEvent]
) -> None:
    spans = [
        (WEEK, WEEK + 6 * WEEK_MS),
        (WEEK + WEEK_MS, WEEK + 3 * WEEK_MS),
        (WEEK + 3 * DAY_MS + 7 * HOUR_MS + 5, WEEK + 5 * WEEK_MS + 2 * DAY_MS + 9 * HOUR_MS + 77),
        (WEEK + 3 * DAY_MS, WEEK + 2 * WEEK_MS),
        (WEEK + WEEK_MS, WEEK + 2 * WEEK_MS + 11 * HOUR_MS),
        (WEEK + 2 * DAY_MS, WEEK + WEEK_MS + DAY_MS),
        (WEEK + 12 * WEEK_MS, WEEK + 15 * WEEK_MS + 5),
        (WEEK, WEEK),
    ]
    with store.reading() as connection:
        for since_ms, until_ms in spans:
            expected = {each.customer for each in made if since_ms <= each.started_ms < until_ms} - {None}
            assert active_customers(connection, since_ms, until_ms, "default") == expected
        assert active_customers(connection, *spans[0], "another") == set()
