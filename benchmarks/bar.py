"""Bars: how dear a lane may be beside nginx before CI fails. Pure; the values are in bars.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import Sample, Spread, paired_ratios

BARS = Path(__file__).resolve().parent / "bars.json"


@dataclass(frozen=True, slots=True)
class Bar:
    """One sentence of bars.json.

    `at_most` bounds CPU per unit as a multiple of nginx's. `at_least` bounds the inverse, units per second
    of CPU as a multiple of nginx's. Exactly one of them is set.
    """

    lane: str
    group: str
    at_most: float | None = None
    at_least: float | None = None

    def loosened(self, factor: float) -> Bar:
        """The same bar, `factor` times easier to hold."""
        if self.at_most is not None:
            return replace(self, at_most=round(self.at_most * factor, 3))
        assert self.at_least is not None
        return replace(self, at_least=round(self.at_least / factor, 3))

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"bars.json: {self.lane} {self.group}: set either at_most or at_least")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar beside what was measured (in the bar's own direction)."""

    bar: Bar
    measured: Spread
    rounds: int

    @property
    def held(self) -> bool:
        if self.bar.at_most is not None:
            return self.measured.median <= self.bar.at_most
        return self.bar.at_least is not None and self.measured.median >= self.bar.at_least

    def text(self) -> str:
        """One line for people."""
        wanted = f"<= {self.bar.at_most}x" if self.bar.at_most is not None else f">= {self.bar.at_least}x"
        what = "CPU" if self.bar.at_most is not None else "units per core"
        state = "ok  " if self.held else "FAIL"
        return (
            f"{state} {self.bar.lane}: {self.bar.group} {what} {self.measured.text(2)}x nginx's over "
            f"{self.rounds} rounds, bar {wanted}"
        )


def load_bars(document: dict[str, Any] | None = None) -> list[Bar]:
    """The bars of bars.json (or of the document given)."""
    if document is None:
        document = json.loads(BARS.read_text(encoding="utf-8"))
    return [Bar(**row) for row in document["ratios"]]


def judge(bar: Bar, samples: Sequence[Sample], subject: str = "gateway", yardstick: str = "nginx") -> Verdict:
    """Hold the bar against the paired rounds. ValueError when there is no pair to judge."""
    ratios = paired_ratios(samples, bar.lane, subject, bar.group, yardstick)
    if not ratios:
        raise ValueError(
            f"no paired rounds of {subject} and {yardstick} in lane {bar.lane}, group {bar.group}"
        )
    if bar.at_least is not None:
        ratios = [1.0 / ratio for ratio in ratios]
    return Verdict(bar, Spread.of(ratios), len(ratios))
