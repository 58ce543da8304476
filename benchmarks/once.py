"""What is not a lane: how long a start takes, what a worker keeps in memory, what streams cost that say
nothing, how fast the outbox drains."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import redis

from benchmarks.contest import Contest
from benchmarks.figures import Spread
from benchmarks.gateway_subject import settings, start_gateway, wait_until_ready
from benchmarks.history import History
from benchmarks.lane import IDLE_MODEL, LANES
from benchmarks.process import ProcessGone, cpu_ns, descendants, pin, rss_bytes
from benchmarks.redis_server import start_redis
from benchmarks.stage import CannotStart, Stage, end_tree, free_port, product_command
from budgets.names import names_of
from metering.event import encode

ACCOUNT = "default"
STREAMS_LANE = "paced-1000"
SETTLED_S = 2.0
DRAIN_PATIENCE_S = 120.0
BATCH, TOGETHER = 1_000, 500
RECORDER = """
import sys
from pathlib import Path
from gateway.recorder.process import run_recorder
from gateway.settings import Settings
run_recorder(settings=Settings(), redis_url=sys.argv[1], database=Path(sys.argv[2]), metrics_dir=None)
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """Some values of one thing, in `unit`; `name` is for bars, `what` for people."""

    name: str
    what: str
    unit: str
    values: tuple[float, ...]

    def text(self) -> str:
        """One line for people."""
        digits = 0 if self.unit == "events/s" else 2
        return f"{self.what}: {Spread.of(self.values).text(digits)} {self.unit}"

    def document(self) -> dict[str, Any]:
        return {"what": self.what, "unit": self.unit, "values": list(self.values)}


def measures(*, brief: bool) -> list[Callable[[], list[Reading]]]:
    """All of them, each on a stage of its own."""
    return [
        partial(start_to_ready, 3 if brief else 5),
        resident,
        partial(idle_streams, 300, 12, 2.0) if brief else idle_streams,
        partial(outbox_drained, 20_000 if brief else 40_000, 3),
    ]


# ---- start ---------------------------------------------------------------------------------------


def start_to_ready(times: int) -> list[Reading]:
    """From the command until /health/ready says 200, by the clock and in CPU of all processes; first in an
    empty directory, then in the same one again. One worker, the embedded Redis, all cores of this machine."""
    cores = sorted(os.sched_getaffinity(0))
    first: list[tuple[float, float]] = []
    again: list[tuple[float, float]] = []
    with Stage(cores, cores) as stage:
        stage.start_upstream()
        for number in range(times + 1):  # the first one makes bytecode and warms the page cache
            home = stage.scratch / f"start-{number}"
            home.mkdir()
            for found in (first, again):
                figures = _one_start(stage, home)
                if number:
                    found.append(figures)
            shutil.rmtree(home, ignore_errors=True)
    return [
        Reading(f"start.{kind}.{clock}", f"start to ready, {kind} start, {label}", "s", tuple(values))
        for kind, found in (("first", first), ("next", again))
        for clock, label, values in (
            ("wall", "by the clock", [wall for wall, _ in found]),
            ("cpu", "CPU of all processes", [cpu for _, cpu in found]),
        )
    ]


def _one_start(stage: Stage, home: Path) -> tuple[float, float]:
    port, configuration = free_port(), home / "tollkeeper.yaml"
    configuration.write_text(json.dumps(settings(stage.upstream_port, port, home / "data")))
    began = time.monotonic()
    process = stage.start("start", product_command("serve", "--config", str(configuration)))
    try:
        wait_until_ready(stage, "start", process, port)
        wall_s = time.monotonic() - began
        return wall_s, _tree_cpu_ns(process.pid) / 1e9
    finally:
        end_tree(process)


def _tree_cpu_ns(pid: int) -> int:
    used = 0
    for each in (pid, *descendants(pid)):
        with suppress(ProcessGone):  # a helper of the start that has ended is in its parent's clock
            used += cpu_ns(each)
    return used


# ---- memory --------------------------------------------------------------------------------------


def resident() -> list[Reading]:
    """A fresh worker's resident memory: idle, and the most while it had a thousand paced streams open."""
    with Stage() as stage:
        crew = stage.start_upstream()
        subject = start_gateway(stage)
        time.sleep(SETTLED_S)
        (worker,) = subject.groups()["gateway"]
        idle = rss_bytes(worker)
        contest = Contest([subject], crew, scratch=stage.scratch, tell=lambda _: None)
        (sample,) = contest.run(LANES[STREAMS_LANE].briefly(), 1)
        open_streams = sample.rss_bytes["gateway"]
    return [
        Reading("rss.idle", "resident memory of an idle worker", "MB", (idle / 1e6,)),
        Reading(
            "rss.streams",
            "resident memory of one worker, 1,000 open paced streams",
            "MB",
            (open_streams / 1e6,),
        ),
    ]


