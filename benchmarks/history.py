"""A history of traffic: the same events for the same seed, stored through the event store's own append.

    python -m benchmarks.history --into /var/tmp/history                        a million events in SQLite
    python -m benchmarks.history --into postgresql://me@host/db --events 10000000
    python -m benchmarks.history --into /var/tmp/history --first 500 --batches 100    a part, to go on later

By default 2,000 customers (Zipf 1.1), 20 features and 25 models over the 90 days before `--end`. Of 100
requests, 3 take two attempts or more, 3 fail, 12 belong to a task of several requests, 20 were reported by an
SDK after the fact; half of the customers are on a plan, a third have workspaces; some events arrive late.
Batches are made independently of each other, from the seed and their number.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from metering.event import Attempt, CostEvent
from metering.eventstore import EventStore

END_MS = 1_795_219_200_000  # 2026-11-21T00:00Z
DAY_MS = 86_400_000
LATE_MS = 2 * DAY_MS
PROVIDERS = ("openai", "anthropic", "google", "mistral", "groq")
PLANS = ("free@1", "pro@3", "scale@2")
FAILURES = (("upstream_timeout", 504), ("upstream_error", 502), ("rate_limited", 429))
FIRST_BYTE_MS, ENDED_MS = 240, 900


@dataclass(frozen=True)
class History:
    """What is to be made. `events` in all, over `days` that end at `end_ms`."""

    events: int = 1_000_000
    seed: int = 1
    batch: int = 1_000
    days: int = 90
    end_ms: int = END_MS
    customers: int = 2_000
    features: int = 20
    models: int = 25
    keys: int = 12
    zipf: float = 1.1
    account_id: str = "default"

    @property
    def batches(self) -> int:
        """The number of batches; the last one may be smaller."""
        return -(-self.events // self.batch)

    @cached_property
    def _ranks(self) -> tuple[list[float], ...]:
        """Of customers, features and models: the running sum of their Zipf weights."""
        sizes = (self.customers, self.features, self.models)
        return tuple(list(accumulate(n**-self.zipf for n in range(1, size + 1))) for size in sizes)

    def batch_at(self, number: int) -> list[CostEvent]:
        """The events of one batch, in the order in which they are stored."""
        draw = Random(f"{self.seed}:{number}")
        first = number * self.batch
        size = min(self.batch, self.events - first)
        span_ms = self.days * DAY_MS
        begin_ms = self.end_ms - span_ms
        made: list[CostEvent] = []
        tasks: list[str] = []
        for place in range(first, first + size):
            started_ms = begin_ms + place * span_ms // self.events
            if draw.random() < 0.01:  # reported or recorded late
                started_ms = max(begin_ms, started_ms - draw.randrange(LATE_MS))
            made.append(self._event(draw, place, started_ms, tasks))
        return made

    def _event(self, draw: Random, place: int, started_ms: int, tasks: list[str]) -> CostEvent:
        customer, feature, model = (bisect(ranks, draw.random() * ranks[-1]) for ranks in self._ranks)
        event_id = _identifier(draw, started_ms, place)
        status = "succeeded" if draw.random() < 0.97 else "failed"
        input_tokens, output_tokens = draw.randrange(50, 4_000), draw.randrange(10, 1_000)
        usage = {
            "input_tokens": input_tokens,
            "cache_read_input_tokens": input_tokens // 4 if model % 3 == 0 else 0,
            "output_tokens": output_tokens,
            "reasoning_output_tokens": output_tokens // 3 if model % 5 == 0 else 0,
            "requests": 1,
        }
        provider = PROVIDERS[model % len(PROVIDERS)]
        price = (50_000 + 37_111 * model, 200_000 + 151_717 * model)  # pico-USD for a token in, out
        lines: list[dict[str, Any]] = [
            {"unit": unit, "quantity": quantity, "price_pico": pico, "cost_nano": quantity * pico // 1_000}
            for unit, quantity, pico in zip(
                ("input_tokens", "output_tokens"), (input_tokens, output_tokens), price, strict=True
            )
        ]
        cost_nano = sum(line["cost_nano"] for line in lines)
        name = f"model-{model:02d}"
        last = Attempt(
            provider=provider,
            model=name,
            status=status,
            http_status=200,
            usage=usage,
            usage_source="provider",
            cost_nano=cost_nano,
            cost_status="priced",
            breakdown=lines,
            price_entries=[f"{provider}/{name}/2026-01-01"],
            started_ms=started_ms + 12,
            upstream_request_id=f"req_{place:024x}",
            first_byte_ms=started_ms + FIRST_BYTE_MS,
            ended_ms=started_ms + ENDED_MS,
        )
        attempts, wasted_nano = [last], 0
        error, http_status = None, 200
        if status == "failed":
            error, http_status = draw.choice(FAILURES)
            last.http_status, last.error_class, wasted_nano = http_status, error, cost_nano
        if draw.random() < 0.03:
            earlier = self._earlier_attempts(draw, last)
            attempts = [*earlier, last]
            last.kind = draw.choice(("retry", "fallback"))
            more = sum(attempt.cost_nano or 0 for attempt in earlier)
            cost_nano, wasted_nano = cost_nano + more, wasted_nano + more
        reported = draw.random() < 0.2
        task_id = self._task(draw, event_id, tasks)
        invoice = draw.random() < 0.05
        return CostEvent(
            id=event_id,
            account_id=self.account_id,
            task_id=task_id,
            trace_id=f"trace-{draw.randrange(self.events):x}" if task_id else None,
            key_id=f"key_{customer % self.keys:02d}",
            customer=f"customer-{customer:04d}",
            workspace=f"space-{draw.randrange(3)}" if customer % 3 == 0 else None,
            feature=f"feature-{feature:02d}",
            plan=PLANS[customer % len(PLANS)] if customer % 2 == 0 else None,
            properties={"env": "prod"},
            surface=None if reported else "chat.completions",
            route=None if reported else f"route-{model % 8}",
            route_final=None if reported else f"route-{model % 8}",
            provider_requested=provider,
            provider=provider,
            model_requested=name,
            model=name,
            stream=not reported,
            status=status,
            outcome="success" if status == "succeeded" and draw.random() < 0.98 else "failure",
            http_status=http_status,
            error_code=error,
            usage=usage,
            usage_source="client" if reported else "provider",
            cost_nano=cost_nano,
            cost_status="priced",
            wasted_nano=wasted_nano,
            breakdown=lines,
            price_entries=last.price_entries,
            revenue_nano=cost_nano * 2 if invoice else None,
            revenue_source="explicit" if invoice else None,
            started_ms=started_ms,
            first_token_ms=started_ms + 240,
            ended_ms=started_ms + 900,
            source="sdk" if reported else "gateway",
            event_name="call" if reported else None,
            idempotency_key=event_id if reported else None,
            attempts=attempts,
        )

    def _earlier_attempts(self, draw: Random, last: Attempt) -> list[Attempt]:
        """One or two that failed before; half of them were charged for what they had read."""
        found = []
        for number in range(draw.choice((1, 1, 1, 2))):
            error, http_status = draw.choice(FAILURES)
            charged = draw.random() < 0.5
            found.append(
                Attempt(
                    kind="retry" if number else "primary",
                    provider=last.provider,
                    model=last.model,
                    status="failed",
                    http_status=http_status,
                    error_class=error,
                    usage={"input_tokens": 100, "requests": 1} if charged else None,
                    usage_source="estimated" if charged else "none",
                    cost_nano=5_000 if charged else 0,
                    cost_status="estimated" if charged else "free",
                    started_ms=last.started_ms,
                    ended_ms=last.started_ms + 8,
                )
            )
        return found

    def _task(self, draw: Random, event_id: str, tasks: list[str]) -> str | None:
        """The task that the client named: one of the batch's, or a new one."""
        chance = draw.random()
        if chance < 0.08 and tasks:
            return tasks[-1 - draw.randrange(min(20, len(tasks)))]
        if chance < 0.12:
            tasks.append(f"task-{event_id[:23]}")
            return tasks[-1]
        return None


