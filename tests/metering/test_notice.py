from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from metering.database import Where
from metering.eventstore import EventStore
from metering.notice import Notice
from tests.metering.events import NOVEMBER_MS

NOTICE = Notice(
    id="07:1793491200000-0",
    account_id="default",
    limit_id="lim_1",
    row="lim_1:acme",
    percent=80,
    spent=8_000_000_001,
    value=10_000_000_000,
    at_ms=NOVEMBER_MS,
)


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def test_notice_is_kept_once_however_often_it_is_read(store: EventStore) -> None:
    other = replace(NOTICE, id="07:1793491200000-1", percent=100)
    assert store.append_notices([NOTICE]) == 1
    assert store.append_notices([NOTICE, other, other]) == 1
    assert store.append_notices([]) == 0
    assert store.notices() == [NOTICE, other]


def test_notices_are_read_oldest_first_from_a_moment_of_one_account(store: EventStore) -> None:
    made = [replace(NOTICE, id=str(n), at_ms=NOVEMBER_MS + n) for n in range(4)]
    store.append_notices([*made[::-1], replace(NOTICE, id="x", account_id="other")])
    assert store.notices(NOVEMBER_MS + 1) == made[1:]
    assert store.notices(limit=2) == made[:2]
    assert [each.id for each in store.notices(account_id="other")] == ["x"]
