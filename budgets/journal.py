"""Journal: the file in which a worker keeps what the ledger could not be told. No other use.

    open   a request was accepted while the ledger was away
    close  a request has ended and its close was not acknowledged
    done   the ledger knows of the request by now

One file belongs to one worker slot, and to one process at a time (a lock on the file). A record is a line of
JSON behind its length and checksum, appended by one write, so a killed process leaves whole records and at
most one torn tail, which is recognised and ignored. Whoever owns the file next tells the ledger what is not
done; then the file is emptied.
"""

from __future__ import annotations

import fcntl
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from budgets.answers import Lease
from budgets.hold import Settled
from budgets.rowset import read_record

FOLDER = "journal"
SUFFIX = ".journal"
_HEAD = 18
"""Eight hexadecimal digits of length, eight of CRC-32, each followed by a space."""


class JournalUnavailable(Exception):
    """The journal cannot be written; the text says why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that the ledger has not been told all of.

    `close`: how it ended, None when its worker died before. `lease.payload` is its event in the open form.
    """

    lease: Lease
    close: KeptClose | None


@dataclass(frozen=True, slots=True)
class KeptClose:
    """A close as it was meant. `event`: the encoded cost event."""

    settled: Settled
    status: str
    event: bytes


class Journal:
    """The journal of one slot, locked for as long as this object lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._waiting: set[str] = set()
        self._size = os.fstat(descriptor).st_size
        self._unsynced = False
        if self._size and os.pread(descriptor, 1, self._size - 1) != b"\n":
            # The last owner was killed in mid-write: what is appended must not continue its torn record.
            self._size += os.write(descriptor, b"\n")

    @classmethod
    def take(cls, path: Path) -> Journal | None:
        """Lock the file, making it if need be; None when another process has it. OSError: no use of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @property
    def waiting(self) -> int:
        """Requests noted by this process that are not done."""
        return len(self._waiting)

    def opened(self, lease: Lease, key_id: str) -> None:
        """Note that the request runs without the ledger's grant. Raises JournalUnavailable."""
        self._append({"k": "open", "key": key_id, **_lease_fields(lease)})
        self._waiting.add(lease.request_id)

    def closed(self, lease: Lease, settled: Settled, *, status: str, event: bytes) -> None:
        """Note how the request ended. Raises JournalUnavailable."""
        fields = {name: getattr(settled, name) for name in Settled.__slots__}
        self._append(
            {"k": "close", "settled": fields, "status": status, "event": _text(event), **_lease_fields(lease)}
        )
        self._waiting.add(lease.request_id)

    def done(self, request_id: str) -> None:
        """Note that the ledger knows; the file is emptied when nothing waits any more."""
        if request_id not in self._waiting:
            return
        self._waiting.discard(request_id)
        if self._waiting:
            try:
                self._append({"k": "done", "id": request_id})
            except JournalUnavailable:
                pass  # it is told to the ledger once more, which takes it once
        else:
            self.clear()

    def kept(self) -> list[Kept]:
        """What the file's former owners left, in the order of their opening."""
        with self.path.open("rb") as file:
            return outstanding(file.read())

    def clear(self) -> None:
        """Empty the file: the ledger knows all of it."""
        os.ftruncate(self._descriptor, 0)
        self._size = 0

    def sync(self) -> None:
        """Bring what was appended to the disk, so that a power cut does not take it. OSError."""
        if self._unsynced:
            self._unsynced = False
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Give the file up."""
        os.close(self._descriptor)

    def _append(self, record: dict[str, Any]) -> None:
        text = orjson.dumps(record)
        line = b"%08x %08x %s\n" % (len(text), crc32(text), text)
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise JournalUnavailable(f"{self.path}: {error.strerror}") from error
        if written != len(line):
            os.ftruncate(self._descriptor, self._size)
            raise JournalUnavailable(f"{self.path}: the disk is full")
        self._size += written
        self._unsynced = True


def outstanding(content: bytes) -> list[Kept]:
    """The requests in a journal's content that are not done, each as its last records say. Pure."""
    found: dict[str, Kept] = {}
    for record in records(content):
        if record["k"] == "done":
            found.pop(record["id"], None)
            continue
        lease, close = _lease_of(record), None
        if record["k"] == "close":
            close = KeptClose(Settled(**record["settled"]), record["status"], _bytes(record["event"]))
        found[lease.request_id] = Kept(lease, close)
    return list(found.values())


def records(content: bytes) -> Iterator[dict[str, Any]]:
    """The whole records of a journal's content; a torn or damaged one is passed over to the next line."""
    at = 0
    while at < len(content):
        end = content.find(b"\n", at)
        if end < 0:
            return
        line, at = content[at:end], end + 1
        try:
            length, checksum = int(line[:8], 16), int(line[9:17], 16)
        except ValueError:
            continue
        text = line[_HEAD:]
        if len(text) == length and crc32(text) == checksum:
            yield orjson.loads(text)


def _lease_fields(lease: Lease) -> dict[str, Any]:
    return {
        "id": lease.request_id,
        "account": lease.account_id,
        "shard": lease.shard,
        "rows": lease.rows.record,
        "meters": lease.rows.meters,
        "held": lease.held,
        "at": lease.at_ms,
        "covered": lease.covered,
        "payload": _text(lease.payload),
    }


def _lease_of(record: dict[str, Any]) -> Lease:
    return Lease(
        request_id=record["id"],
        account_id=record["account"],
        rows=read_record(record["shard"], record["rows"], record["meters"]),
        held=record["held"],
        at_ms=record["at"],
        payload=_bytes(record["payload"]),
        covered=record["covered"],
    )


def _text(value: bytes) -> str:
    """Payloads and events are JSON as a rule, and readable; anything else is kept all the same."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return b64decode(value[7:]) if value.startswith("base64:") else value.encode()
