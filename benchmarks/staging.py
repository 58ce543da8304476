"""Everything started that a contest needs: upstream, nginx, gateways, peers; told what is missing."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.contest import Contest, LoadFailed
from benchmarks.gateway_subject import NotDrained, start_gateway
from benchmarks.nginx_subject import start_nginx
from benchmarks.peers.forwarding import NotForwarded, check_forwarding
from benchmarks.peers.installed import Installed
from benchmarks.process import ProcessGone
from benchmarks.programs import CannotBuild
from benchmarks.setup import USUAL, Setup
from benchmarks.stage import CannotStart, Stage
from benchmarks.subject import Subject
from benchmarks.tls_front import start_tls_front

FAULTS = (CannotBuild, CannotStart, LoadFailed, NotDrained, ProcessGone)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway of somebody else that runs already."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()


@contextmanager
def staged(
    *,
    gateways: Sequence[Setup] = (USUAL,),
    peers: Sequence[Peer] = (),
    installed: Sequence[Installed] = (),
    direct: bool = False,
    upstream_port: int = 0,
    tell: Tell,
    miss: Tell | None = None,
) -> Iterator[tuple[Contest, list[Subject], Stage]]:
    """Everything started: a contest of nginx (where installed), gateways, peers and the direct way.

    An installed peer that does not start, or does not forward, is left out; `miss` hears of it, or `tell`.
    """
    allow_many_files()
    signal.signal(signal.SIGTERM, _leave)  # so that the stage is cleared then, too
    with Stage() as stage:
        if set(stage.measured_cores) & set(stage.other_cores):
            tell("only one core: the gateway shares it with its load, so times mean little; ratios still do")
        crew = stage.start_upstream(upstream_port)
        front = start_tls_front(stage) if any(setup.tls for setup in gateways) else None
        subjects = start_nginx(stage, front)
        if not subjects:
            tell("nginx is not installed: no yardstick, so no ratios (apt-get install nginx-light)")
        subjects += [start_gateway(stage, setup, front) for setup in gateways]
        for peer in installed:
            try:
                subject = peer.start(stage)
                check_forwarding(subject, stage.upstream_port)
                subjects.append(subject)
            except (CannotStart, NotForwarded, ProcessGone) as error:
                (miss or tell)(f"{peer.name} is left out: {error}")
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
