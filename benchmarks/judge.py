"""`benchmarks/guard`: what CI calls. Short paired rounds held against bars.json, and instruction counts.

Exit status: 0 when every bar held (or nothing could be measured, which is said), 1 when one did not or the
gateway did not serve, 2 when the command line is wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.bar import Bar, Verdict, judge, load_bars
from benchmarks.contest import Contest
from benchmarks.figures import Sample
from benchmarks.instructions import (
    CannotCount,
    HotPathBroken,
    count,
    judge_counts,
    record,
    recorded,
    signature,
)
from benchmarks.lane import LANES
from benchmarks.programs import CannotBuild
from benchmarks.report import print_tables
from benchmarks.runner import tell
from benchmarks.staging import FAULTS, staged

ROUNDS = 7
REGRESSION = 3.0
"""How much CI loosens the paired ratios: neighbours on a shared machine have moved them by half, and nginx's
own figure for unpaced streams threefold, with how its reads happen to coalesce. Instruction counts, which
neighbours cannot move, are held to their tolerance everywhere."""


@dataclass(slots=True)
class Findings:
    """What the guard found: sentences of failure, and of what it could not look at."""

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def arguments() -> argparse.Namespace:
    """The command line of `benchmarks/guard`."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/guard", description="Fail when a request has become dearer than bars.json allows."
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument(
        "--regression",
        action="store_true",
        help=f"bars {REGRESSION} times looser: a busy machine passes, a gateway that became dearer does not",
    )
    parser.add_argument("--no-ratios", action="store_true", help="count instructions only")
    parser.add_argument("--no-instructions", action="store_true", help="measure paired ratios only")
    parser.add_argument("--record", action="store_true", help="write this interpreter's counts to bars.json")
    return parser.parse_args()


def main() -> int:
    """Run the guard and print its verdicts."""
    chosen = arguments()
    findings = Findings()
    started = time.monotonic()
    if not chosen.no_ratios:
        _guard_ratios(chosen.rounds, findings, REGRESSION if chosen.regression else 1.0)
    if not chosen.no_instructions:
        _guard_instructions(findings, write=chosen.record)
    for sentence in findings.skipped:
        print(f"skipped: {sentence}")
    for sentence in findings.failed:
        print(f"FAILED: {sentence}")
    print(f"benchmarks/guard: {'FAILED' if findings.failed else 'ok'} in {time.monotonic() - started:.0f} s")
    return 1 if findings.failed else 0


def _guard_ratios(rounds: int, findings: Findings, factor: float) -> None:
    bars = [bar.loosened(factor) for bar in load_bars()]
    samples: list[Sample] = []
    try:
        with staged(tell=tell) as (contest, subjects, _):
            if "nginx" not in (subject.name for subject in subjects):
                findings.skipped.append("paired ratios: nginx is not installed")
                return
            for lane in dict.fromkeys(bar.lane for bar in bars):
                mine = [bar for bar in bars if bar.lane == lane]
                found = measure(contest, lane, mine, rounds)
                samples += found
                for verdict in (judge(bar, found) for bar in mine):
                    print(verdict.text(), flush=True)
                    if not verdict.held:
                        findings.failed.append(verdict.text())
    except CannotBuild as error:
        findings.skipped.append(f"paired ratios: {error}")
    except FAULTS as error:
        findings.failed.append(f"paired ratios: {type(error).__name__}: {error}")
    if samples:
        print_tables(samples)
        print()


def measure(contest: Contest, lane: str, bars: Sequence[Bar], rounds: int) -> list[Sample]:
    """Rounds of one lane; where a bar did not hold, as many again, and all of them count."""
    brief = LANES[lane].briefly()
    samples = contest.run(brief, rounds)
    if not all(_held(bars, samples)):
        tell(f"{lane}: a bar did not hold; measuring {rounds} more rounds before judging")
        samples += contest.run(brief, rounds, first_round=rounds)
    return samples


def _held(bars: Sequence[Bar], samples: Sequence[Sample]) -> list[bool]:
    verdicts: list[Verdict] = [judge(bar, samples) for bar in bars]
    return [verdict.held for verdict in verdicts]


def _guard_instructions(findings: Findings, *, write: bool) -> None:
    try:
        counts = count()
    except CannotCount as error:
        findings.skipped.append(f"instruction counts: {error}")
        return
    except HotPathBroken as error:
        findings.failed.append(f"instruction counts: {error}")
        return
    if write:
        record(counts)
    bars, tolerance = recorded()
    if not bars:
        findings.skipped.append(f"judging instruction counts: none are recorded for {signature()}")
    for verdict in judge_counts(counts, bars, tolerance):
        print(verdict.text())
        if not verdict.held:
            findings.failed.append(verdict.text())
