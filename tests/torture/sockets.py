"""Whose connections are open, read from /proc: which worker carries which client's stream."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ESTABLISHED = "01"


def carried(pid: int, ports: set[int]) -> int:
    """How many of these clients' ports are at the other end of this process' connections."""
    mine = _inodes(pid)
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == ESTABLISHED and words[9] in mine:
            count += int(words[2].rpartition(":")[2], 16) in ports
    return count


def _inodes(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                name = os.readlink(entry)
                if name.startswith("socket:["):
                    found.add(name[8:-1])
    return found
