"""An installation as an operator has it: `tollkeeper serve` in a process of its own, with its provider.

Everything is looked at from outside: the provider's bill over its own socket, events in SQLite, counters in
the ledger, processes in /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import text

from accounts.keyring import Keyring, NewLimit
from budgets.names import all_shards, names_of, names_on
from budgets.rows import LedgerRows
from gateway.serve.lock import Running, running
from metering.database import open_database
from metering.event import CostEvent, decode
from metering.eventstore import EventStore
from simulator.process import Simulator

ROOT = Path(__file__).parents[2]
ACCOUNT = "default"
PROGRAM = [sys.executable, "-P", "-c", "from gateway.cli import main; main()"]
WITHIN_S = 90.0
POLL_S = 0.02
FAULT = re.compile(r'"event": "(request_failed|dead_letter|orphan_payload_unreadable)"|Traceback')
CONFIG = """\
server: {{host: 127.0.0.1, port: 0, metrics_port: 0, workers: {workers}, drain_s: {drain_s}}}
ledger: {ledger}
providers:
  simulated:
    base_url: "{base_url}"
    api_key: simulated
    prices: openai
    models: [gpt-4o-mini, gpt-3.5-turbo-instruct]
"""


@dataclass(frozen=True, slots=True)
class Counters:
    """One limit's row in the ledger, nano-USD."""

    spent: int
    reserved: int
    doubted: int


@dataclass(slots=True)
class Key:
    """A key with one lifetime limit, and that limit's id."""

    secret: str
    id: str
    limit_id: str


