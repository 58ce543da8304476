"""The spill: segment files in `data_dir/spill/` for entries that neither Redis nor the event store can hold.

When the event store is away for so long that Redis would fill up, the recorder moves the oldest entries
here: appended, synced to the disk, and only then acknowledged and deleted in Redis. Once the store is back
they are stored from here, oldest segment first, and a segment is removed when all of it is stored. Between
any two steps an entry is in two places or in one, never in none; the store ignores ids it has.

A segment belongs to whoever holds the lock (flock) on it: its writer, later the one that drains it. A
killed process gives its locks up. Who only reads (gateway.recorder.spilled) needs no lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.recorder.entry import Entry
from gateway.recorder.segment import SEAL_BYTES, Content, entry_frame, read_content, seal_frame, sealed_count

FOLDER = "spill"
SUFFIX = ".segment"
DAMAGED = ".damaged"
SEGMENT_BYTES = 16 * 1024 * 1024

_log = structlog.get_logger(component="recorder")


class SpillFailed(Exception):
    """The segment cannot be written (a full disk); the text says why. Nothing of it counts as spilled."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the folder, whoever wrote it."""

    segments: int = 0
    entries: int = 0
    size: int = 0


def segments(folder: Path) -> list[Path]:
    """Every segment of the folder, oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []


class TakenSegment:
    """A segment that this process has locked, and what it holds, until it is released."""

    def __init__(self, path: Path, descriptor: int, content: Content) -> None:
        self.path = path
        self.content = content
        self.position = 0
        self._descriptor = descriptor

    def next(self, count: int) -> list[Entry]:
        """The entries at the position, at most `count`; none at the end."""
        return self.content.entries[self.position : self.position + count]

    def remove(self) -> None:
        """All its entries are stored: delete it, or keep it aside when some could not be read."""
        if self.content.damaged:
            kept = self.path.with_suffix(DAMAGED)
            self.path.rename(kept)
            _log.error(
                "spill_damaged",
                file=str(kept),
                unreadable_bytes=self.content.damaged,
                hint="its readable entries are stored; what is unreadable may hold events that are lost",
            )
        else:
            if self.content.torn:
                _log.info("spill_torn", file=self.path.name, bytes=self.content.torn)
            self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Give the lock up."""
        os.close(self._descriptor)


class Spill:
    """One recorder's hand on the folder, which may be shared with other recorders of this machine."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        self._path = folder
        self._size = self._count = 0
        self._set_aside: set[Path] = set()
        self._counted: dict[Path, tuple[int, int]] = {}

    def put(self, entries: Sequence[Entry]) -> int:
        """Bring the entries to the disk; when this returns they may be deleted elsewhere. Bytes written.

        Raises SpillFailed; some of the entries may be on the disk then, which does no harm.
        """
        written = 0
        chunk: list[bytes] = []
        size = 0
        for frame in map(entry_frame, entries):
            if chunk and size + len(frame) > self._segment_bytes:
                written += self._write(b"".join(chunk), len(chunk))
                chunk, size = [], 0
            chunk.append(frame)
            size += len(frame)
        if chunk:
            written += self._write(b"".join(chunk), len(chunk))
        return written

    def seal(self) -> None:
        """Finish the segment that is being written, so that it can be drained."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, seal_frame(self._count))
        except OSError:
            pass  # a full disk: a segment without its seal is as good
        self._close()

    def take(self) -> TakenSegment | None:
        """The oldest segment that nobody else has; None when there is none that can be read."""
        try:
            paths = segments(self._folder)
        except OSError:
            return None  # `waiting` raises it, too
        for path in paths:
            if path in self._set_aside:
                continue
            try:
                taken = _take(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._put_aside(path, error)
                continue
            if taken is not None:
                return taken
        return None

    def finish(self, taken: TakenSegment) -> None:
        """Remove the segment, all of it stored; one that cannot be removed is left alone from now on."""
        try:
            taken.remove()
        except OSError as error:
            self._put_aside(taken.path, error)
        finally:
            taken.release()

    def waiting(self) -> Waiting:
        """What lies in the folder now. Raises OSError when it cannot be listed."""
        counted: dict[Path, tuple[int, int]] = {}
        for path in segments(self._folder):
            try:
                size, known = path.stat().st_size, self._counted.get(path)
                if known is None or known[0] != size:
                    known = (size, _count(path, size))
            except FileNotFoundError:
                continue
            except OSError:
                known = (0, 0)  # `take` says what is the matter
            counted[path] = known
        self._counted = counted
        sizes, counts = [size for size, _ in counted.values()], [count for _, count in counted.values()]
        return Waiting(len(counted), sum(counts), sum(sizes))

    def _put_aside(self, path: Path, error: OSError) -> None:
        self._set_aside.add(path)
        _log.error("spill_unusable", file=str(path), reason=str(error))

    def _write(self, frames: bytes, count: int) -> int:
        try:
            if self._size and self._size + len(frames) > self._segment_bytes:
                self.seal()
            if self._descriptor is None:
                self._begin()
            assert self._descriptor is not None
            written = os.write(self._descriptor, frames)
            if written != len(frames):
                raise OSError(f"only {written} of {len(frames)} bytes could be written; is the disk full?")
            os.fsync(self._descriptor)
        except OSError as error:
            self._abandon()
            raise SpillFailed(f"{self._folder}: {error}") from error
        self._size += written
        self._count += count
        return written

    def _begin(self) -> None:
        """A new segment, locked from before its first byte."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self._folder.parent)
        while True:
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if _lock(descriptor):
                break
            os.close(descriptor)  # another recorder found it empty before we had it, and removes it
        self._path, self._descriptor = path, descriptor
        self._size = self._count = 0
        _sync_folder(self._folder)

    def _abandon(self) -> None:
        """A write failed: what was synced before stays, what came after is cut off, and a new segment begins
        with the next write. (After a failed sync the kernel forgets that pages were dirty: no second try.)"""
        if self._descriptor is None:
            return
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            pass  # the torn rest is recognised
        self._close()

    def _close(self) -> None:
        assert self._descriptor is not None
        if not self._size:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None
        self._size = self._count = 0


def _take(path: Path) -> TakenSegment | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if _lock(descriptor):
            with open(descriptor, "rb", closefd=False) as file:
                return TakenSegment(path, descriptor, read_content(file.read()))
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _count(path: Path, size: int) -> int:
    """Entries in the segment: what its seal says, else as many as can be read. A spill may be large."""
    with path.open("rb") as file:
        file.seek(max(0, size - SEAL_BYTES))
        counted = sealed_count(file.read(SEAL_BYTES))
    return len(read_content(path.read_bytes()).entries) if counted is None else counted


def _lock(descriptor: int) -> bool:
    """Lock the open file; False when another process has it, or had it and removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _sync_folder(folder: Path) -> None:
    """Bring the folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
