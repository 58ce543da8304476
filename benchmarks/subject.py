"""Subjects: what the load goes through, and where its processes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lane import Lane

PATH = "/v1/chat/completions"


def nothing_to_drain(answered: int) -> None:
    """Most subjects have no work left when the last answer was read."""


def no_processes() -> Mapping[str, Sequence[int]]:
    """The direct way has no process between load generator and upstream."""
    return {}


@dataclass(frozen=True, slots=True)
class Subject:
    """One way from the load generator to the upstream.

    `groups` names its processes now, the group that carries the requests first; those named in `pinned`
    run on the measured core, the others beside the upstream; where it is `spread`, each pinned process on a
    core of its own as far as there are, the measured one first. `stream_port` where streams enter elsewhere.
    `wait_drained` is told how many more requests were answered, and returns when all their work is done. A
    `guest` is somebody else's: where it does not answer as it should it is left out, and the rest goes on.
    """

    name: str
    port: int
    headers: Sequence[tuple[str, str]]
    host: str = "127.0.0.1"
    path: str = PATH
    stream_port: int | None = None
    groups: Callable[[], Mapping[str, Sequence[int]]] = no_processes
    pinned: Sequence[str] = ()
    wait_drained: Callable[[int], None] = nothing_to_drain
    spread: bool = False
    guest: bool = False

    def port_for(self, lane: Lane) -> int:
        """The port this lane's requests enter by."""
        return self.stream_port if lane.stream and self.stream_port is not None else self.port


@dataclass(frozen=True, slots=True)
class Crew:
    """What the benchmark itself runs: its upstream, its load generator, and the cores they share."""

    upstream_pid: int
    upstream_port: int
    load_program: Path
    measured_cores: Sequence[int]
    other_cores: Sequence[int]
