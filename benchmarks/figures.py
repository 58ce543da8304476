"""What rounds add up to: medians with their spread, and ratios of pairs measured side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SUM = "sum"


@dataclass(frozen=True, slots=True)
class Sample:
    """One subject under one lane in one round.

    `cpu_us` are microseconds per unit (request or chunk) of each process group; `busy` the share of one
    core that each group, the benchmark's own upstream and load generator, and everything else on the machine
    ("others") kept busy while load ran.
    """

    lane: str
    subject: str
    round: int
    units: int
    requests: int
    wall_s: float
    drain_s: float
    cpu_us: dict[str, float]
    rss_bytes: dict[str, int]
    busy: dict[str, float]
    latency_us: dict[str, float]
    first_byte_us: dict[str, float]
    gap_us: dict[str, float]
    events_per_response: tuple[int, int]

    @property
    def total_us(self) -> float:
        """CPU per unit over all processes of the subject."""
        return sum(self.cpu_us.values())

    def of(self, group: str) -> float:
        """CPU per unit of one process group, or of all of them ("sum")."""
        return self.total_us if group == SUM else self.cpu_us[group]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the extremes it was taken from."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Such as "72.4 [61.8-81.6]"."""
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f}-{self.most:,.{digits}f}]"

    def document(self) -> dict[str, float]:
        return {"median": self.median, "min": self.least, "max": self.most}


def chosen(samples: Sequence[Sample], lane: str, subject: str) -> list[Sample]:
    """The samples of one lane and subject in the order of their rounds."""
    found = [sample for sample in samples if sample.lane == lane and sample.subject == subject]
    return sorted(found, key=lambda sample: sample.round)


def groups(samples: Sequence[Sample]) -> list[str]:
    """Names of the process groups of these samples, with "sum" where there is more than one."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.cpu_us))
    return [*names, SUM] if len(names) > 1 else names


def paired_ratios(
    samples: Sequence[Sample], lane: str, subject: str, group: str, yardstick: str
) -> list[float]:
    """CPU per unit of `group` over the yardstick's, round by round; rounds that lack one side are left out.

    The yardstick's own CPU is the sum over its processes.
    """
    measure = {sample.round: sample.total_us for sample in chosen(samples, lane, yardstick)}
    return [
        sample.of(group) / measure[sample.round]
        for sample in chosen(samples, lane, subject)
        if group == SUM or group in sample.cpu_us
        if measure.get(sample.round)
    ]


def summary(samples: Sequence[Sample], yardstick: str = "nginx") -> dict[str, Any]:
    """The whole run as one document: lane -> subject -> figures."""
    lanes: dict[str, Any] = {}
    for lane in dict.fromkeys(sample.lane for sample in samples):
        subjects = dict.fromkeys(sample.subject for sample in samples if sample.lane == lane)
        lanes[lane] = {subject: _subject(samples, lane, subject, yardstick) for subject in subjects}
    return lanes


def _subject(samples: Sequence[Sample], lane: str, subject: str, yardstick: str) -> dict[str, Any]:
    mine = chosen(samples, lane, subject)
    document: dict[str, Any] = {
        "rounds": len(mine),
        "cpu_us": {},
        "ratio": {},
        "units_per_s": Spread.of([sample.units / sample.wall_s for sample in mine]).document(),
        "rss_mib": {name: max(s.rss_bytes.get(name, 0) for s in mine) / 2**20 for name in mine[0].rss_bytes},
        "busy": {name: median(sample.busy.get(name, 0.0) for sample in mine) for name in mine[0].busy},
    }
    for group in groups(mine):
        document["cpu_us"][group] = Spread.of([sample.of(group) for sample in mine]).document()
        if subject != yardstick:
            ratios = paired_ratios(samples, lane, subject, group, yardstick)
            if ratios:
                document["ratio"][group] = Spread.of(ratios).document()
    for name in ("latency_us", "first_byte_us", "gap_us"):
        quantiles: list[dict[str, float]] = [getattr(sample, name) for sample in mine]
        if all(quantiles):
            document[name] = {key: median(each[key] for each in quantiles) for key in quantiles[0]}
    return document


def table(lane: str, unit: str, subjects: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table for one lane of `summary`."""
    lines = [
        f"**{lane}** (CPU microseconds per {unit}, median [min-max])",
        "",
        f"| subject | process | us/{unit} | x nginx | {unit}s/s | RSS MiB | p50 ms | p99 ms | gap p99 ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for subject, figures in subjects.items():
        spreads = {name: _spread(value) for name, value in figures["cpu_us"].items()}
        for position, name in enumerate(spreads or ["-"]):
            spread, ratio = spreads.get(name), figures["ratio"].get(name)
            rss = figures["rss_mib"].get(name)
            cells = [
                subject if position == 0 else "",
                name,
                spread.text() if spread else "-",
                _spread(ratio).text(2) if ratio else "",
                f"{figures['units_per_s']['median']:,.0f}" if position == 0 else "",
                f"{rss:.0f}" if rss else "",
                *(_milliseconds(figures, position, *key) for key in QUANTILE_COLUMNS),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


QUANTILE_COLUMNS = (("latency_us", "p50"), ("latency_us", "p99"), ("gap_us", "p99"))


def _milliseconds(figures: dict[str, Any], position: int, name: str, quantile: str) -> str:
    if position or name not in figures:
        return ""
    return f"{figures[name][quantile] / 1000:.2f}"


def _spread(document: dict[str, float]) -> Spread:
    return Spread(document["median"], document["min"], document["max"])
