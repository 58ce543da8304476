"""How long questions over a large record take, cold and warm, and what they do to requests beside them.

    python -m benchmarks.questions --record /var/tmp/history
    python -m benchmarks.questions --record postgresql://me@host/db --drop machine \\
        --server-restart "pg_ctlcluster 15 main restart"
    python -m benchmarks.questions --record /var/tmp/history --kinds overview,events-page --no-beside

The record is one that `benchmarks.history` made. Questions go the whole way: a gateway's worker, its relay,
the api process, the database. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.asker import Asked, Asker, NotAnswered
from benchmarks.askings import BARRED, KINDS, Contents, Kind, Question
from benchmarks.contest import LoadFailed
from benchmarks.lane import Lane
from benchmarks.largerecord import ColdCache, LargeRecord
from benchmarks.stage import CannotStart

BESIDE_MS = 3.0
"""How much the p99 of requests may grow while questions run."""


@dataclass(frozen=True, slots=True)
class Times:
    """Of one kind, in milliseconds: the answers' times and the CPU of all of them by process."""

    kind: Kind
    cache: str
    wall_ms: Sequence[float]
    cpu_ms: dict[str, float]

    def quantile(self, part: float) -> float:
        """The smallest time that so many of the answers did not exceed."""
        ordered = sorted(self.wall_ms)
        return ordered[max(0, -(-len(ordered) * int(part * 100) // 100) - 1)]

    @property
    def held(self) -> bool | None:
        """Whether p95 is within the bar; None without one."""
        return None if self.kind.bar_ms is None else self.quantile(0.95) <= self.kind.bar_ms

    def document(self) -> dict[str, object]:
        """For --json."""
        return {
            "kind": self.kind.name,
            "cache": self.cache,
            "p50_ms": round(self.quantile(0.5), 2),
            "p95_ms": round(self.quantile(0.95), 2),
            "max_ms": round(max(self.wall_ms), 2),
            "cpu_ms": {name: round(spent, 2) for name, spent in self.cpu_ms.items()},
            "bar_ms": self.kind.bar_ms,
            "held": self.held,
        }


def measured(asker: Asker, kind: Kind, questions: Sequence[Question], *, cold: bool) -> Times:
    """Each question asked once, cold or after itself."""
    found: list[Asked] = []
    for question in questions:
        if cold:
            asker.forget()
        else:
            asker.ask(question)
        found.append(asker.timed(question))
    cpu_ms = {name: sum(each.cpu_ms[name] for each in found) / len(found) for name in sorted(found[0].cpu_ms)}
    return Times(kind, "cold" if cold else "warm", [each.wall_ms for each in found], cpu_ms)


def made(kind: Kind, contents: Contents, asker: Asker, count: int, seed: int) -> list[Question]:
    """The kind's questions. Those that are later pages have the cursor of the page before."""
    draw = Random(f"{seed}:{kind.name}")
    return [asker.stepped(kind.ask(contents, draw, number)) for number in range(count)]


def beside(
    record: LargeRecord, asker: Asker, questions: Sequence[Question], lane: Lane, rounds: int
) -> dict[str, object]:
    """Requests alone, then the same while questions are asked one after another, so many rounds of both."""
    alone: list[dict[str, float]] = []
    with_questions: list[dict[str, float]] = []
    asked = 0
    for _ in range(rounds):
        alone.append(record.load(lane))
        stop, count = threading.Event(), [0]
        thread = threading.Thread(target=_keep_asking, args=(asker, questions, stop, count))
        thread.start()
        try:
            with_questions.append(record.load(lane))
        finally:
            stop.set()
            thread.join()
        asked += count[0]
    told: dict[str, object] = {"requests_per_s": lane.rate, "seconds": lane.window_s, "questions": asked}
    for name in ("p50", "p99"):
        idle_ms = median(each[name] for each in alone) / 1_000
        busy_ms = median(each[name] for each in with_questions) / 1_000
        told[name] = {"idle_ms": round(idle_ms, 3), "beside_ms": round(busy_ms, 3)}
        told[f"{name}_grows_ms"] = round(busy_ms - idle_ms, 3)
    grown = told["p99_grows_ms"]
    assert isinstance(grown, float)
    return {**told, "bar_ms": BESIDE_MS, "held": grown <= BESIDE_MS}


def _keep_asking(
    asker: Asker, questions: Sequence[Question], stop: threading.Event, count: list[int]
) -> None:
    for question in cycle(questions):
        if stop.is_set():
            return
        asker.ask(question)
        count[0] += 1


def run(given: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, object]:
    """The whole benchmark; its document."""
    kinds = [KINDS[name] for name in given.kinds.split(",")] if given.kinds else list(BARRED)
    if given.kinds == "all":
        kinds = list(KINDS.values())
    cache = ColdCache(given.record, given.drop, given.server_data, given.server_restart)
    with LargeRecord(given.record, given.account) as record:
        contents = record.contents
        days = (contents.until_ms - contents.since_ms) / 86_400_000
        tell(f"{contents.events:,} events of {days:.1f} days in {record.shown}; cold: {cache.told}")
        asker = record.asker(cache)
        asker.warm_up([kind.ask(contents, Random(0), number) for kind in kinds for number in range(2)])
        told: list[Times] = []
        mixed: list[Question] = []
        for kind in kinds:
            questions = made(kind, contents, asker, given.questions, given.seed)
            if kind in BARRED:
                mixed += questions
            for cold in (True, False):
                if cold and given.drop == "none":
                    continue
                told.append(measured(asker, kind, questions, cold=cold))
                tell(line(told[-1]))
        document: dict[str, object] = {
            "events": contents.events,
            "days": round(days, 2),
            "cold": cache.told,
            "questions": given.questions,
            "kinds": [times.document() for times in told],
        }
        if not given.no_beside:
            Random(given.seed).shuffle(mixed)
            lane = Lane("beside", "bench-1kb", 32, rate=float(given.rate), window_s=float(given.seconds))
            document["beside"] = beside(record, asker, mixed, lane, given.rounds)
            tell(json.dumps(document["beside"]))
    return document


def line(times: Times) -> str:
    """One row, for people."""
    bar = "" if times.held is None else f"  {'within' if times.held else 'BEYOND'} {times.kind.bar_ms:.0f}"
    cpu = ", ".join(f"{name} {spent:.1f}" for name, spent in times.cpu_ms.items())
    return (
        f"{times.kind.name:20} {times.cache}  p50 {times.quantile(0.5):7.1f}  p95 {times.quantile(0.95):7.1f}"
        f"  max {max(times.wall_ms):7.1f} ms{bar};  CPU of one: {cpu} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--record", required=True, help="a directory with tollkeeper.db, or postgresql://...")
    parser.add_argument("--account", default="default", help="whose events these are")
    parser.add_argument("--kinds", default="", help=f"all, or some of {','.join(KINDS)}; default: with a bar")
    parser.add_argument("--questions", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--drop",
        choices=("files", "machine", "none"),
        default="files",
        help="what is dropped from the page cache for a cold question: the record's files; everything (root)",
    )
    parser.add_argument("--server-data", type=Path, help="PostgreSQL's data directory, to drop its files")
    parser.add_argument("--server-restart", help="a command that restarts PostgreSQL before a cold question")
    parser.add_argument("--no-beside", action="store_true", help="leave out requests beside questions")
    parser.add_argument("--rate", type=float, default=100, help="requests per second beside questions")
    parser.add_argument("--seconds", type=float, default=10, help="of one round of requests")
    parser.add_argument("--rounds", type=int, default=3, help="of requests, alone and beside questions")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    try:
        document = run(given, lambda text: print(text, flush=True))
    except (CannotStart, LoadFailed, LookupError, NotAnswered) as error:
        print(f"questions: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    print(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(status)
