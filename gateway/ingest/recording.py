"""Puts reports into the record: keys, events with their sums, newcomers, and what the ledger has to count,
in one transaction for any number of requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from accounts.newcomers import Newcomers, add_newcomers
from accounts.plan import PlanLimit
from billing.ratebook import RateBook
from budgets.batch import BATCH_MAX, Batch, batch_of, encode_batch
from gateway.ingest.calls import Calls
from gateway.ingest.making import Report
from gateway.ingest.placing import Placing
from gateway.ingest.work import Became, Outcome, Rendered, Work
from metering.event import CostEvent, encode
from metering.eventstore import EventStore
from metering.eventtable import last_seq
from metering.ids import new_id
from metering.ingested import (
    Claim,
    Owner,
    Reply,
    Uncounted,
    claim_keys,
    drop_old_replies,
    find_reply,
    keep_reply,
    note_uncounted,
)

Counts = Callable[[str, Connection], bool]
"""Whether the account has any limit that counts, as the record has it."""


@dataclass(slots=True)
class Recorded:
    """What a transaction has left to do: batches to be counted, customers to be published, and for counting
    the limits of plans by event."""

    batches: list[Batch] = field(default_factory=list)
    newcomers: dict[str, Newcomers] = field(default_factory=dict)
    limits: dict[str, tuple[PlanLimit, ...]] = field(default_factory=dict)


class Recording:
    """Records works, all of them or none."""

    def __init__(self, store: EventStore, counts: Counts, calls: Calls, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._calls = calls
        self._counts = counts
        self._now_ms = now_ms
        self._placing = Placing()
        self._rates = RateBook(store.reading)

    def record(self, works: Sequence[Work]) -> Recorded:
        """Store what is new of these works and set their outcomes. Raises as EventStore.append does."""
        now_ms = self._now_ms()
        done = Recorded()
        calls = self._calls.own([report for work in works for report in work.reports])
        with self._store.transaction() as connection:
            asked = [work for work in works if not self._answered(connection, work, now_ms)]
            fresh = self._claim(connection, asked, calls)
            if fresh:
                self._store_reports(connection, fresh, done, now_ms)
            for work in asked:
                self._remember(connection, work, now_ms)
        return done

    def forget_replies(self) -> None:
        """Drop answers that are too old to be asked for. Raises as EventStore.append does."""
        with self._store.transaction() as connection:
            drop_old_replies(connection, self._now_ms())

    def amend_reply(self, work: Work) -> None:
        """Keep the answer that the work gets in the end, where counting has changed it."""
        if work.once is not None:
            with self._store.transaction() as connection:
                self._remember(connection, work, self._now_ms())

    def _answered(self, connection: Connection, work: Work, now_ms: int) -> bool:
        """Whether the request was answered before, or its key stands for another one."""
        work.replay, work.mismatched = None, False
        if work.once is None:
            return False
        reply = find_reply(connection, work.account_id, work.once.key, now_ms)
        if reply is None:
            return False
        if reply.payload_hash != work.once.digest:
            work.mismatched = True
        else:
            work.replay = Rendered(reply.status, reply.body.encode(), replayed=True)
        return True

    def _claim(self, connection: Connection, works: Sequence[Work], calls: Collection[str]) -> list[Report]:
        """Set the outcomes; gives the reports that are new. `calls`: keys that are calls of ours."""
        claims = [
            Claim(work.account_id, report.key, report.digest, report.event.id)
            for work in works
            for report in work.reports
            if report.key is not None
        ]
        late = {each.event_id: Owner(each.key, same=True) for each in claims if each.key in calls}
        claims = [each for each in claims if each.event_id not in late]
        late |= claim_keys(connection, claims) if claims else {}
        fresh: list[Report] = []
        for work in works:
            work.outcomes = [_outcome(report, late.get(report.event.id)) for report in work.reports]
            fresh += [report for report in work.reports if report.event.id not in late]
        return fresh

    def _remember(self, connection: Connection, work: Work, now_ms: int) -> None:
        if work.once is not None:
            answer = work.render(work.outcomes)
            reply = Reply(work.once.digest, now_ms, answer.status, answer.body.decode())
            keep_reply(connection, work.account_id, work.once.key, reply)

    def _store_reports(
        self, connection: Connection, fresh: list[Report], done: Recorded, now_ms: int
    ) -> None:
        stored = [report.event for report in fresh]
        by_account: dict[str, list[CostEvent]] = {}
        for event in stored:
            by_account.setdefault(event.account_id, []).append(event)
        for account_id, events in by_account.items():
            done.newcomers[account_id] = add_newcomers(
                connection,
                account_id,
                {event.customer for event in events if event.customer is not None},
                {event.feature for event in events if event.feature is not None},
                now_ms,
            )
            done.limits |= self._placing.place_events(connection, account_id, events)
        # Reports are encoded before anybody waits for the lock; what has got a plan since says so.
        documents = [encode(each.event) if each.event.plan is not None else each.document for each in fresh]
        self._store.add(connection, stored, documents, revenue=self._rates.inside(connection, stored))
        last = last_seq(connection)
        for account_id, events in by_account.items():
            if self._counts(account_id, connection):
                for start in range(0, len(events), BATCH_MAX):
                    chunk = events[start : start + BATCH_MAX]
                    done.batches.append(batch_of(new_id(), account_id, last, chunk))
        note_uncounted(
            connection,
            [Uncounted(each.id, each.account_id, encode_batch(each).decode()) for each in done.batches],
        )


def _outcome(report: Report, owner: Owner | None) -> Outcome:
    if owner is None:
        return Outcome(Became.STORED, report.event.id)
    return Outcome(Became.DUPLICATE if owner.same else Became.CONFLICT, owner.event_id)
