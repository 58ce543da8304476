"""Recorded events for tests of the read API: accounts that never meet, each with its own names in everything.

Whatever is of an account has its mark in it, or is among its ids: an answer to the other's key that holds
either tells what it must not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from metering.adjustment import Adjustment
from metering.event import Attempt, CostEvent
from metering.eventstore import EventStore
from metering.ids import new_id

HOUR_MS = 3_600_000
NOW_MS = int(time.time() * 1_000)


@dataclass
class History:
    """What was recorded of one account. `mark` is part of every name; `account_id` is its own."""

    account_id: str
    mark: str
    events: list[CostEvent] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        """Everything by which something of this account is called."""
        return {event.id for event in self.events}

    def name(self, noun: str) -> str:
        """A name of this account's."""
        return f"{self.mark}-{noun}"


def history(account_id: str, mark: str, count: int = 120) -> History:
    """Requests of some hours: two customers, two features, three models, retries, failures, tasks, traces."""
    found = History(account_id, mark)
    for number in range(count):
        started_ms = NOW_MS - (count - number) * HOUR_MS // 4
        failed, retried = number % 9 == 5, number % 10 == 3
        attempt = Attempt(
            provider="openai",
            model=f"gpt-{number % 3}",
            status="failed" if failed else "succeeded",
            usage={"input_tokens": 100 + number, "output_tokens": 10},
            usage_source="provider",
            cost_nano=None if number % 20 == 7 else 1_000_000 + number,
            cost_status="unpriced" if number % 20 == 7 else "priced",
            breakdown=[
                {"unit": "input_token", "quantity": 100 + number, "price_pico": 2_500_000, "cost_nano": 250}
            ],
            started_ms=started_ms,
            first_byte_ms=started_ms + 20,
            ended_ms=started_ms + 300,
        )
        attempts = [attempt]
        if retried:
            lost = Attempt(
                provider="openai",
                model=f"gpt-{number % 3}",
                status="failed",
                cost_nano=500,
                started_ms=started_ms,
            )
            attempts = [lost, attempt]
        cost = None if attempt.cost_nano is None else sum(each.cost_nano or 0 for each in attempts)
        found.events.append(
            CostEvent(
                id=new_id(),
                account_id=account_id,
                task_id=found.name(f"task-{number // 4}") if number % 2 else None,
                trace_id=found.name(f"trace-{number // 10}") if number % 3 else None,
                key_id=found.name("key"),
                customer=found.name(f"customer-{number % 2}") if number % 11 else None,
                workspace=found.name("workspace"),
                user=found.name("user"),
                feature=found.name(f"feature-{number % 2}"),
                properties={"place": found.name("place")},
                surface="chat.completions",
                route=f"gpt-{number % 3}",
                route_final=f"gpt-{number % 3}",
                provider="openai",
                model=f"gpt-{number % 3}",
                status="failed" if failed else "succeeded",
                outcome="failure" if failed else "success",
                usage={"input_tokens": 100 + number, "output_tokens": 10},
                usage_source="provider",
                cost_nano=cost,
                cost_status="unpriced" if cost is None else "priced",
                wasted_nano=500 if retried else 0,
                revenue_nano=2_000_000 if number % 4 == 0 else None,
                revenue_source="explicit" if number % 4 == 0 else None,
                started_ms=started_ms,
                first_token_ms=started_ms + 25,
                ended_ms=started_ms + 300,
                agent_id=found.name("agent") if number % 5 == 0 else None,
                attempts=attempts,
            )
        )
    return found


def record(store: EventStore, of: History) -> None:
    """Store it, with one correction of its first event."""
    store.append(of.events)
    first = of.events[0]
    store.append_adjustments(
        [
            Adjustment(
                id=new_id(),
                event_id=first.id,
                account_id=of.account_id,
                at_ms=NOW_MS,
                source="operator",
                reason=of.name("reason"),
                cost_delta_nano=77,
            )
        ]
    )
