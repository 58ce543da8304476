"""Rounds: one lane's load through every subject in turn, CPU clocks read before and after.

The load generator stops sending and then waits for the answers under way, and the clocks are read again only
when the subject has nothing left to do (the gateway: its outbox is drained and recorded), so all work that
the counted requests caused is inside the difference. Which subject goes first changes from round to round.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.figures import Sample
from benchmarks.lane import Lane
from benchmarks.process import (
    ProcessGone,
    cpu_ns,
    machine_busy_ns,
    peak_rss_bytes,
    pin,
    reset_peak,
)
from benchmarks.subject import Crew, Subject

T = TypeVar("T")
QUANTILES = ("mean", "p50", "p90", "p99", "p999", "max")


class LoadFailed(Exception):
    """The load generator could not run, or too many of its requests failed to say anything about speed."""


class Contest:
    """Runs lanes over subjects. `crew` is what the benchmark itself needs running, `tell` hears progress.

    `left_out` says of each lane which guests did not take part, and why.
    """

    def __init__(
        self, subjects: Sequence[Subject], crew: Crew, *, scratch: Path, tell: Callable[[str], None]
    ) -> None:
        self._subjects = list(subjects)
        self._crew = crew
        self._scratch = scratch
        self._tell = tell
        self.left_out: dict[str, dict[str, str]] = {}

    def run(
        self, lane: Lane, rounds: int, *, first_round: int = 0, without: Collection[str] = ()
    ) -> list[Sample]:
        """`rounds` interleaved rounds of one lane. LoadFailed when answers were not what the lane needs; a
        guest's are left out of the lane then, also those that were good."""
        body, warm_body = self._scratch / "body.json", self._scratch / "warm.json"
        body.write_bytes(lane.body())
        warm_body.write_bytes(lane.warm_body())
        taking_part = [subject for subject in self._subjects if subject.name not in without]
        for subject in taking_part[:]:
            try:
                warm = self._tried(subject, partial(self._warm, lane, subject, warm_body))
            except (LoadFailed, ProcessGone) as error:
                self._leave_out(lane, subject, error, taking_part)
            else:
                subject.wait_drained(warm["requests"])
        samples: list[Sample] = []
        for number in range(first_round, first_round + rounds):
            for subject in taking_part[:] if number % 2 == 0 else taking_part[::-1]:
                try:
                    sample = self._tried(subject, partial(self._measure, lane, subject, body, number))
                except (LoadFailed, ProcessGone) as error:
                    self._leave_out(lane, subject, error, taking_part)
                    samples = [each for each in samples if each.subject != subject.name]
                    continue
                samples.append(sample)
                spent = ", ".join(f"{name} {us:.1f}" for name, us in sample.cpu_us.items()) or "no CPU read"
                self._tell(f"{lane.name} round {number + 1}: {subject.name}: {spent} us/{lane.unit}")
        return samples

    def once(self, lane: Lane, subject: Subject) -> None:
        """The lane's load through one subject, a single time, nothing measured. Raises LoadFailed."""
        body = self._scratch / "body.json"
        body.write_bytes(lane.body())
        self._check(lane, subject, self._load(lane, subject, body))

    def _tried(self, subject: Subject, measure: Callable[[], T]) -> T:
        """What it measures; a guest whose answers were not all good may show them once more."""
        try:
            return measure()
        except LoadFailed as error:
            if not subject.guest:
                raise
            self._tell(f"{subject.name} is measured again: {error}")
            return measure()

    def _warm(self, lane: Lane, subject: Subject, body: Path) -> dict[str, Any]:
        result = self._load(lane, subject, body, warm=True)
        self._check(lane, subject, result)
        return result

    def _leave_out(self, lane: Lane, subject: Subject, error: Exception, taking_part: list[Subject]) -> None:
        if not subject.guest:
            raise error
        taking_part.remove(subject)
        self.left_out.setdefault(lane.name, {})[subject.name] = str(error)
        self._tell(f"{lane.name}: {subject.name} is left out: {error}")

    def _measure(self, lane: Lane, subject: Subject, body: Path, number: int) -> Sample:
        groups = subject.groups()
        for group in subject.pinned:
            self._pin_measured(subject, groups.get(group, ()))
        others = [pid for group, pids in groups.items() if group not in subject.pinned for pid in pids]
        pin([*others, self._crew.upstream_pid], self._crew.other_cores)
        for pids in groups.values():
            for pid in pids:
                reset_peak(pid)
        before = {name: _clock(pids) for name, pids in groups.items()}
        upstream_before = cpu_ns(self._crew.upstream_pid)
        machine_before = machine_busy_ns()
        result = self._load(lane, subject, body)
        loaded = {name: _clock(pids) - before[name] for name, pids in groups.items()}
        machine_ns = machine_busy_ns() - machine_before
        rss = {name: sum(peak_rss_bytes(pid) for pid in pids) for name, pids in groups.items()}
        upstream_ns = cpu_ns(self._crew.upstream_pid) - upstream_before
        self._check(lane, subject, result)
        drain_started = time.monotonic()
        subject.wait_drained(result["requests"])
        drain_s = time.monotonic() - drain_started
        spent = {name: _clock(pids) - before[name] for name, pids in groups.items()}
        units = result["events"] if lane.stream else result["requests"]
        wall_s = result["wall_ms"] / 1000
        busy = {name: ns / 1e9 / wall_s for name, ns in loaded.items()}
        busy["upstream"] = upstream_ns / 1e9 / wall_s
        busy["load"] = result["cpu_us"] / 1e6 / wall_s
        busy["others"] = max(0.0, machine_ns / 1e9 / wall_s - sum(busy.values()))
        return Sample(
            lane=lane.name,
            subject=subject.name,
            round=number,
            units=units,
            requests=result["requests"],
            wall_s=wall_s,
            drain_s=drain_s,
            cpu_us={name: ns / 1000 / units for name, ns in spent.items()},
            rss_bytes=rss,
            busy=busy,
            latency_us=_quantiles(result["latency"]),
            first_byte_us=_quantiles(result["first_byte"]),
            gap_us=_quantiles(result["gap"]),
            events_per_response=(result["events_min"], result["events_max"]),
        )

    def _pin_measured(self, subject: Subject, pids: Sequence[int]) -> None:
        if not subject.spread:
            pin(pids, self._crew.measured_cores)
            return
        cores = list(dict.fromkeys([*self._crew.measured_cores, *self._crew.other_cores]))
        for position, pid in enumerate(pids):
            pin([pid], [cores[position % len(cores)]])

    def _load(self, lane: Lane, subject: Subject, body: Path, *, warm: bool = False) -> dict[str, Any]:
        headers = self._scratch / f"headers-{subject.name}"
        headers.write_text("".join(f"{name}: {value}\n" for name, value in subject.headers), encoding="utf-8")
        command: list[str | Path] = [
            *(self._crew.load_program, "--host", subject.host, "--port", str(subject.port_for(lane))),
            *("--path", subject.path, "--body", body, "--headers", headers),
            *("--connections", str(lane.connections), "--ramp-ms", str(lane.ramp_s * 1000)),
        ]
        if warm:
            command += ["--duration-ms", str(lane.warm_up_s * 1000)]
        elif lane.requests is not None:
            command += ["--requests", str(lane.requests)]
        else:
            command += ["--duration-ms", str(lane.window_s * 1000)]
        if lane.rate and not warm:
            command += ["--rate", str(lane.rate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                pin([process.pid], self._crew.other_cores)
                output, complaint = process.communicate(timeout=lane.window_s + 120)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise LoadFailed(f"the load generator ended with {process.returncode}: {complaint.strip()}")
        result: dict[str, Any] = json.loads(output)
        result["complaint"] = complaint.strip()
        return result

    def _check(self, lane: Lane, subject: Subject, result: dict[str, Any]) -> None:
        """Figures of refused or broken requests would flatter the subject: none may have failed."""
        failed = sum(result["errors"].values())
        if failed or not result["requests"] or (lane.stream and not result["events"]):
            raise LoadFailed(
                f"{lane.name} through {subject.name}: {result['requests']} answered, {failed} failed "
                f"({result['errors']}, statuses {result['status']}). {result['complaint']}"
            )


def _clock(pids: Sequence[int]) -> int:
    return sum(cpu_ns(pid) for pid in pids)


def _quantiles(document: dict[str, float] | None) -> dict[str, float]:
    return {name: document[name] for name in QUANTILES} if document else {}
