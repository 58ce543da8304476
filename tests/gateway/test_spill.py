from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.recorder.entry import Entry
from gateway.recorder.spill import (
    DAMAGED,
    Spill,
    SpillFailed,
    TakenSegment,
    segments,
)
from gateway.recorder.spilled import SpilledDocuments

STREAM = b"t2:{07}:outbox"


def entries(first: int, count: int, name: bytes = b"e") -> list[Entry]:
    return [Entry(STREAM, b"1-%d" % n, {name: b"document %06d" % n}) for n in range(first, first + count)]


def documents(folder: Path) -> list[bytes]:
    return list(SpilledDocuments(folder).events())


def taken(spill: Spill) -> TakenSegment:
    segment = spill.take()
    assert segment is not None
    return segment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spill"


@pytest.fixture
def spill(folder: Path) -> Iterator[Spill]:
    spill = Spill(folder)
    yield spill
    spill.seal()


def test_what_is_put_is_read_and_drained_in_order(spill: Spill, folder: Path) -> None:
    spill.put(entries(0, 3))
    spill.put(entries(3, 2))
    assert documents(folder) == [b"document %06d" % n for n in range(5)]
    spill.seal()
    segment = taken(spill)
    assert segment.next(4) == entries(0, 4)
    segment.position += 4
    assert segment.next(4) == entries(4, 1)
    spill.finish(segment)
    assert segments(folder) == []
    assert spill.take() is None


def test_folder_that_does_not_exist_holds_nothing(spill: Spill, folder: Path) -> None:
    assert documents(folder) == []
    assert spill.take() is None
    assert spill.waiting().segments == 0


def test_events_and_adjustments_are_told_apart(spill: Spill, folder: Path) -> None:
    spill.put([*entries(0, 1), *entries(1, 1, b"a"), *entries(2, 1, b"limit"), *entries(3, 1, b"c")])
    assert documents(folder) == [b"document 000000"]
    assert list(SpilledDocuments(folder).adjustments()) == [b"document 000001"]
    assert list(SpilledDocuments(folder).batches()) == [b"document 000003"]


def test_segments_are_of_bounded_size_and_drained_oldest_first(folder: Path) -> None:
    spill = Spill(folder, segment_bytes=2_000)
    for first in range(0, 100, 10):
        spill.put(entries(first, 10))
    spill.put(entries(100, 100))  # more than one segment holds
    spill.seal()
    paths = segments(folder)
    assert len(paths) > 5
    assert all(path.stat().st_size <= 2_000 + 100 for path in paths)
    found: list[Entry] = []
    for path in paths:
        segment = taken(spill)
        assert segment.path == path
        found += segment.next(1_000)
        spill.finish(segment)
    assert found == entries(0, 200)


def test_waiting_counts_what_anybody_wrote(spill: Spill, folder: Path) -> None:
    spill.put(entries(0, 3))
    other = Spill(folder)
    other.put(entries(3, 4))
    waiting = spill.waiting()
    assert (waiting.segments, waiting.entries) == (2, 7)
    assert waiting.size == sum(path.stat().st_size for path in segments(folder))
    other.put(entries(7, 1))
    assert spill.waiting().entries == 8
    other.seal()
    assert spill.waiting().entries == 8
    assert Spill(folder).waiting().entries == 8


def test_segment_that_is_written_or_drained_by_another_is_not_taken(spill: Spill, folder: Path) -> None:
    spill.put(entries(0, 1))
    other = Spill(folder)
    assert other.take() is None
    spill.seal()
    segment = taken(other)
    assert spill.take() is None
    segment.release()
    spill.finish(taken(spill))
    assert other.take() is None


def test_segment_of_a_writer_that_was_killed_in_mid_write_is_drained_but_for_its_torn_end(
    folder: Path,
) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            Spill(folder).put(entries(0, 3))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (path,) = segments(folder)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    assert documents(folder) == [b"document 000000", b"document 000001"]
    spill = Spill(folder)
    segment = taken(spill)
    assert segment.next(9) == entries(0, 2)
    spill.finish(segment)
    assert segments(folder) == []


def test_damaged_segment_gives_what_can_be_read_and_is_kept(
    spill: Spill, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spill.put(entries(0, 3))
    spill.seal()
    (path,) = segments(folder)
    source = bytearray(path.read_bytes())
    source[source.index(b"000001")] ^= 1
    path.write_bytes(source)
    assert documents(folder) == [b"document 000000", b"document 000002"]
    segment = taken(spill)
    assert segment.next(9) == [*entries(0, 1), *entries(2, 1)]
    spill.finish(segment)
    assert segments(folder) == []
    assert path.with_suffix(DAMAGED).read_bytes() == source
    assert "spill_damaged" in capfd.readouterr().out


def test_full_disk_leaves_what_was_synced_before_and_the_next_write_begins_anew(folder: Path) -> None:
    spill = Spill(folder)
    spill.put(entries(0, 10))
    (path,) = segments(folder)
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
    try:
        with pytest.raises(SpillFailed):
            spill.put(entries(10, 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == size
    spill.put(entries(20, 10))
    assert len(segments(folder)) == 2
    assert documents(folder) == [b"document %06d" % n for n in (*range(10), *range(20, 30))]
    spill.seal()


def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("a file")
    with pytest.raises(SpillFailed, match="spill"):
        Spill(tmp_path / "spill").put(entries(0, 1))


def test_segment_that_vanishes_while_it_is_read_is_passed_over(spill: Spill, folder: Path) -> None:
    spill.put(entries(0, 1))
    spill.seal()
    spill.put(entries(1, 1))
    reader = SpilledDocuments(folder).events()
    assert next(reader) == b"document 000000"
    segments(folder)[1].unlink()
    assert list(reader) == []
