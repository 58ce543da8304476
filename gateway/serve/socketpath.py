"""Where a socket of ours lies: in the data directory, or somewhere shorter.

A unix socket's path may not be longer than about a hundred bytes, which a deep data directory exceeds.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

SOCKET_PATH_MAX = 103  # sun_path holds 104 bytes on macOS (108 on Linux) with its closing NUL
NAME = "valkey.sock"
RECORD = "socket-directory"


def place(data_dir: Path, directory: Path, name: str = NAME) -> Path:
    """`data_dir/name`, or a short path in a private directory when that is too long for a socket.

    The private directory is recorded, so that a later start looks for left-overs at the same place.
    """
    path = data_dir / name
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    record = directory / RECORD
    with contextlib.suppress(FileNotFoundError):
        recorded = Path(record.read_text())
        if _is_private(recorded):
            return recorded / name
    short = Path(tempfile.mkdtemp(prefix="tollkeeper-"))
    if len(os.fsencode(short)) > SOCKET_PATH_MAX - len(f"/{name}"):
        short.rmdir()
        short = Path(tempfile.mkdtemp(prefix="tollkeeper-", dir="/tmp"))
    record.write_text(str(short))
    return short / name


def remove(path: Path, directory: Path) -> None:
    """Remove the socket, and the private directory that was made for it."""
    path.unlink(missing_ok=True)
    record = directory / RECORD
    if path.parent not in (directory, directory.parent) and record.exists():
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        record.unlink()


def _is_private(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and stat.S_IMODE(status.st_mode) == 0o700
    )
