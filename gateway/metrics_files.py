"""The metric value files that workers write and the supervisor's scrape port reads.

Files are named by the writer's place (`worker-0`, `recorder`), not by its pid: a replaced worker goes on
in its predecessor's file. With pids, a hundred dead workers made one scrape take 457 ms.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path


def value_directory(data_dir: Path) -> Path:
    """Where the value files of the installation in `data_dir` lie: in memory where the system allows it.

    They are mapped into memory and written on every request; on a disk, each write after a flush of the page
    (and the append-only file and the event store flush all the time) waits for the file system's journal.
    """
    memory = Path("/dev/shm")  # noqa: S108  # used below only under a name that is ours
    if memory.is_dir() and os.access(memory, os.W_OK):
        name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
        place = memory / f"tollkeeper-{os.getuid()}-{name}"
        if not place.is_symlink() and (not place.exists() or place.stat().st_uid == os.getuid()):
            return place
    return data_dir / "metrics"


def use_value_files(directory: Path | str, owner: str) -> None:
    """Send this process' metrics to files of `owner` in `directory`.

    Call it before the first metric is constructed. `owner` names the place, is unique among running
    processes, and holds no underscore (prometheus_client splits file names there). Counters and
    histograms continue where the former owner stopped; gauges keep its last value until they are set.
    """
    if "_" in owner or os.sep in owner:
        raise ValueError(f"a value file's owner has no underscore and no separator: {owner!r}")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: owner)  # type: ignore[no-untyped-call]


def forget_live_gauges(directory: Path | str, owner: str) -> None:
    """Remove what a dead process said of the present (gauges of the live modes)."""
    for path in Path(directory).glob(f"gauge_live*_{owner}.db"):
        path.unlink(missing_ok=True)


def wipe(directory: Path | str) -> None:
    """Begin with an empty directory: files of a former installation's run are not ours to add up."""
    remove(directory)
    Path(directory).mkdir(mode=0o700, parents=True)


def remove(directory: Path | str) -> None:
    """Leave nothing behind."""
    shutil.rmtree(directory, ignore_errors=True)