async def until(condition: Callable[[], Any], seconds: float = WITHIN_S) -> Any:
    """Ask until the answer is true: for what happens in other processes and cannot be awaited."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(POLL_S)
    return found


class Installation:
    """`tollkeeper serve` on one data directory; it can be killed and started again.

    `ledger` are settings of leases and patience, as YAML; `environment` is added to the processes' own.
    """

    def __init__(
        self,
        folder: Path,
        simulator: Simulator,
        *,
        workers: int,
        ledger: str,
        drain_s: float,
        environment: Mapping[str, str],
    ) -> None:
        self.data_dir = folder / "data"
        self.simulator = simulator
        self._config = folder / "config.yaml"
        self._config.write_text(
            CONFIG.format(workers=workers, ledger=ledger, drain_s=drain_s, base_url=simulator.base_url),
            encoding="utf-8",
        )
        self._log = (folder / "serve.log").open("ab")
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self.process: asyncio.subprocess.Process
        self.banner = ""
        self._redis: Redis | None = None

    # Processes

    async def start(self) -> None:
        """Start it, and wait for its banner."""
        self.process = await self.spawn()
        assert self.process.stdout is not None
        self.banner = ""
        while "  Data " not in self.banner:
            line = await asyncio.wait_for(self.process.stdout.readline(), WITHIN_S)
            assert line, f"serve ended before it was ready: {self.log()}"
            self.banner += line.decode()

    async def spawn(self) -> asyncio.subprocess.Process:
        """One more `serve` on the same directory, whatever becomes of it."""
        return await self._run("serve", stderr=self._log.fileno())

    async def command(self, *words: str, data_dir: bool = True) -> tuple[int, str]:
        """Run another command of the same installation: its exit code and all it said.

        `data_dir`: False for commands that read the configuration alone.
        """
        process = await self._run(*words, stderr=asyncio.subprocess.STDOUT, data_dir=data_dir)
        said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def _run(
        self, command: str, *words: str, stderr: int, data_dir: bool = True
    ) -> asyncio.subprocess.Process:
        flags = ["--config", str(self._config)]
        if data_dir:
            flags += ["--data-dir", str(self.data_dir)]
        return await asyncio.create_subprocess_exec(
            *PROGRAM,
            command,
            *words,
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env=self._environment,
        )

    def log(self) -> str:
        """What `serve` has logged, over all its starts."""
        return (self.data_dir.parent / "serve.log").read_text(errors="replace")

    def faults(self) -> list[str]:
        """Lines of the log that tell of a fault of the gateway's own."""
        return [line for line in self.log().splitlines() if FAULT.search(line)]

    @property
    def state(self) -> Running:
        """What the running supervisor announced."""
        found = running(self.data_dir)
        assert found is not None, "serve does not run"
        return found

    @property
    def port(self) -> int:
        """Where the workers listen."""
        return int(self.state.base_url.rsplit(":", 1)[1].split("/")[0])

    @property
    def valkey_pid(self) -> int:
        """The embedded server's process."""
        (pid,) = servers_on(self.data_dir)
        return pid

    def children(self, role: str) -> list[int]:
        """The supervisor's own children of a role (`worker`, `recorder`)."""
        return [
            pid
            for pid, words in _commands()
            if b"gateway.serve.child" in words
            and role.encode() in words
            and str(self.process.pid).encode() in words
        ]

    def kill_supervisor(self) -> None:
        """kill -9 of `serve`."""
        self.process.kill()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.forget_connection()
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)

    async def clear(self) -> None:
        """Leave nothing running, whatever the test did."""
        self.forget_connection()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        for pid in servers_on(self.data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._log.close()

    # What it holds

    @property
    def redis(self) -> Any:
        """A client of the ledger in force."""
        if self._redis is None:
            assert self.state.redis_url is not None
            self._redis = Redis.from_url(self.state.redis_url, socket_timeout=60)
        return self._redis

    def forget_connection(self) -> None:
        """Drop the client of the ledger, before or after its server goes."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    @contextlib.contextmanager
    def _keyring(self) -> Any:
        engine = open_database(self.data_dir / "tollkeeper.db")
        try:
            yield Keyring(engine, LedgerRows(self.redis))
        finally:
            engine.dispose()

    def key(self, limit_nano: int) -> Key:
        """A new key with a hard lifetime limit."""
        with self._keyring() as keyring:
            wishes = [NewLimit("lifetime", limit_nano)]
            secret, record = keyring.create("acceptance", limits=wishes, assertion="any")
            return Key(secret, record.id, record.limits[0].id)

    def counters(self, key: Key) -> Counters:
        """The row of the key's limit."""
        row = self.redis.hget(f"{names_of(ACCOUNT).window}life", key.limit_id)
        return Counters(*struct.unpack("<3q", row)) if row else Counters(0, 0, 0)

    def open_ids(self) -> set[str]:
        """Requests that hold a lease."""
        return {one.decode() for one in self.redis.zrange(names_of(ACCOUNT).leases, 0, -1)}

    def outbox(self) -> list[CostEvent]:
        """Events that wait for the recorder."""
        return [decode(entry[b"e"]) for _, entry in self.redis.xrange(names_of(ACCOUNT).outbox)]

    def dead_letters(self) -> int:
        """Entries that the recorder gave up on."""
        return sum(
            self.redis.xlen(names_on(shard).outbox.removesuffix("outbox") + "dead") for shard in all_shards()
        )

    def events(self) -> list[CostEvent]:
        """Every row of the event table, read without the store's own queries."""
        engine = open_database(self.data_dir / "tollkeeper.db")
        try:
            with engine.connect() as connection:
                return [
                    decode(row[0]) for row in connection.execute(text("SELECT document FROM event_documents"))
                ]
        finally:
            engine.dispose()

    def rolled_up_nano(self) -> int:
        """The sum of all costs by the rollups, which only grow: an event added twice shows here."""
        store = EventStore(self.data_dir / "tollkeeper.db")
        try:
            return sum(row.cost_nano for row in store.cost_by(()))
        finally:
            store.close()

    async def settled(self, seconds: float = WITHIN_S) -> None:
        """Wait until nothing is open (ended, or reaped) and the outbox is recorded."""
        await until(lambda: not self.open_ids() and not self.redis.xlen(names_of(ACCOUNT).outbox), seconds)


def _commands() -> Iterable[tuple[int, list[bytes]]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(entry.name), (entry / "cmdline").read_bytes().split(b"\0")


def servers_on(data_dir: Path) -> list[int]:
    """Redis-compatible servers that work in this data directory, without processes they forked."""
    found: dict[int, int] = {}
    for pid, words in _commands():
        if b"-server" in words[0]:
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{pid}/cwd")) == data_dir / "valkey":
                    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    if status[0] != "Z":
                        found[pid] = int(status[1])
    return sorted(pid for pid, parent in found.items() if parent not in found)


def connections(pid: int) -> int:
    """Open sockets of a process."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(entry).startswith("socket:")
    return count


@asynccontextmanager
async def one_server_at_most(data_dir: Path) -> AsyncIterator[list[int]]:
    """Look all the while; gives the list of numbers of servers seen at once, checked at the end."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append(len(servers_on(data_dir)))
            await asyncio.sleep(POLL_S)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
    assert seen
    assert max(seen) == 1, f"{max(seen)} servers at once on {data_dir}"
