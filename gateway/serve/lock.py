"""One supervisor per data directory, and what the running one says of itself.

`serve.lock` is locked with flock for as long as the supervisor lives and holds its pid. `serve.json`
(mode 600) holds the addresses in force, for the other commands of the same installation.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LOCK_FILE = "serve.lock"
STATE_FILE = "serve.json"
PROBE_ATTEMPTS, PROBE_PAUSE_S = 20, 0.01
"""A command that asks whether a supervisor runs holds the lock for a moment; that is not a supervisor."""


class DirectoryBusy(Exception):
    """Another supervisor runs on this data directory. `pid` is None when it could not be read."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        named = f"pid {pid}" if pid else "pid unknown"
        super().__init__(
            f"another `tollkeeper serve` ({named}) runs on the data directory {data_dir}; "
            f"stop it first, or choose another directory with --data-dir"
        )
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Running:
    """The addresses of a running installation. `redis_url` is None when it is the configured one."""

    pid: int
    base_url: str
    metrics_url: str
    redis_url: str | None
    simulator_url: str | None


class DirectoryLock:
    """Holds the data directory; create with `take`, end with `release`. Children do not inherit it."""

    def __init__(self, data_dir: Path, descriptor: int) -> None:
        self._data_dir = data_dir
        self._descriptor = descriptor

    @classmethod
    def take(cls, data_dir: Path) -> DirectoryLock:
        """Create the directory where needed and lock it; raises DirectoryBusy, naming the pid."""
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for attempt in range(PROBE_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == PROBE_ATTEMPTS - 1:
                    pid = read_pid(data_dir / LOCK_FILE)
                    os.close(descriptor)
                    raise DirectoryBusy(data_dir, pid) from None
                time.sleep(PROBE_PAUSE_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        (data_dir / STATE_FILE).unlink(missing_ok=True)
        return cls(data_dir, descriptor)

    def announce(self, state: Running) -> None:
        """Publish the addresses in force; replaces the file in one step."""
        path = self._data_dir / STATE_FILE
        fresh = path.with_suffix(".fresh")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(state), file, indent=1)
        fresh.replace(path)

    def release(self) -> None:
        """Give the directory up; the lock file stays, since removing it would open a race."""
        (self._data_dir / STATE_FILE).unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def running(data_dir: Path) -> Running | None:
    """What the supervisor on `data_dir` announced, or None when none runs or it is not ready yet."""
    if not held(data_dir / LOCK_FILE):
        return None
    try:
        return Running(**json.loads((data_dir / STATE_FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def held(lock_file: Path) -> bool:
    """True while some process holds the flock on this file."""
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_pid(path: Path) -> int | None:
    """The pid written in a lock file, or None when there is none to read."""
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
