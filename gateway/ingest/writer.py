"""The ingest writer: brings reports into the record, as many requests in one transaction as have come while
the one before was written, and from there onto the rows of limits.

One thread writes; who reports waits for the end of the transaction that has its reports. A commit costs a
sync of the disk, whether it holds one report or thousands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from threading import Lock

import structlog

from gateway.errors import GatewayError, TryLater, Unavailable
from gateway.ingest.counting import Counting
from gateway.ingest.metrics import counted_outcomes
from gateway.ingest.recording import Recording
from gateway.ingest.work import Became, Rendered, Work
from metering.eventstore import StoreUnavailable, UnstorableEvent

WAITING_MAX = 20_000
"""Reports that may wait to be written; more are told to come back."""
GROUP_MAX = 4_000
"""Reports of one transaction: others write to the database, too, and wait for its end."""
RETRY_AFTER_S = 1
BEHIND_RETRY_AFTER_S = 10

log = structlog.get_logger(component="ingest")


class Mismatch(GatewayError):
    """This Idempotency-Key was used for another request."""

    status = 409
    type = "invalid_request_error"
    default_code = "idempotency_conflict"


class BeingAnswered(TryLater):
    """A request with this Idempotency-Key is being answered."""

    status = 409
    type = "invalid_request_error"
    default_code = "request_in_progress"


class IngestWriter:
    """Writes in `thread`, an executor of one thread, which others may use, too."""

    def __init__(self, thread: Executor, recording: Recording, counting: Counting) -> None:
        self._thread = thread
        self._recording = recording
        self._counting = counting
        self._lock = Lock()
        self._waiting: deque[Work] = deque()
        self._reports = 0
        self._scheduled = False
        self._running: set[tuple[str, str]] = set()

    def submit(self, work: Work) -> Future[Rendered]:
        """Have the work's reports recorded; its answer comes when they are.

        Raises Unavailable when too many wait or are not counted yet, BeingAnswered when one with the same
        `Idempotency-Key` waits.
        """
        with self._lock:
            if self._reports + len(work.reports) > WAITING_MAX:
                raise Unavailable(
                    "Too many events wait to be recorded; send them again in a second.",
                    code="ingest_busy",
                    retry_after_s=RETRY_AFTER_S,
                )
            if self._counting.behind:
                raise Unavailable(
                    "The ledger is too far behind what was reported; send these events again later.",
                    code="ingest_behind",
                    retry_after_s=BEHIND_RETRY_AFTER_S,
                )
            if work.once is not None:
                name = (work.account_id, work.once.key)
                if name in self._running:
                    raise BeingAnswered()
                self._running.add(name)
            self._waiting.append(work)
            self._reports += len(work.reports)
            if not self._scheduled:
                self._thread.submit(self._write)
                self._scheduled = True
        return work.answer

    def _write(self) -> None:
        """Write one group; what has come meanwhile is the next one's, after others had their turn."""
        group = self._take()
        try:
            self._write_group(group)
        finally:
            with self._lock:
                for work in group:
                    if work.once is not None:
                        self._running.discard((work.account_id, work.once.key))
                self._scheduled = bool(self._waiting)
                if self._scheduled:
                    self._thread.submit(self._write)
            for work in group:  # nobody is left waiting, whatever went wrong
                if not work.answer.done():
                    work.answer.set_exception(GatewayError("This gateway failed; its log says why."))

    def _take(self) -> list[Work]:
        group: list[Work] = []
        size = 0
        with self._lock:
            while self._waiting and (not group or size + len(self._waiting[0].reports) <= GROUP_MAX):
                work = self._waiting.popleft()
                group.append(work)
                size += len(work.reports)
            self._reports -= size
        return group

    def _write_group(self, group: Sequence[Work]) -> None:
        try:
            recorded = self._recording.record(group)
        except StoreUnavailable as error:
            log.warning("store_unavailable", reason=str(error), reports=sum(len(w.reports) for w in group))
            for work in group:
                work.answer.set_exception(
                    Unavailable(
                        "The event store cannot be reached; nothing was recorded, send it again.",
                        code="store_unavailable",
                        retry_after_s=RETRY_AFTER_S,
                    )
                )
            return
        except Exception as error:  # of one request's reports, as a rule: the others must not suffer for it
            if len(group) > 1:
                for work in group:
                    self._write_group([work])
                return
            known = isinstance(error, UnstorableEvent)
            log.error("reports_not_recorded", reason=str(error), exc_info=not known)
            group[0].answer.set_exception(
                GatewayError("These events cannot be recorded; nothing was. The gateway's log says why.")
            )
            return
        exceeding = self._counting.count(recorded)
        counted_outcomes(work for work in group if work.replay is None and not work.mismatched)
        for work in group:
            self._answer(work, exceeding)

    def _answer(self, work: Work, exceeding: frozenset[str] | None) -> None:
        if work.mismatched:
            work.answer.set_exception(Mismatch())
            return
        if work.replay is not None:
            work.answer.set_result(work.replay)
            return
        before = None if work.once is None else work.render(work.outcomes)
        for outcome in work.outcomes:
            if outcome.became is Became.STORED:
                outcome.exceeded = None if exceeding is None else outcome.event_id in exceeding
        answer = work.render(work.outcomes)
        if work.once is not None and answer != before:
            try:
                self._recording.amend_reply(work)
            except StoreUnavailable as error:  # then the first form is what a repeated request gets
                log.warning("reply_not_amended", reason=str(error))
        work.answer.set_result(answer)
