"""What waits in the spill, for those who count it: read when it has changed, not each time it is asked for.

Comparing the ledger with the record asks several times a minute, for each span of limits, while the spill
may be large and mostly at rest: segments only ever grow, or vanish when they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.recorder.segment import read_content
from gateway.recorder.spill import segments

KEPT_BYTES_MAX = 64 * 1024 * 1024
"""Of segments whose documents are kept in memory; what is beyond is read each time."""
Segment = tuple[str, int, int]
"""A segment's name, size, and time of change (ns)."""


@dataclass(frozen=True, slots=True)
class _Documents:
    segment: Segment
    events: list[bytes]
    adjustments: list[bytes]
    batches: list[bytes]


class SpilledDocuments:
    """The documents in one folder; any thread may ask, but one at a time."""

    def __init__(self, folder: Path, *, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._folder = folder
        self._kept_bytes_max = kept_bytes_max
        self._kept: dict[str, _Documents] = {}
        self.segments_read = 0

    def state(self) -> tuple[Segment, ...]:
        """Which segments there are; the same as long as nothing of them has changed."""
        found: list[Segment] = []
        for path in segments(self._folder):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue  # drained since we looked: its entries are stored
            found.append((path.name, about.st_size, about.st_mtime_ns))
        return tuple(found)

    def events(self) -> Iterator[bytes]:
        """The encoded cost events, oldest first; some may be stored, or still be in Redis, too.

        An entry goes from Redis to the spill to the event store. Who wants to miss none while that goes on
        looks in this order, and counts each event id once.
        """
        for documents in self._all():
            yield from documents.events

    def adjustments(self) -> Iterator[bytes]:
        """The encoded adjustments, as `events`."""
        for documents in self._all():
            yield from documents.adjustments

    def batches(self) -> Iterator[bytes]:
        """The encoded batches of recorded events that were counted, as `events`."""
        for documents in self._all():
            yield from documents.batches

    def _all(self) -> Iterator[_Documents]:
        state = self.state()
        names = {name for name, _, _ in state}
        for name in self._kept.keys() - names:
            del self._kept[name]
        size = 0
        for segment in state:
            size += segment[1]
            known = self._kept.get(segment[0])
            if known is None or known.segment != segment:
                known = self._read(segment)
                if known is None:
                    continue
                if size <= self._kept_bytes_max:
                    self._kept[segment[0]] = known
                else:
                    self._kept.pop(segment[0], None)
            yield known

    def _read(self, segment: Segment) -> _Documents | None:
        try:
            content = read_content((self._folder / segment[0]).read_bytes())
        except FileNotFoundError:
            return None
        self.segments_read += 1
        return _Documents(
            segment,
            [entry.fields[b"e"] for entry in content.entries if b"e" in entry.fields],
            [entry.fields[b"a"] for entry in content.entries if b"a" in entry.fields],
            [entry.fields[b"c"] for entry in content.entries if b"c" in entry.fields],
        )
