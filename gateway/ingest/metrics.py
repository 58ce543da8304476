"""What Prometheus hears of reported events."""

from __future__ import annotations

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


def counted_outcomes(work: Work) -> None:
    """A work is in the record."""
    for report, outcome in zip(work.reports, work.outcomes, strict=True):
        _OF[outcome.became].inc()
        if outcome.became is Became.STORED and report.event.cost_nano is None:
            provider = report.event.provider
            UNPRICED.labels(provider if provider in _LISTED else OTHER).inc()


def counted_exceeding(count: int) -> None:
    """So many stored reports are beyond a hard limit."""
    if count:
        EXCEEDED.inc(count)


def counted_rejected(count: int) -> None:
    """So many reports could not be taken."""
    if count:
        _REJECTED.inc(count)
