from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from budgets.batch import batch_of, encode_batch
from gateway.recorder.entry import Entry
from gateway.recorder.filing import Filed, Filing
from metering.adjustment import Adjustment, correction, encode_adjustment
from metering.event import CostEvent, encode
from metering.eventstore import EventStore
from metering.ingested import Uncounted, note_uncounted
from tests.metering.events import NOVEMBER_MS, event

OUTBOX, NOTICES = b"t2:{07}:outbox", b"t2:{07}:notices"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "t.db")
    yield store
    store.close()


class Desk:
    """Filing with what it buried."""

    def __init__(self, store: EventStore) -> None:
        self._filing = Filing(store)
        self.buried: list[tuple[Entry, str]] = []

    def file(self, *entries: Entry) -> Filed:
        return self._filing.file(entries, lambda entry, reason: self.buried.append((entry, reason)))


@pytest.fixture
def desk(store: EventStore) -> Desk:
    return Desk(store)


def of_event(made: CostEvent) -> Entry:
    return Entry(OUTBOX, b"1-1", {b"e": encode(made)})


def of_adjustment(made: Adjustment) -> Entry:
    return Entry(OUTBOX, b"1-2", {b"a": encode_adjustment(made)})


def notice(entry_id: bytes = b"5-1", **changes: bytes) -> Entry:
    fields = {"limit": b"lim1", "row": b"lim1:acme", "percent": b"80", "spent": b"81", "value": b"100"}
    fields |= {"at": b"%d" % NOVEMBER_MS, "account": b"default"}
    return Entry(NOTICES, entry_id, {name.encode(): value for name, value in (fields | changes).items()})


def adjusted(made: CostEvent, cost_nano: int) -> Adjustment:
    found = correction(
        made, [], cost_nano=cost_nano, source="operator", reason="the bill came", at_ms=NOVEMBER_MS
    )
    assert found is not None
    return found


def test_a_batch_that_was_counted_is_settled(store: EventStore, desk: Desk) -> None:
    batches = [batch_of(f"b{number}", "default", 1, [event()]) for number in range(2)]
    with store.transaction() as connection:
        waiting = [Uncounted(each.id, "default", encode_batch(each).decode()) for each in batches]
        note_uncounted(connection, waiting)
    entry = Entry(OUTBOX, b"1-3", {b"c": encode_batch(batches[0])})
    filed = desk.file(entry, entry, Entry(OUTBOX, b"1-4", {b"c": b"{}"}))
    assert filed.stored == [entry, entry]
    assert [buried.id for buried, _ in desk.buried] == [b"1-4"]
    with store.snapshot() as snapshot:
        assert [each.id for each in snapshot.uncounted] == ["b1"]


def test_adjustment_of_an_event_in_the_same_batch_counts_with_it(store: EventStore, desk: Desk) -> None:
    made = event(cost_nano=1_000)
    entries = (of_adjustment(adjusted(made, 1_500)), of_event(made))
    filed = desk.file(*entries)
    assert (filed.events, filed.adjustments, filed.repeated) == (1, 1, 0)
    assert sorted(filed.stored, key=lambda entry: entry.id) == [entries[1], entries[0]]
    assert [row.cost_nano for row in store.cost_by(())] == [1_500]


def test_adjustment_that_comes_twice_or_before_its_event_counts_once(store: EventStore, desk: Desk) -> None:
    made = event(cost_nano=1_000)
    entry = of_adjustment(adjusted(made, 1_500))
    assert desk.file(entry, entry).adjustments == 1
    assert desk.file(of_event(made), entry).repeated == 1
    assert [row.cost_nano for row in store.cost_by(())] == [1_500]


def test_notice_is_kept_once_and_told(
    store: EventStore, desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert desk.file(notice(), notice(b"5-2", percent=b"100")).notices == 2
    said = capfd.readouterr().out
    assert said.count("limit_threshold") == 2
    assert all(part in said for part in ("lim1:acme", "percent=80", "percent=100"))
    again = desk.file(notice())
    assert (again.notices, again.repeated, len(again.stored)) == (0, 1, 1)
    assert "limit_threshold" not in capfd.readouterr().out


def test_event_that_comes_again_with_other_money_is_told_and_the_first_stands(
    store: EventStore, desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    first = event(id="one", cost_nano=1_000)
    desk.file(of_event(first))
    filed = desk.file(
        of_event(first), of_event(event(id="one", cost_nano=2_000, closed_by="reaper")), of_event(event())
    )
    assert (filed.events, filed.repeated, filed.differing, len(filed.stored)) == (1, 1, 1, 3)
    said = capfd.readouterr().out
    assert "conflicting_event" in said
    assert "stored_nano=1000" in said
    assert "given_nano=2000" in said


def test_what_is_wrong_with_one_entry_holds_no_other_up(store: EventStore, desk: Desk) -> None:
    good = [event() for _ in range(4)]
    bad = [
        Entry(OUTBOX, b"9-1", {b"e": b"\xff"}),
        Entry(OUTBOX, b"9-2", {b"a": b'{"id":"a"}'}),
        Entry(OUTBOX, b"9-3", {b"other": b""}),
        notice(b"9-4", percent=b"many"),
        Entry(NOTICES, b"9-5", {b"limit": b"lim1"}),
        of_event(event(started_ms=-1)),
    ]
    filed = desk.file(*map(of_event, good[:2]), *bad, *map(of_event, good[2:]), notice())
    assert (filed.events, filed.notices, filed.adjustments) == (4, 1, 0)
    assert {entry.id for entry, _ in desk.buried if entry not in bad} == set()
    assert {reason.partition(":")[0] for _, reason in desk.buried} >= {
        "not valid JSON",
        "the entry has no field e, a, c or limit",
        "the notice has no field row",
        "notice",
        "cannot be stored",
    }
    assert store.recorded([each.id for each in good]) == {each.id for each in good}
