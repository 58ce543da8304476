"""What must hold once nothing runs any more, whoever was killed: the provider's bill, events, ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from metering.event import CostEvent

from .client import Answer
from .installation import Installation, Key


@dataclass(frozen=True, slots=True)
class Figures:
    """What an audit found: amounts in nano-USD, events by their status."""

    bill_nano: int
    spent_nano: int
    doubted_nano: int
    statuses: Counter[str]

    def __str__(self) -> str:
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"events: {statuses}; bill {self.bill_nano}, spent {self.spent_nano}, "
            f"doubted {self.doubted_nano} nano-USD"
        )


def audit(
    one: Installation, key: Key, answers: Sequence[Answer], *, ended_elsewhere: bool = False
) -> Figures:
    """Assert the promises over everything that this key ever did. `answers`: all that its clients got.

    `ended_elsewhere`: requests may have been ended for a holder that went on to answer them.
    """
    bill = one.simulator.bill()
    billed = {entry["id"]: entry["nano"] for entry in bill["requests"]}
    events = {event.id: event for event in one.events() if event.key_id == key.id}
    answered = {answer.request_id for answer in answers if answer.status == 200}
    assert billed
    assert answered

    # No request that the provider saw or a client was answered is without its event.
    lost = (billed.keys() | answered) - events.keys()
    assert not lost, f"{len(lost)} events are lost: {sorted(lost)[:5]}"
    # What nobody paid for and nobody got was still accepted: it was cut off on its way.
    rest = Counter(events[one_id].status for one_id in events.keys() - billed.keys() - answered)
    assert set(rest) <= {"failed", "orphaned"}, rest

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
            assert event.cost_nano == nano, (event, nano)
            assert event.doubted_nano == 0
    whole = [answer for answer in answers if answer.status == 200 and answer.whole]
    for answer in whole:
        event = events[answer.request_id]
        if not (ended_elsewhere and event.status == "orphaned"):
            assert _accounts_for(event, answer), (event, answer)
    assert bill["total_nano"] <= row.spent + row.doubted
    assert one.dead_letters() == 0
    assert not one.faults(), one.faults()[0]
    return Figures(bill["total_nano"], spent, doubted, Counter(event.status for event in events.values()))


def _accounts_for(event: CostEvent, answer: Answer) -> bool:
    """A client that has its whole answer is the client of a request that ended as such."""
    if b"data: " in answer.body and not answer.done:
        return event.status != "succeeded"
    return event.status == "succeeded"
