"""`benchmarks/run`: what a person calls. Runs the acts of the lanes asked for, and reports."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lane import DEFAULT_LANES, LANES, Lane
from benchmarks.machine import machine
from benchmarks.once import measures
from benchmarks.peers.installed import default_folder, find_peers
from benchmarks.programme import Act, acts
from benchmarks.programs import CannotBuild
from benchmarks.report import Findings, write_json, write_markdown
from benchmarks.show import judge_rows, load_rows
from benchmarks.staging import FAULTS, Peer, Tell, staged

ROUNDS, WHOLE_ROUNDS, BRIEF_ROUNDS = 7, 5, 3


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of `benchmarks/run`, or these words of it."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="CPU per request of the gateway beside nginx, in paired interleaved rounds.",
    )
    parser.add_argument("--lane", action="append", choices=[*LANES, "all"], help=f"default: {DEFAULT_LANES}")
    parser.add_argument(
        "--show", action="store_true",
        help="what show.json needs: its lanes, --peers, --once; and each of its bars, held or not",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="every lane, --peers, --once, and the bars")
    parser.add_argument(
        "--rounds", type=int,
        help=f"interleaved rounds per lane ({ROUNDS}; --show and --all {WHOLE_ROUNDS}, brief {BRIEF_ROUNDS})",
    )  # fmt: skip
    parser.add_argument("--brief", action="store_true", help="shorter rounds, as the guard runs them")
    parser.add_argument("--once", action="store_true", help="also start, memory and outbox")
    parser.add_argument(
        "--direct", action="store_true", help="also measure without any proxy, for added latency"
    )
    parser.add_argument("--no-gateway", action="store_true", help="only nginx, peers and direct")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE",
        help="write the tables to FILE: between its marks where it has them",
    )  # fmt: skip
    parser.add_argument(
        "--peers", nargs="?", type=Path, const=default_folder(), metavar="FOLDER",
        help=f"the peers installed in FOLDER (default {default_folder()}), in the lanes that admit them",
    )  # fmt: skip
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=URL",
        help="another gateway that runs already and forwards to our upstream (see --upstream-port)",
    )  # fmt: skip
    parser.add_argument(
        "--peer-header", action="append", default=[], metavar="NAME=HEADER: VALUE",
        help="a header for that peer, such as its key",
    )  # fmt: skip
    parser.add_argument("--upstream-port", type=int, default=0, help="fixed port of the upstream, for peers")
    chosen = parser.parse_args(words)
    if chosen.show or chosen.all:
        chosen.once, chosen.peers = True, chosen.peers or default_folder()
    if chosen.rounds is None:
        whole = BRIEF_ROUNDS if chosen.brief else WHOLE_ROUNDS
        chosen.rounds = whole if chosen.show or chosen.all else ROUNDS
    if chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    return chosen


def read_peers(urls: Sequence[str], headers: Sequence[str]) -> list[Peer]:
    """Peers of the command line. ValueError with a sentence when one is not understood."""
    found: dict[str, list[tuple[str, str]]] = {}
    for text in headers:
        name, equals, header = text.partition("=")
        label, colon, value = header.partition(":")
        if not equals or not colon:
            raise ValueError(f"--peer-header {text}: expected NAME=HEADER: VALUE")
        found.setdefault(name, []).append((label.strip(), value.strip()))
    peers = []
    for text in urls:
        name, equals, url = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--peer {text}: expected NAME=URL")
        peers.append(Peer(name, url, tuple(found.pop(name, ()))))
    if found:
        raise ValueError(f"--peer-header: no --peer is called {', '.join(found)}")
    return peers


def chosen_lanes(chosen: argparse.Namespace) -> list[Lane]:
    """The lanes asked for; by default in the order of asking, else in the table's."""
    names: list[str] = list(chosen.lane or ())
    if chosen.all or "all" in names:
        names = list(LANES)
    elif chosen.show:
        needed = {name for row in load_rows() for name in row.lanes} | set(names)
        names = [name for name in LANES if name in needed]
    lanes = [LANES[name] for name in dict.fromkeys(names or DEFAULT_LANES)]
    return [lane.briefly() for lane in lanes] if chosen.brief else lanes


def tell(text: str) -> None:
    """Progress goes to the error stream, tables to the output."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the lanes and print the tables. 1 when something did not start or answer, 3 when that went well and
    a bar of show.json was not held, or not measured."""
    chosen = arguments()
    findings = Findings(machine(), chosen.rounds, chosen.brief)
    began = time.monotonic()
    try:
        whole = perform(chosen, findings)
    except (*FAULTS, ValueError) as error:
        findings.told.append(f"not everything was measured: {error}")
        tell(f"benchmarks/run: {error}")
        return 1
    except KeyboardInterrupt:
        findings.told.append("not everything was measured: it was interrupted")
        tell("benchmarks/run: interrupted; everything started was ended")
        return 130
    finally:
        findings.took_s = time.monotonic() - began
        if findings.samples or findings.readings:
            report(chosen, findings)
    if not whole:
        return 1
    return 0 if all(each.held for each in findings.judged) else 3


def perform(chosen: argparse.Namespace, findings: Findings) -> bool:
    """Measure everything asked for. False where something could not be: it is told, and the rest goes on."""
    running = read_peers(chosen.peer, chosen.peer_header)

    def tell_both(text: str) -> None:
        tell(text)
        if text not in findings.told:
            findings.told.append(text)

    if chosen.peers is not None:
        findings.peers = find_peers(chosen.peers, tell_both)
    whole = True
    gathered = acts(
        chosen_lanes(chosen),
        gateway=not chosen.no_gateway,
        peers=bool(findings.peers),
    )
    for act in gathered:
        waiting = list(act.lanes)
        while waiting:
            left = len(waiting)
            try:
                _run_act(chosen, act, waiting, running, findings, tell_both)
            except CannotBuild:
                raise  # no lane can do without
            except FAULTS as error:
                if len(waiting) < left:
                    tell(f"{waiting[0].name} is measured again on a fresh stage: {error}")
                    continue
                whole = False
                tell_both(f"not measured: {waiting.pop(0).name}: {error}")
    for measure in measures(brief=chosen.brief) if chosen.once else ():
        try:
            for reading in measure():
                tell(reading.text())
                findings.readings.append(reading)
        except FAULTS as error:
            whole = False
            tell_both(f"not measured: {error}")
    return whole


def _run_act(
    chosen: argparse.Namespace,
    act: Act,
    waiting: list[Lane],
    running: Sequence[Peer],
    findings: Findings,
    miss: Tell,
) -> None:
    """Measure the lanes that wait, on one stage; those that were measured are taken off."""
    with staged(
        gateways=act.gateways,
        installed=findings.peers if act.peers else (),
        peers=running,
        direct=act.direct or chosen.direct,
        upstream_port=chosen.upstream_port,
        tell=tell,
        miss=miss,
    ) as (contest, _, _):
        while waiting:
            lane = waiting[0]
            without = () if lane.direct or chosen.direct else ("direct",)
            samples = contest.run(lane, chosen.rounds, without=without)
            findings.samples += samples
            findings.left_out |= contest.left_out
            waiting.pop(0)


def report(chosen: argparse.Namespace, findings: Findings) -> None:
    """Judge where it was asked for, print, and write the files."""
    if chosen.show or chosen.all:
        findings.judged = judge_rows(load_rows(), findings.samples, findings.readings)
    print("\n".join(findings.lines()))
    if chosen.markdown:
        write_markdown(chosen.markdown, findings)
    if chosen.json:
        write_json(chosen.json, findings)
