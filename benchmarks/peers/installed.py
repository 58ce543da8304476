"""Which peers are here, and what must be known beside their figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import Stage
from benchmarks.subject import Subject

DEFAULT_FOLDER = Path.home() / ".cache" / "tollkeeper-peers"
"""Where `benchmarks/peers/install` puts them."""


class NotInstalled(Exception):
    """A peer is not here; the sentence says what would bring it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer that can be started: its version, what it does `more` and `less` than ours for a request, and
    how it is set up."""

    name: str
    version: str
    more: str
    less: str
    setting: str
    start: Callable[[Stage], Subject]

    def document(self) -> dict[str, str]:
        """All but how to start it."""
        return {
            "version": self.version,
            "more": self.more,
            "less": self.less,
            "setting": self.setting,
        }


def find_peers(folder: Path, tell: Callable[[str], None]) -> list[Installed]:
    """The peers in `folder` or on PATH; what is not here is told."""
    from benchmarks.peers.goproxy_subject import find_goproxy
    from benchmarks.peers.litellm_subject import find_litellm
    from benchmarks.peers.portkey_subject import find_portkey

    found = []
    for find in (find_goproxy, find_litellm, find_portkey):
        try:
            found.append(find(folder))
        except NotInstalled as error:
            tell(f"not measured: {error}")
    return found


def default_folder() -> Path:
    """The folder of peers: TOLLKEEPER_PEERS, or one in the user's cache."""
    return Path(os.environ.get("TOLLKEEPER_PEERS") or DEFAULT_FOLDER)
