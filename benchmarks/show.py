"""The bars of the whole, from show.json, held against one run's samples and readings. Pure.

A row's value is of pairs that were measured in the same round, their median with the extremes. Microseconds
are those of one machine in one minute: bars in microseconds are meant for a machine on which nginx takes
NGINX_US for a request of 1 KB, so such a row is judged as it would be there, and told as it is here, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import SUM, Sample, Spread, chosen
from benchmarks.once import Reading

ROWS = Path(__file__).resolve().parent / "show.json"
NGINX_US = 13.5
YARDSTICK, USUAL_LANE = "nginx", "nonstream-64"
TIMED = {"s": 1, "us": 1, "events/s": -1}
"""Units of readings that follow the speed of the machine, and in which direction."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence of show.json. Exactly one of `at_most` and `at_least` is set.

    Kinds: `ratio`, CPU per unit of `subject` (its `group`) over that of `than` (its `than_group`); `inverse`,
    the same upside down; `later`, milliseconds of a quantile more than of `than`, told `beside` another
    subject's; `dearer`, microseconds more than in `than_lane`, on a machine where nginx takes NGINX_US;
    `reading`, one of once.py, in its `unit`.
    """

    row: str
    kind: str
    lane: str = ""
    subject: str = "gateway"
    group: str = "gateway"
    than: str = YARDSTICK
    than_group: str = SUM
    than_lane: str = ""
    quantity: str = ""
    quantile: str = ""
    beside: str = ""
    reading: str = ""
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"show.json: {self.row}: set either at_most or at_least")
        if self.kind not in KINDS:
            raise ValueError(f"show.json: {self.row}: no kind is called {self.kind}")

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that it needs."""
        return tuple(filter(None, (self.lane, self.than_lane)))

    @property
    def bar(self) -> str:
        sign, value = ("<=", self.at_most) if self.at_most is not None else (">=", self.at_least)
        return f"{sign} {value:,g}{self.suffix}"

    @property
    def suffix(self) -> str:
        """The unit, as it stands behind a figure."""
        return f" {self.unit}" if self.unit else UNITS[self.kind]


@dataclass(frozen=True, slots=True)
class Judged:
    """A row beside what was measured: None where nothing was. `note` says what belongs beside the figure."""

    row: Row
    measured: Spread | None
    note: str = ""

    @property
    def held(self) -> bool | None:
        if self.measured is None:
            return None
        if self.row.at_most is not None:
            return self.measured.median <= self.row.at_most
        return self.row.at_least is not None and self.measured.median >= self.row.at_least

    @property
    def state(self) -> str:
        return {True: "held", False: "NOT HELD", None: "not measured"}[self.held]

    @property
    def figure(self) -> str:
        if self.measured is None:
            return "-"
        digits = 0 if self.measured.median >= 1000 else 2 if self.measured.median < 100 else 1
        return f"{self.measured.text(digits)}{self.row.suffix}"

    def document(self) -> dict[str, Any]:
        return {
            "row": self.row.row,
            "bar": self.row.bar,
            "measured": self.measured.document() if self.measured else None,
            "held": self.held,
            "note": self.note,
        }


def load_rows() -> list[Row]:
    """The rows of show.json."""
    return [Row(**row) for row in json.loads(ROWS.read_text(encoding="utf-8"))["rows"]]


def judge_rows(rows: Iterable[Row], samples: Sequence[Sample], readings: Sequence[Reading]) -> list[Judged]:
    """Every row, in its order."""
    known = {reading.name: reading for reading in readings}
    return [KINDS[row.kind](row, samples, known) for row in rows]


def table_of(judged: Sequence[Judged]) -> list[str]:
    """A Markdown table."""
    return [
        "| | measured | bar | | beside it |",
        "|---|---|---|---|---|",
        *(
            f"| {each.row.row} | {each.figure} | {each.row.bar} | {each.state} | {each.note} |"
            for each in judged
        ),
    ]


def _pairs(
    samples: Sequence[Sample], lane: str, subject: str, than: str, than_lane: str = ""
) -> list[tuple[Sample, Sample]]:
    """Samples of both that were taken in the same round."""
    others = {sample.round: sample for sample in chosen(samples, than_lane or lane, than)}
    mine = chosen(samples, lane, subject)
    return [(sample, others[sample.round]) for sample in mine if sample.round in others]


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread.of(values) if values else None


def _ratio(row: Row, samples: Sequence[Sample], _: Mapping[str, Reading]) -> Judged:
    pairs = _pairs(samples, row.lane, row.subject, row.than)
    ratios = [one.of(row.group) / other.of(row.than_group) for one, other in pairs]
    if row.kind == "inverse":
        ratios = [1 / ratio for ratio in ratios]
    if not pairs:
        return Judged(row, None)
    mine = Spread.of([one.of(row.group) for one, _other in pairs])
    theirs = Spread.of([other.of(row.than_group) for _one, other in pairs])
    note = f"{mine.median:,.1f} us and {theirs.median:,.1f} us here"
    if row.than == YARDSTICK and not row.lane.startswith(("paced", "unpaced")):
        note += f"; {Spread.of(ratios).median * NGINX_US:,.0f} us where nginx takes {NGINX_US}"
    return Judged(row, _spread(ratios), note)


def _later(row: Row, samples: Sequence[Sample], _: Mapping[str, Reading]) -> Judged:
    def added(subject: str) -> list[float]:
        pairs = _pairs(samples, row.lane, subject, row.than)
        found = ((getattr(one, row.quantity), getattr(other, row.quantity)) for one, other in pairs)
        return [(one[row.quantile] - other[row.quantile]) / 1000 for one, other in found if one and other]

    note = ""
    if row.beside and (theirs := added(row.beside)):
        note = f"{row.beside}: {Spread.of(theirs).text(2)} ms"
    return Judged(row, _spread(added(row.subject)), note)


def _dearer(row: Row, samples: Sequence[Sample], _: Mapping[str, Reading]) -> Judged:
    pairs = _pairs(samples, row.lane, row.subject, row.subject, row.than_lane)
    nginx = {sample.round: sample.total_us for sample in chosen(samples, row.than_lane, YARDSTICK)}
    here = {one.round: one.of(row.group) - other.of(row.group) for one, other in pairs}
    there = [us * NGINX_US / nginx[number] for number, us in here.items() if nginx.get(number)]
    note = f"{Spread.of(list(here.values())).text()} us here" if here else ""
    return Judged(row, _spread(there), note)


def _reading(row: Row, samples: Sequence[Sample], readings: Mapping[str, Reading]) -> Judged:
    found = readings.get(row.reading)
    if found is None:
        return Judged(row, None)
    measured, note = Spread.of(found.values), ""
    nginx = [sample.total_us for sample in chosen(samples, USUAL_LANE, YARDSTICK)]
    if nginx and found.unit in TIMED:
        there = measured.median * (NGINX_US / Spread.of(nginx).median) ** TIMED[found.unit]
        note = f"about {there:,.{1 if there < 100 else 0}f} {found.unit} where nginx takes {NGINX_US} us"
    return Judged(row, measured, note)


KINDS: dict[str, Callable[[Row, Sequence[Sample], Mapping[str, Reading]], Judged]] = {
    "ratio": _ratio,
    "inverse": _ratio,
    "later": _later,
    "dearer": _dearer,
    "reading": _reading,
}
UNITS = {"ratio": "x", "inverse": "x", "later": " ms", "dearer": " us", "reading": ""}
