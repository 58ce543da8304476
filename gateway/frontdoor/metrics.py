"""What the front door counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ENDED = Counter(
    "tollkeeper_connections_ended",
    "Client connections that the gateway ended, and requests behind",
    ["reason"],
)
CONNECTIONS = Gauge("tollkeeper_connections", "Client connections", multiprocess_mode="livesum")

REASONS = (
    "silent",  # never sent a byte
    "head_timeout",
    "head_too_large",
    "malformed",
    "body_timeout",
    "body_too_large",
    "pipelined",  # bytes behind an unanswered request, which are not read
    "reader_stalled",  # took nothing of its answer
    "too_many_connections",
)


class DoorMetrics:
    """The children, bound once."""

    def __init__(self) -> None:
        self._ended = {reason: ENDED.labels(reason) for reason in REASONS}

    def ended(self, reason: str) -> None:
        """Count an end by the gateway; `reason` is one of REASONS."""
        self._ended[reason].inc()

    def open(self, connections: int) -> None:
        """Tell how many connections there are."""
        CONNECTIONS.set(connections)
