"""Totals of lists of events: what sums alone tell to be too many, and what is counted."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from gateway.api import eventfigures
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.rollup import DAY_MS, HOUR_MS
from tests.metering.events import NOVEMBER_MS, event
from tests.metering.model import name_of

MOST = 12
LEADS = ("customer", "model", "feature")
"""In the order in which one of them is chosen to be counted along."""


@pytest.mark.wide
def test_a_total_is_told_where_at_most_so_many_have_the_leading_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventfigures, "COUNTED_MAX", MOST)
    made = [
        event(
            started_ms=NOVEMBER_MS + n * 5 * HOUR_MS,
            customer=f"c{n % 7}" if n % 7 < 3 else "many",
            feature=f"f{n % 2}",
            model="m0" if n % 9 else "rare",
        )
        for n in range(150)
    ]
    store = EventStore(tmp_path / "record.db")
    store.append(made)
    told = 0
    with store.reading() as connection:
        for width in range(4):
            for names in itertools.combinations(LEADS, width):
                for values in itertools.product(*({name_of(each, name) for each in made} for name in names)):
                    where = dict(zip(names, values, strict=True))
                    for since, until in (
                        (0, None),
                        (NOVEMBER_MS + 20 * HOUR_MS, NOVEMBER_MS + 3 * DAY_MS + 7),
                        (NOVEMBER_MS + 2 * DAY_MS, NOVEMBER_MS + 29 * DAY_MS),
                    ):
                        found = eventfigures.count(connection, "default", where, since, until)
                        assert found == _counted(made, where, since, until), (where, since, until)
                        told += found is not None
    store.close()
    assert told > 20


def _counted(made: list[CostEvent], where: dict[str, str], since: int, until: int | None) -> int | None:
    inside = [
        each for each in made if since <= each.started_ms and (until is None or each.started_ms < until)
    ]
    lead = next((name for name in LEADS if name in where), None)
    along = [each for each in inside if lead is None or name_of(each, lead) == where[lead]]
    if len(along) > MOST:
        return None
    return sum(all(name_of(each, name) == value for name, value in where.items()) for each in along)
