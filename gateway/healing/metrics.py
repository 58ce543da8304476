"""What healing counts, as Prometheus is told: in the value files of the recorder's process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from prometheus_client import Counter, Gauge

from budgets.healer import HealerCounters

RESULTS = ("compared", "unsure", "raised", "lowered", "freed", "pruned")
"""What becomes of rows in a comparison, as budgets.reconcile counts it."""


def healing_exporter() -> Callable[[HealerCounters], None]:
    """A function that brings Prometheus' values up to the counters. Value files must have been chosen."""
    metrics = _metrics()
    told = HealerCounters()

    def observe(counters: HealerCounters) -> None:
        nonlocal told
        before, rows = told.reconcile, counters.reconcile
        for name in RESULTS:
            metrics.rows.labels(name).inc(getattr(rows, name) - getattr(before, name))
        metrics.skipped.inc(rows.skipped - before.skipped)
        metrics.drift.labels("up").inc(rows.up_nano - before.up_nano)
        metrics.drift.labels("down").inc(rows.down_nano - before.down_nano)
        metrics.waiting.set(rows.waiting_nano)
        metrics.republished.inc(counters.republished - told.republished)
        metrics.reseeds.inc(counters.reseeds - told.reseeds)
        metrics.cold_seconds.inc((counters.cold_ms - told.cold_ms) / 1_000)
        metrics.cold.set(counters.cold)
        told = replace(counters, reconcile=replace(rows))

    return observe


@dataclass(frozen=True, slots=True)
class _Metrics:
    rows: Counter
    skipped: Counter
    drift: Counter
    waiting: Gauge
    republished: Counter
    reseeds: Counter
    cold_seconds: Counter
    cold: Gauge


@cache
def _metrics() -> _Metrics:
    """Made at the first use, because value files must be chosen before a metric is constructed.

    Several recorders look at the same shards, so of what is so now the highest value counts.
    """
    return _Metrics(
        rows=Counter("tollkeeper_ledger_rows", "Rows of limits compared with the record", ["result"]),
        skipped=Counter("tollkeeper_ledger_comparisons_skipped", "Comparisons put off for a backlog"),
        drift=Counter(
            "tollkeeper_ledger_drift_nanousd", "Nano-dollars by which rows were corrected", ["direction"]
        ),
        waiting=Gauge(
            "tollkeeper_ledger_surplus_nanousd",
            "Nano-dollars that rows count too much, until the nightly comparison",
            multiprocess_mode="livemax",
        ),
        republished=Counter(
            "tollkeeper_ledger_republished", "Times that limits in force were not those that are recorded"
        ),
        reseeds=Counter("tollkeeper_ledger_reseeds", "Shards made whole from the record"),
        cold_seconds=Counter(
            "tollkeeper_ledger_cold_seconds", "Time for which shards refused until they were made whole"
        ),
        cold=Gauge("tollkeeper_ledger_cold_shards", "Shards that are not whole", multiprocess_mode="livemax"),
    )