def _identifier(draw: Random, started_ms: int, place: int) -> str:
    """A UUIDv7 of the event's moment. The place in the history keeps it apart from all others."""
    number = started_ms << 80 | 0x7 << 76 | (place >> 30 & 0xFFF) << 64 | 0b10 << 62
    digits = f"{number | (place & 0x3FFFFFFF) << 32 | draw.getrandbits(32):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def load(
    history: History, store: EventStore, numbers: Sequence[int], together: int = 1
) -> Iterator[tuple[int, float, float]]:
    """Store these batches, so many in one transaction; gives of each transaction the number of its events,
    and the seconds to make and to store them."""
    for first in range(0, len(numbers), together):
        begun = time.perf_counter()
        batches = [history.batch_at(number) for number in numbers[first : first + together]]
        made = time.perf_counter()
        with store.transaction() as connection:
            for batch in batches:
                store.add(connection, batch)
        yield sum(map(len, batches)), made - begun, time.perf_counter() - made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--into", required=True, help="a directory for SQLite, or postgresql://...")
    parser.add_argument("--events", type=int, default=History.events)
    parser.add_argument("--seed", type=int, default=History.seed)
    parser.add_argument("--batch", type=int, default=History.batch, help="events of one batch")
    parser.add_argument("--end", type=int, default=END_MS, help="when it ends, ms since the epoch (UTC)")
    parser.add_argument("--account", default=History.account_id)
    parser.add_argument("--first", type=int, default=0, help="the first batch to store")
    parser.add_argument("--batches", type=int, help="how many batches; default: the rest")
    parser.add_argument(
        "--together",
        type=int,
        default=1,
        help="batches in one transaction: a large one writes each page of an index once,\n"
        "which is what matters on a slow disk; the record is the same",
    )
    given = parser.parse_args()
    history = History(given.events, given.seed, given.batch, end_ms=given.end, account_id=given.account)
    last = history.batches if given.batches is None else min(history.batches, given.first + given.batches)
    into = given.into if "://" in given.into else Path(given.into) / "tollkeeper.db"
    store = EventStore(into)
    stored, storing, told = 0, 0.0, time.monotonic()
    try:
        for size, _, seconds in load(history, store, range(given.first, last), given.together):
            stored, storing = stored + size, storing + seconds
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{stored:,} events stored, {stored / storing:,.0f}/s while storing", flush=True)
    finally:
        store.close()
    if stored:
        print(f"{stored:,} events stored in {storing:.1f} s: {stored / storing:,.0f}/s while storing")


if __name__ == "__main__":
    main()
