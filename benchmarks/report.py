"""What a run says: tables, remarks, verdicts; on the output, in JSON and in a page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Sample, summary, table
from benchmarks.lane import LANES
from benchmarks.machine import heading
from benchmarks.once import Reading
from benchmarks.peers.installed import Installed
from benchmarks.show import Judged, table_of

QUIET_MACHINE = 0.15
"""Cores that other programs may keep busy before the report says so."""
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(slots=True)
class Findings:
    """All that one run found. `left_out`: by lane and peer, why it did not take part."""

    about: dict[str, Any]
    rounds: int
    brief: bool = False
    samples: list[Sample] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    peers: list[Installed] = field(default_factory=list)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "machine": self.about,
            "rounds": self.rounds,
            "brief": self.brief,
            "took_s": self.took_s,
            "peers": {peer.name: peer.document() for peer in self.peers},
            "lanes": summary(self.samples),
            "left_out": self.left_out,
            "readings": {reading.name: reading.document() for reading in self.readings},
            "bars": [each.document() for each in self.judged],
            "samples": [asdict(sample) for sample in self.samples],
        }

    def lines(self) -> list[str]:
        """Everything, as Markdown."""
        kind = "short rounds" if self.brief else "rounds"
        took = f", {self.took_s / 60:.0f} minutes" if self.took_s else ""
        lines = [f"{heading(self.about)}. {self.rounds} interleaved {kind} for each lane{took}."]
        lines += [f"- {sentence}" for sentence in self.told]
        if self.judged:
            lines += ["", "## Bars", "", *table_of(self.judged)]
        if self.samples:
            lines += ["", "## Lanes"]
            print_tables(self.samples, lines.append, self.left_out)
        if self.readings:
            lines += ["", "## Start, memory, outbox", "", *(f"- {each.text()}" for each in self.readings)]
        if self.peers:
            lines += ["", "## The others", "", *peers_table(self.peers)]
        return [*lines, ""]


def peers_table(peers: Sequence[Installed]) -> list[str]:
    """What each peer is, and does more or less of than ours for a request."""
    return [
        "| peer | version | does more | does less | set up |",
        "|---|---|---|---|---|",
        *(f"| {p.name} | {p.version} | {p.more} | {p.less} | {p.setting} |" for p in peers),
    ]


def print_tables(
    samples: Sequence[Sample],
    out: Callable[[str], None] = print,
    left_out: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """One table per lane and what a reader must know beside it."""
    for name, subjects in summary(samples).items():
        out("")
        for line in table(name, LANES[name].unit, subjects):
            out(line)
        out("")
        for remark in remarks(samples, name, subjects):
            out(f"- {remark}")
        for subject, why in (left_out or {}).get(name, {}).items():
            out(f"- {subject} is left out: {why}")


def remarks(samples: Sequence[Sample], lane: str, subjects: dict[str, Any]) -> list[str]:
    """Sentences on what limits these figures."""
    said = []
    for subject, figures in subjects.items():
        shares = ", ".join(f"{name} {share:.2f}" for name, share in figures["busy"].items())
        said.append(f"{subject}: share of a core kept busy while load ran: {shares}")
    mine = [sample for sample in samples if sample.lane == lane]
    foreign = max(figures["busy"].get("others", 0.0) for figures in subjects.values())
    if foreign > QUIET_MACHINE:
        said.append(
            f"CAUTION: other programs kept {foreign:.2f} cores busy; these figures are not for quoting"
        )
    drains = [sample.drain_s for sample in mine if sample.subject == "gateway"]
    if drains:
        said.append(
            f"gateway: everything was recorded {max(drains):.2f} s after the last answer at the latest"
        )
    delivered = {s.subject: s.events_per_response for s in mine if s.events_per_response[1]}
    if len(set(delivered.values())) > 1:
        said.append(f"CAUTION: subjects delivered different numbers of chunks per stream: {delivered}")
    return said


def write_json(path: Path, findings: Findings) -> None:
    """Everything measured."""
    path.write_text(json.dumps(findings.document(), indent=1), encoding="utf-8")


def write_markdown(path: Path, findings: Findings) -> None:
    """Between the marks of a page that has them; otherwise the whole file."""
    text = "\n".join(findings.lines())
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(placed(page, text), encoding="utf-8")


def placed(page: str, text: str) -> str:
    """The page with the text between its marks; the text alone where it has none. Pure."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return text
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
