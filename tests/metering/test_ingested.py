"""Keys of reported events, answers that are kept, and what waits to be counted; on each engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from metering.database import Where
from metering.event import CostEvent
from metering.eventstore import EventStore, UnstorableEvent
from metering.ids import new_id
from metering.ingested import (
    REPLY_MS,
    Claim,
    Owner,
    Reply,
    Uncounted,
    claim_keys,
    drop_keys_of,
    drop_old_replies,
    find_reply,
    keep_reply,
    note_uncounted,
)

ACCOUNT = "default"


@pytest.fixture
def store(database: Where) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


def claim(key: str, says: str = "this", account_id: str = ACCOUNT) -> Claim:
    return Claim(account_id, key, says, new_id())


def claimed(store: EventStore, *claims: Claim) -> dict[str, Owner]:
    with store.transaction() as connection:
        return claim_keys(connection, claims)


def test_a_key_belongs_to_the_first_that_brings_it(store: EventStore) -> None:
    first, same, other = claim("k"), claim("k"), claim("k", "something else")
    elsewhere, free = claim("k", account_id="another"), claim("free")
    assert claimed(store, first) == {}
    assert claimed(store, same, other, elsewhere, free) == {
        same.event_id: Owner(first.event_id, same=True),
        other.event_id: Owner(first.event_id, same=False),
    }


def test_of_several_at_once_the_first_is_the_first(store: EventStore) -> None:
    claims = [claim("a"), claim("b"), claim("a"), claim("b", "else"), claim("a")]
    assert claimed(store, *claims) == {
        claims[2].event_id: Owner(claims[0].event_id, same=True),
        claims[3].event_id: Owner(claims[1].event_id, same=False),
        claims[4].event_id: Owner(claims[0].event_id, same=True),
    }


def test_more_than_one_query_names(store: EventStore) -> None:
    claims = [claim(f"k{number}") for number in range(1_200)]
    assert claimed(store, *claims) == {}
    again = [claim(each.key) for each in claims]
    late = claimed(store, *again)
    assert [late[each.event_id].event_id for each in again] == [each.event_id for each in claims]


def test_what_is_rolled_back_holds_no_key(store: EventStore) -> None:
    def fail() -> None:
        with store.transaction() as connection:
            assert claim_keys(connection, [claim("k"), claim("l")]) == {}
            connection.exec_driver_sql("INSERT INTO ingested SELECT * FROM ingested")

    with pytest.raises(UnstorableEvent):
        fail()
    assert claimed(store, claim("k")) == {}


def test_transactions_at_the_same_time_agree_on_the_first(store: EventStore) -> None:
    claims = [claim("k") for _ in range(24)]
    with ThreadPoolExecutor(8) as crowd:
        late = list(crowd.map(lambda each: claimed(store, each), claims))
    winners = [each for each, found in zip(claims, late, strict=True) if not found]
    assert len(winners) == 1
    told = Counter(owner.event_id for found in late for owner in found.values())
    assert told == {winners[0].event_id: 23}


def test_ids_of_recorded_events_are_keys_of_their_account(store: EventStore) -> None:
    call = CostEvent(id=new_id(), started_ms=1)
    store.append([call])
    mine, anothers = claim(call.id), claim(call.id, account_id="another")
    assert claimed(store, mine, anothers) == {mine.event_id: Owner(call.id, same=True)}


def test_keys_go_with_their_events(store: EventStore) -> None:
    kept, gone = claim("kept"), claim("gone")
    claimed(store, kept, gone)
    with store.transaction() as connection:
        assert drop_keys_of(connection, [gone.event_id, "unknown"]) == 1
    again = [claim("kept"), claim("gone")]
    assert list(claimed(store, *again)) == [again[0].event_id]


def test_answers_are_kept_for_a_day(store: EventStore) -> None:
    reply, later = Reply("hash", 1_000, 201, "{}"), Reply("other", 2_000, 409, "é")
    with store.transaction() as connection:
        keep_reply(connection, ACCOUNT, "k", reply)
        assert find_reply(connection, ACCOUNT, "k", 1_000 + REPLY_MS - 1) == reply
        assert find_reply(connection, ACCOUNT, "k", 1_000 + REPLY_MS) is None
        assert find_reply(connection, "another", "k", 1_000) is None
        keep_reply(connection, ACCOUNT, "k", later)
        assert find_reply(connection, ACCOUNT, "k", 2_000) == later
        assert drop_old_replies(connection, 2_000 + REPLY_MS - 1) == 0
        assert drop_old_replies(connection, 2_000 + REPLY_MS) == 1
        assert find_reply(connection, ACCOUNT, "k", 2_000) is None


def test_what_waits_is_told_in_order_until_it_is_settled(store: EventStore) -> None:
    entries = [Uncounted(f"b{number}", ACCOUNT, "{}") for number in range(3)]
    with store.transaction() as connection:
        note_uncounted(connection, entries)
    with store.snapshot() as snapshot:
        assert list(snapshot.uncounted) == entries
        place = snapshot.place
        assert store.settle_uncounted(["b1", "none"]) == 1
        assert list(snapshot.uncounted) == entries  # a snapshot does not move
    assert list(store.later(place).uncounted) == [entries[0], entries[2]]
    assert store.settle_uncounted(["b1"]) == 0
