"""What Prometheus hears of reported events."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from gateway.ingest.work import Became, Work
from gateway.metrics import UNPRICED
from metering.pricelist import listed_providers

EVENTS = Counter(
    "tollkeeper_ingested_events",
    "Reported events: stored, duplicate, conflict, and rejected as they were",
    ["outcome"],
)
EXCEEDED = Counter("tollkeeper_ingested_exceeded", "Stored reported events beyond a hard limit")
UNCOUNTED = Gauge(
    "tollkeeper_ingested_uncounted",
    "Batches of recorded events that limits do not count yet",
    multiprocess_mode="livemax",
)
REJECTED = "rejected"
OTHER = "other"
_LISTED = frozenset(listed_providers())
"""Providers come from callers: only those that have a price list are labels."""
_OF = {became: EVENTS.labels(became.value) for became in Became}
_REJECTED = EVENTS.labels(REJECTED)


def counted_outcomes(works: Iterable[Work]) -> None:
    """Works are in the record. Summed first: each change of a value is a write to a file that all processes
    share."""
    became: Counted[Became] = Counted()
    unpriced: Counted[str] = Counted()
    for work in works:
        became.update([outcome.became for outcome in work.outcomes])
        for report, outcome in zip(work.reports, work.outcomes, strict=True):
            if report.event.cost_nano is None and outcome.became is Became.STORED:
                provider = report.event.provider
                unpriced[provider if provider in _LISTED else OTHER] += 1
    for kind, count in became.items():
        _OF[kind].inc(count)
    for provider, count in unpriced.items():
        UNPRICED.labels(provider).inc(count)


def counted_exceeding(count: int) -> None:
    """So many stored reports are beyond a hard limit."""
    if count:
        EXCEEDED.inc(count)


def counted_rejected(count: int) -> None:
    """So many reports could not be taken."""
    if count:
        _REJECTED.inc(count)
