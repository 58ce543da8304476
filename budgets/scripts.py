"""The ledger's Lua scripts, read once: source and the digest by which Redis knows each."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).with_name("lua")
_USE = "-- use: "


@dataclass(frozen=True, slots=True)
class Script:
    """One script: `sha` is what EVALSHA names."""

    name: str
    source: str
    sha: str


def _read(name: str) -> Script:
    """The script of this name; a line `-- use: part` stands for a function that several have (lua/parts)."""
    source = _with_parts((_FOLDER / f"{name}.lua").read_text(encoding="utf-8"))
    # Not a safeguard: SHA-1 is simply how Redis names a script.
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def _with_parts(source: str) -> str:
    for line in source.splitlines():
        if line.startswith(_USE):
            part = (_FOLDER / "parts" / f"{line.removeprefix(_USE)}.lua").read_text(encoding="utf-8")
            source = source.replace(f"{line}\n", _with_parts(part))
    return source


OPEN = _read("open")
EXTEND = _read("extend")
HEARTBEAT = _read("heartbeat")
RESTORE = _read("restore")
CLOSE = _read("close")
SEED = _read("seed")
SEED_ROWS = _read("seed_rows")
DROP = _read("drop")
ADJUST = _read("adjust")
COUNT = _read("count")
LOOK = _read("look")
REHOLD = _read("rehold")
PRUNE = _read("prune")
ACCRUE = _read("accrue")
CLAIM = _read("claim")
UNCLAIM = _read("unclaim")

ON_EVERY_REQUEST = (OPEN, EXTEND, HEARTBEAT, RESTORE, CLOSE)
"""What a worker's connection loads when it connects."""
