"""A child process, and its replacement when it dies.

A `Child` is one process: spawned (so that its imports overlap other work), then fed one line of JSON on
its standard input, secrets included, and heard once: it writes one line of JSON to an inherited pipe when
it is ready. Its standard input stays open and ends when we do. A `Keeper` watches one child, starts
another in its place when it ends unasked, at once the first time and then with growing pauses, and can
put a new one in the place of a running one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

log = structlog.get_logger(component="supervisor")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
HEALTHY_AFTER_S = 30.0  # a child that lived this long starts its pauses anew
READY_WITHIN_S = 60.0
REPORT_BYTES_MAX = 65_536


class ChildFailed(Exception):
    """A child ended, or said nothing for too long, before it was ready."""


def python_command(role: str) -> list[str]:
    """The command of one of our own children; `-P` keeps the working directory out of its imports."""
    return [sys.executable, "-P", "-m", "gateway.serve.child", role, str(os.getpid())]


class Child:
    """One running child. `exited` completes with its return code, `ready` with what it reported."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, report: int | None) -> None:
        self.name = name
        self.pid = process.pid
        self.started = asyncio.get_running_loop().time()
        self.exited: asyncio.Task[int] = asyncio.create_task(process.wait(), name=f"{name} exit")
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.process = process
        self._heard = b""
        if report is not None:
            asyncio.get_running_loop().add_reader(report, self._hear, report)
        self.exited.add_done_callback(self._ended)

    @classmethod
    async def spawn(cls, name: str, command: Sequence[str], descriptors: Sequence[int] = ()) -> Child:
        """Start a process of ours; the number of its report pipe is appended to the command.

        It gets a session of its own, so that Ctrl-C in a terminal reaches only the supervisor, which then
        ends the others in order.
        """
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(writing),
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno(),
                pass_fds=(writing, *descriptors),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(name, process, reading)

    def feed(self, document: Mapping[str, Any]) -> None:
        """Send the settings; a child that is gone already is seen by its exit."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")

    async def until_ready(self, within_s: float = READY_WITHIN_S) -> dict[str, Any]:
        """What it reported; raises ChildFailed when it ends or stays silent instead."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.ready), within_s)
        except TimeoutError:
            raise ChildFailed(f"{self.name} (pid {self.pid}) was not ready within {within_s:.0f} s") from None

    def send(self, number: signal.Signals) -> None:
        """Signal it; nothing happens when it has ended already."""
        if not self.exited.done():
            try:
                # Not through the process object: it polls, and may so take the exit from asyncio's watcher.
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    async def end(self, grace_s: float) -> bool:
        """SIGTERM, then SIGKILL after the grace; True when it ended by itself with code 0."""
        self.send(signal.SIGTERM)
        done, _ = await asyncio.wait({self.exited}, timeout=grace_s)
        if not done:
            log.error(
                "child did not end in time and is killed", child=self.name, pid=self.pid, grace_s=grace_s
            )
            self.send(signal.SIGKILL)
        return await self.exited == 0

    def _hear(self, report: int) -> None:
        try:
            part = os.read(report, REPORT_BYTES_MAX)
        except BlockingIOError:
            return
        self._heard += part
        if part and b"\n" not in part and len(self._heard) < REPORT_BYTES_MAX:
            return
        asyncio.get_running_loop().remove_reader(report)
        os.close(report)
        line, ended, _ = self._heard.partition(b"\n")
        if ended and not self.ready.done():
            self.ready.set_result(json.loads(line))

    def _ended(self, exited: asyncio.Task[int]) -> None:
        if not self.ready.done() and not exited.cancelled():
            code = exited.result()
            self.ready.set_exception(
                ChildFailed(f"{self.name} (pid {self.pid}) {ending(code)} before it was ready")
            )
            self.ready.exception()  # marked as seen: whoever waits still gets it


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


@dataclass(slots=True)
class Keeper:
    """Keeps one child alive. `start` makes a child from nothing and is called again for each new one."""

    name: str
    start: Callable[[], Awaitable[Child]]
    on_exit: Callable[[Child], None] = lambda child: None
    starts: int = 0
    _child: Child | None = None
    _task: asyncio.Task[None] | None = None
    _replacing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def child(self) -> Child:
        """The present child (running, or just ended and about to be replaced)."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child

    async def begin(self, first: Child | None = None) -> None:
        """Start the first child, or take one that was spawned already, and watch it from now on."""
        self._child = first or await self.start()
        self.starts += 1
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def put(self, fresh: Child, start: Callable[[], Awaitable[Child]], grace_s: float) -> None:
        """Put a ready child in the place of the present one, which is then asked to end.

        `start` makes the children after it. Returns when the former child has ended.
        """
        async with self._replacing:
            former, self._child, self.start = self.child, fresh, start
            self.starts += 1
        await former.end(grace_s)
        self.on_exit(former)

    async def restart(self, start: Callable[[], Awaitable[Child]], grace_s: float) -> None:
        """End the present child, then begin another made by `start`: for a role that runs once at a time."""
        async with self._replacing:
            former = self.child
            await former.end(grace_s)
            self.on_exit(former)
            self.start, self._child = start, await start()
            self.starts += 1

    async def stop(self, grace_s: float) -> bool:
        """End the child and its replacement; True when it ended in time with code 0."""
        if self._task is None:
            return True
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None
        clean = await self.child.end(grace_s)
        self.on_exit(self.child)
        return clean

    async def _keep(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            child = self.child
            code = await asyncio.shield(child.exited)
            async with self._replacing:
                if child is not self._child:
                    continue  # it was replaced, and whoever did that saw to its end
                lived_s = loop.time() - child.started
                failures = 0 if lived_s >= HEALTHY_AFTER_S else failures
                pause_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S) if failures else 0.0
                failures += 1
                log.error(
                    f"child {ending(code)} and is started again",
                    child=self.name, pid=child.pid, lived_s=round(lived_s, 3), pause_s=pause_s,
                )  # fmt: skip
                self.on_exit(child)
                await asyncio.sleep(pause_s)
                await self._start_anew()

    async def _start_anew(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._child = await self.start()
                self.starts += 1
                return
            except (OSError, ChildFailed) as error:  # out of processes, descriptors or memory: may pass
                log.error("child cannot be started", child=self.name, fault=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
