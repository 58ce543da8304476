"""Processes as the operating system sees them: CPU clocks, memory, children, sockets, cores.

CPU time is the kernel's own clock of a whole process (`clock_getcpuclockid`, nanoseconds, all threads, also
those that ended), plus that of children it has waited for (`cutime`, in ticks of 10 ms: a Redis rewriting its
append-only file forks). Linux only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2
LISTEN_STATE = "0A"


class ProcessGone(Exception):
    """A process that should have lived through the measurement ended."""


def cpu_ns(pid: int) -> int:
    """CPU nanoseconds (user and system) the process and its waited-for children have used."""
    try:
        own = time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
        fields = _stat_fields(pid)
    except OSError as error:
        raise ProcessGone(f"process {pid} ended during the measurement") from error
    children_ticks = int(fields[13]) + int(fields[14])
    return own + children_ticks * 1_000_000_000 // TICKS_PER_S


def machine_busy_ns() -> int:
    """CPU nanoseconds that all cores together have spent on anything, since boot; in ticks of 10 ms."""
    first = (PROC / "stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _iowait, irq, softirq = (int(word) for word in first[1:8])
    return (user + nice + system + irq + softirq) * 1_000_000_000 // TICKS_PER_S


def reset_peak(pid: int) -> None:
    """From now on `peak_rss_bytes` tells the most since now; where the kernel refuses, since the start."""
    with suppress(OSError):
        (PROC / str(pid) / "clear_refs").write_text("5")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory of the process since `reset_peak`; 0 when it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else 0


def rss_bytes(pid: int) -> int:
    """Resident memory of the process now; 0 when it is gone."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def started_at(pid: int) -> int | None:
    """Start time in ticks since boot: with the pid it names one process for ever. None when it is gone."""
    try:
        return int(_stat_fields(pid)[19])
    except OSError:
        return None


def command_line(pid: int) -> str:
    """The words the process was started with, or "" when it is gone."""
    try:
        return (
            (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return ""


def name_of(pid: int) -> str:
    """The short name (`comm`) of the process, or "" when it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """All living children, grandchildren and so on, parents before children."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        try:
            children.setdefault(int(_stat_fields(other)[1]), []).append(other)
        except OSError:
            continue
    found: list[int] = []
    waiting = [pid]
    while waiting:
        born = sorted(children.get(waiting.pop(0), []))
        found += born
        waiting += born
    return found


def listeners(port: int) -> list[int]:
    """Processes that hold a socket listening on this TCP port."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN_STATE and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return [pid for pid in _pids() if _holds(pid, inodes)]


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Keep every thread of the processes on these cores; threads started later inherit it."""
    chosen = set(cores)
    for pid in pids:
        try:
            threads = [int(task.name) for task in (PROC / str(pid) / "task").iterdir()]
        except OSError as error:
            raise ProcessGone(f"process {pid} ended before it could be pinned") from error
        for thread in threads:
            try:
                os.sched_setaffinity(thread, chosen)
            except ProcessLookupError:
                continue


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name (which may hold spaces): state, ppid, ..."""
    text = (PROC / str(pid) / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _holds(pid: int, inodes: set[str]) -> bool:
    if not inodes:
        return False
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            try:
                if os.readlink(entry) in inodes:
                    return True
            except OSError:
                continue
    except OSError:
        return False
    return False
