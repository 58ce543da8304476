"""Under which name a recorder reads: one of its data directory's slots, held by a lock on a file.

The name is made once and kept in the slot's file, so the successor of a killed recorder (whose lock the
system takes back) reads on at once with what its predecessor had in hand. Recorders that run at the same
time hold different slots, and those of other machines have other files: no two have one name.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path

SLOTS_MAX = 64
_NAME = re.compile(r"[!-~]{1,200}")


class ReaderSlot:
    """A name, for as long as this object is not released."""

    def __init__(self, name: str, descriptor: int | None) -> None:
        self.name = name
        self._descriptor = descriptor

    @classmethod
    def take(cls, data_dir: Path) -> ReaderSlot:
        """The first free slot. Where the directory cannot be used, a name that no successor will have."""
        for number in range(SLOTS_MAX):
            try:
                descriptor = os.open(
                    data_dir / f"recorder-{number}.slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
            except OSError:
                break
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(_name(descriptor, number), descriptor)
            except BlockingIOError:
                os.close(descriptor)
            except OSError:
                os.close(descriptor)
                break
        return cls(f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}", None)

    def release(self) -> None:
        """Give the slot up; the file stays, with its name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _name(descriptor: int, number: int) -> str:
    """The name kept in the slot's file, which is made where there is none that can be used."""
    kept = os.pread(descriptor, 256, 0).decode(errors="replace").strip()
    if _NAME.fullmatch(kept):
        return kept
    made = f"{_host()}-{number}-{secrets.token_hex(8)}"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{made}\n".encode(), 0)
    return made


def _host() -> str:
    """This machine's name, as far as it may stand in a reader's."""
    return re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:60] or "host"
