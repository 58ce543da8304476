"""The ledger's Lua scripts, read once: source and the digest by which Redis knows each."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).with_name("lua")


@dataclass(frozen=True, slots=True)
class Script:
    """One script: `sha` is what EVALSHA names."""

    name: str
    source: str
    sha: str


def _read(name: str) -> Script:
    source = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    # Not a safeguard: SHA-1 is simply how Redis names a script.
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


OPEN = _read("open")
EXTEND = _read("extend")
HEARTBEAT = _read("heartbeat")
CLOSE = _read("close")
SEED = _read("seed")

ON_EVERY_REQUEST = (OPEN, EXTEND, HEARTBEAT, CLOSE)
"""What a worker's connection loads when it connects."""
