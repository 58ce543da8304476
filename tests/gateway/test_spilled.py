"""Documents in spill files: read when they have changed, and else remembered."""

from __future__ import annotations

from pathlib import Path

from gateway.recorder.entry import Entry
from gateway.recorder.spill import Spill, segments
from gateway.recorder.spilled import SpilledDocuments

STREAM = b"t2:{07}:outbox"


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(STREAM, b"1-%d" % n, {b"e": b"document %06d" % n}) for n in range(first, first + count)]


def documents(first: int, count: int) -> list[bytes]:
    return [entry.fields[b"e"] for entry in entries(first, count)]


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    spill, found = Spill(tmp_path, segment_bytes=1_000), SpilledDocuments(tmp_path)
    for first in range(0, 60, 10):
        spill.put(entries(first, 10))
    count = len(segments(tmp_path))
    assert count > 2
    state = found.state()
    for _ in range(3):
        assert list(found.events()) == documents(0, 60)
    assert found.segments_read == count
    assert found.state() == state
    spill.put(entries(60, 1))
    assert found.state() != state
    assert list(found.events()) == documents(0, 61)
    assert found.segments_read == count + 1
    spill.seal()
    segment = spill.take()
    assert segment is not None
    gone = len(segment.content.entries)
    spill.finish(segment)
    assert list(found.events()) == documents(gone, 61 - gone)


def test_what_is_beyond_the_bound_is_read_each_time(tmp_path: Path) -> None:
    spill, found = Spill(tmp_path, segment_bytes=1_000), SpilledDocuments(tmp_path, kept_bytes_max=1_500)
    for first in range(0, 60, 10):
        spill.put(entries(first, 10))
    count = len(segments(tmp_path))
    for _ in range(2):
        assert list(found.events()) == documents(0, 60)
    assert count < found.segments_read < 2 * count


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    found = SpilledDocuments(tmp_path / "none")
    assert (found.state(), list(found.events()), list(found.adjustments())) == ((), [], [])
