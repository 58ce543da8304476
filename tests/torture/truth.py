"""What must hold when everything has settled, by witnesses outside the product.

The provider's bill (by request id, over its own socket) and the clients' books (by the names they chose) say
what happened; the event store, the rollups and the ledger's counters have to agree with both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from metering.event import CostEvent
from tests.acceptance.installation import Installation, Key

from .client import Asked


@dataclass(frozen=True, slots=True)
class Found:
    """The figures of a trial; amounts in nano-USD. `unseen`: events of requests whose clients got nothing."""

    asked: int
    answered: int
    refused: int
    broken: int
    events: int
    unseen: int
    closed_by: Counter[str]
    statuses: Counter[str]
    bill_nano: int
    spent_nano: int
    doubted_nano: int

    def __str__(self) -> str:
        by = ", ".join(f"{name} {count}" for name, count in sorted(self.closed_by.items()))
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(self.statuses.items()))
        return (
            f"asked {self.asked}, answered {self.answered}, refused {self.refused}, broken {self.broken}; "
            f"events {self.events}, lost 0, doubled 0, unseen by client and provider {self.unseen}; "
            f"closed by: {by}; {statuses}; bill {self.bill_nano} <= spent {self.spent_nano} "
            f"+ doubted {self.doubted_nano} nano-USD, reserved 0"
        )


def lost_and_doubled(
    one: Installation, key: Key, book: Iterable[Asked]
) -> tuple[set[str], list[CostEvent], list[str]]:
    """(ids without their event, events that nobody asked for, names with more than one event)."""
    events = {event.id: event for event in one.events() if event.key_id == key.id}
    billed = {entry["id"] for entry in one.simulator.bill()["requests"]}
    named = {asked.tag: asked for asked in book}
    answered = {asked.answer.request_id for asked in named.values() if asked.answer and asked.status == 200}
    lost = (billed | answered) - events.keys()
    strange = [event for event in events.values() if event.task_id not in named]
    counted = Counter(event.task_id or "" for event in events.values())
    return lost, strange, [tag for tag, count in counted.items() if count > 1]


def account_for(one: Installation, key: Key, book: list[Asked], *, ended_elsewhere: bool = False) -> Found:
    """Assert every promise over all that this key ever did, and give the figures.

    `ended_elsewhere`: somebody may have ended requests for a holder that went on to answer them.
    """
    lost, strange, doubled = lost_and_doubled(one, key, book)
    assert not lost, f"{len(lost)} events are lost: {sorted(lost)[:5]}"
    assert not strange, f"{len(strange)} events that nobody asked for: {strange[:2]}"
    assert not doubled, f"{len(doubled)} requests have two events: {doubled[:5]}"

    bill = one.simulator.bill()
    billed = {entry["id"]: entry["nano"] for entry in bill["requests"]}
    events = {event.id: event for event in one.events() if event.key_id == key.id}
    named = {asked.tag: asked for asked in book}
    answered = {asked.answer.request_id for asked in book if asked.answer and asked.status == 200}
    unseen = 0
    for event in events.values():
        asked = named[event.task_id or ""]
        if asked.answer is not None:
            assert asked.answer.request_id == event.id, "the client was told another id"
        if event.id not in billed and event.id not in answered:
            # Accepted, and cut off on its way: its client got nothing, or an error.
            unseen += 1
            assert asked.status != 200, event
            assert event.status in ("failed", "orphaned"), event

    # Nothing is counted twice: rollups and ledger only ever add, and they agree with the rows.
    spent = sum(event.cost_nano or 0 for event in events.values())
    doubted = sum(event.doubted_nano for event in events.values())
    row = one.counters(key)
    assert one.rolled_up_nano() == spent
    assert (row.spent, row.doubted, row.reserved) == (spent, doubted, 0)

    # The bill is covered, request by request, and known where the request ran to its end.
    for one_id, nano in billed.items():
        event = events[one_id]
        assert nano <= (event.cost_nano or 0) + event.doubted_nano, (event, nano)
        if event.status == "succeeded":
            assert (event.cost_nano, event.doubted_nano) == (nano, 0), (event, nano)
    for asked in book:
        if asked.answer is not None and asked.status == 200 and asked.answer.whole:
            event = events[asked.answer.request_id]
            said_done = asked.answer.done or b"data: " not in asked.answer.body
            if not (ended_elsewhere and event.status == "orphaned"):
                assert said_done == (event.status == "succeeded"), (event, asked.answer.body[-200:])
    assert bill["total_nano"] <= row.spent + row.doubted
    assert one.dead_letters() == 0
    assert not one.faults(), one.faults()[0]
    statuses = Counter(asked.status for asked in book)
    return Found(
        asked=len(book),
        answered=statuses[200],
        refused=len(book) - statuses[200] - statuses[None],
        broken=statuses[None],
        events=len(events),
        unseen=unseen,
        closed_by=Counter(event.closed_by or "worker" for event in events.values()),
        statuses=Counter(event.status for event in events.values()),
        bill_nano=bill["total_nano"],
        spent_nano=row.spent,
        doubted_nano=row.doubted,
    )