def idle_streams(streams: int = 3_000, open_s: int = 27, quiet_s: float = 8.0) -> list[Reading]:
    """What open streams cost that say nothing: the end of each comes so long after its only chunk, which is
    less than the load generator waits. All are open after a third of that."""
    lane = replace(
        LANES[STREAMS_LANE],
        model=IDLE_MODEL,
        connections=streams,
        requests=streams,
        ramp_s=open_s / 3,
        window_s=float(open_s),
    )
    with Stage() as stage, ThreadPoolExecutor(1) as beside:
        crew = stage.start_upstream(pace_ms=open_s * 1_000)
        subject = start_gateway(stage)
        time.sleep(SETTLED_S)
        groups = subject.groups()
        (worker,) = groups["gateway"]
        empty = rss_bytes(worker)
        pin(groups["gateway"], crew.measured_cores)
        contest = Contest([subject], crew, scratch=stage.scratch, tell=lambda _: None)
        load = beside.submit(contest.once, lane, subject)
        time.sleep(open_s / 3 + SETTLED_S)
        before = {name: sum(map(cpu_ns, pids)) for name, pids in groups.items()}
        time.sleep(quiet_s)
        spent = {name: sum(map(cpu_ns, pids)) - before[name] for name, pids in groups.items()}
        grown = rss_bytes(worker) - empty
        if load.done():
            load.result()  # why, where it failed
            raise CannotStart("the streams had ended before they were looked at")
        load.result()
        subject.wait_drained(streams)
    label = f"{streams:,} open streams that say nothing"
    share = {name: ns / 1e9 / quiet_s * 100 for name, ns in spent.items()}
    return [
        Reading("idle.memory", f"{label}: memory for each, worker", "KB", (grown / 1e3 / streams,)),
        Reading("idle.gateway", f"{label}: worker, share of a core", "%", (share["gateway"],)),
        Reading("idle.sum", f"{label}: all processes, share of a core", "%", (sum(share.values()),)),
    ]


# ---- the outbox ----------------------------------------------------------------------------------


def outbox_drained(events: int, times: int) -> list[Reading]:
    """The recorder alone on the measured core, so many events of an ordinary mix in one account's outbox."""
    rates, costs = [], []
    with Stage() as stage, _recording(stage) as (recorder, server, database):
        documents = _documents(events * times)
        for number in range(times):
            mine = documents[number * events : (number + 1) * events]
            rate, cost = _drain(recorder, server, database, mine)
            rates.append(rate)
            costs.append(cost)
    return [
        Reading("outbox.rate", f"outbox drained, {events:,} events at once", "events/s", tuple(rates)),
        Reading("outbox.cpu", "CPU of the recorder for each of them", "us", tuple(costs)),
    ]


def _documents(count: int) -> list[bytes]:
    """Events of requests through a gateway, as they stand in the outbox."""
    history, made = History(events=count * 2, batch=BATCH), list[bytes]()
    for number in range(history.batches):
        made += [encode(event) for event in history.batch_at(number) if event.source == "gateway"]
        if len(made) >= count:
            break
    return made[:count]


@contextmanager
def _recording(stage: Stage) -> Iterator[tuple[subprocess.Popen[bytes], redis.Redis, Path]]:
    """A recorder that has nothing to do yet, on the measured core; its Redis is on the others."""
    _, url = start_redis(stage, "redis")
    database = stage.scratch / "tollkeeper.db"
    recorder = stage.start("recorder", [sys.executable, "-c", RECORDER, url, str(database)])
    server = redis.Redis.from_url(url)
    try:
        give_up = time.monotonic() + DRAIN_PATIENCE_S
        while not _stored(database):
            if recorder.poll() is not None or time.monotonic() > give_up:
                raise CannotStart(f"the recorder does not record: {stage.log_tail('recorder')}")
            if server.xlen(names_of(ACCOUNT).outbox) == 0:
                server.xadd(names_of(ACCOUNT).outbox, {"e": _documents(1)[0]})
            time.sleep(0.1)
        time.sleep(SETTLED_S)
        pin([recorder.pid], stage.measured_cores)
        yield recorder, server, database
    finally:
        server.close()


def _drain(
    recorder: subprocess.Popen[bytes], server: redis.Redis, database: Path, documents: list[bytes]
) -> tuple[float, float]:
    """Events a second by the clock, and microseconds of the recorder's CPU for each."""
    before, outbox = _stored(database), names_of(ACCOUNT).outbox
    recorder.send_signal(signal.SIGSTOP)
    try:
        for first in range(0, len(documents), TOGETHER):
            pipeline = server.pipeline(transaction=False)
            for document in documents[first : first + TOGETHER]:
                pipeline.xadd(outbox, {"e": document})
            pipeline.execute()
        cpu, began = cpu_ns(recorder.pid), time.monotonic()
    finally:
        recorder.send_signal(signal.SIGCONT)
    wanted, give_up = before + len(documents), began + DRAIN_PATIENCE_S
    while _stored(database) < wanted or server.xlen(outbox):
        if time.monotonic() > give_up:
            raise CannotStart(
                f"{wanted - _stored(database)} of {len(documents)} events were not recorded in time"
            )
        time.sleep(0.02)
    wall_s, used = time.monotonic() - began, cpu_ns(recorder.pid) - cpu
    return len(documents) / wall_s, used / 1000 / len(documents)


def _stored(database: Path) -> int:
    """How many events the record holds; 0 as long as there is none."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
        try:
            count: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0
    return count
