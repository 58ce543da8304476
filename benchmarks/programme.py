"""What is measured together: lanes that need the same subjects are one act, on one stage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.lane import Lane
from benchmarks.setup import Setup


@dataclass(frozen=True, slots=True)
class Act:
    """Lanes over the same subjects: these gateways, with others' or not."""

    gateways: tuple[Setup, ...]
    peers: bool
    lanes: tuple[Lane, ...]

    @property
    def direct(self) -> bool:
        """Whether some lane asks for the direct way."""
        return any(lane.direct for lane in self.lanes)


def acts(lanes: Sequence[Lane], *, gateway: bool = True, peers: bool = False) -> list[Act]:
    """The acts of these lanes, in the order in which their first lanes were asked for.

    `peers`: there are some, for the lanes that admit them.
    """
    found: dict[tuple[tuple[Setup, ...], bool], list[Lane]] = {}
    for lane in lanes:
        needs = (lane.gateways if gateway else (), peers and lane.peers)
        found.setdefault(needs, []).append(lane)
    return [Act(*needs, tuple(mine)) for needs, mine in found.items()]
