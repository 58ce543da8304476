"""What a recorder counts, and how Prometheus is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prometheus_client import Counter, Gauge

from gateway.metrics_files import use_value_files

STATES = (
    "recording",  # all is well
    "draining",  # the same, and segments of the spill are being stored
    "redis_unavailable",
    "database_unavailable",  # entries are kept in Redis
    "spilling",  # the database is away for so long that entries are moved to files
    "spill_failed",  # so long, and the files cannot take them: Redis fills up
)


@dataclass(slots=True)
class RecorderCounters:
    """What this recorder has done since it started, what waits, and the state it is in.

    `recorded`, `adjustments` and `notices` were new; `duplicates` were stored already, with the same money;
    `conflicts` with other money. `spilled` entries went to files, `drained` ones came from files. `backlog`
    is what all outboxes hold, `waiting_*` what the spill's folder holds.
    """

    recorded: int = 0
    duplicates: int = 0
    conflicts: int = 0
    adjustments: int = 0
    notices: int = 0
    dead: int = 0
    spilled: int = 0
    drained: int = 0
    reaped: int = 0
    backlog: int = 0
    waiting_entries: int = 0
    waiting_bytes: int = 0
    state: str = STATES[0]


_RESULTS = (
    "recorded",
    "duplicates",
    "conflicts",
    "adjustments",
    "notices",
    "dead",
    "spilled",
    "drained",
)


def exporter(metrics_dir: Path) -> Callable[[RecorderCounters], None]:
    """A function that brings Prometheus' values up to the counters, in value files of owner `recorder`."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR") != str(metrics_dir):
        use_value_files(metrics_dir, "recorder")
    entries, reaped, states, *gauges = _metrics()
    told = RecorderCounters()

    def observe(counters: RecorderCounters) -> None:
        for name in _RESULTS:
            value = getattr(counters, name)
            entries.labels(name).inc(value - getattr(told, name))
            setattr(told, name, value)
        reaped.inc(counters.reaped - told.reaped)
        told.reaped = counters.reaped
        for state in STATES:
            states.labels(state).set(state == counters.state)
        waiting = (counters.backlog, counters.waiting_entries, counters.waiting_bytes)
        for gauge, value in zip(gauges, waiting, strict=True):
            gauge.set(value)

    return observe


@cache
def _metrics() -> tuple[Counter, Counter, Gauge, Gauge, Gauge, Gauge]:
    """Made at the first use, because value files must be chosen before a metric is constructed.

    Several recorders look at the same streams and the same folder, so of what waits the highest value counts.
    """
    return (
        Counter("tollkeeper_recorder_entries", "Outbox entries taken to their end", ["result"]),
        Counter("tollkeeper_reaped_requests", "Requests ended because their holder vanished"),
        Gauge("tollkeeper_recorder_state", "Recorders in this state", ["state"], multiprocess_mode="livesum"),
        Gauge(
            "tollkeeper_outbox_entries", "Closed requests waiting to be stored", multiprocess_mode="livemax"
        ),
        Gauge("tollkeeper_spilled_entries", "Entries waiting in spill files", multiprocess_mode="livemax"),
        Gauge("tollkeeper_spilled_bytes", "Size of the waiting spill files", multiprocess_mode="livemax"),
    )
