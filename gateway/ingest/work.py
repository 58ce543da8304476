"""Work: the reports of one request on their way to the record, and what became of each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.ingest.making import Report


class Became(StrEnum):
    """STORED: now. DUPLICATE: the same was reported before. CONFLICT: the key was used for something else."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(slots=True)
class Outcome:
    """What became of one report. `event_id`: its event, or the one that has its key. `exceeded`: it was
    stored, and counts on a hard limit that is passed now; None where that is not known."""

    became: Became
    event_id: str
    exceeded: bool | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer as it is sent."""

    status: int
    body: bytes
    replayed: bool = False


Render = Callable[[Sequence[Outcome]], Rendered]
"""The answer to a request whose reports became this."""


@dataclass(frozen=True, slots=True)
class Once:
    """A request with an `Idempotency-Key`: the key, and the digest of what the request says."""

    key: str
    digest: str


@dataclass(slots=True)
class Work:
    """One request's reports, in order. `answer` is set when they are in the record."""

    account_id: str
    reports: list[Report]
    render: Render
    once: Once | None = None
    answer: Future[Rendered] = field(default_factory=Future)
    outcomes: list[Outcome] = field(default_factory=list)
    replay: Rendered | None = None
    """The answer that was given before to the same request."""
    mismatched: bool = False
    """Its `Idempotency-Key` was used for another request."""
