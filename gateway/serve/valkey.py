"""The embedded server: our own configuration, at most one on a directory, started again when it dies.

Everything lives in `data_dir/valkey`: `valkey.conf` (written at each start), `valkey.lock` (locked by the
server process itself for as long as it lives, see launcher), `engine.json`, the append-only files. It
listens on a unix socket only, readable by this user only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import structlog

from gateway.background import Background
from gateway.serve import engine, launcher, socketpath
from gateway.serve.children import Child, ChildFailed, Keeper
from gateway.serve.leftover import POLL_S, ValkeyFailed, ask, clear_leftover, server_facts

log = structlog.get_logger(component="valkey")

END_PATIENCE_S = 15.0
SAID_MAX = 40  # lines kept to explain a failed start
LOG_LINE = re.compile(r"^\d+:[A-Z] .{20,30}? (?P<level>[.\-*#]) (?P<text>.*)$")

GLIBC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=256:glibc.malloc.tcache_max=2048"}
"""A script allocates hundreds of small things at once, and glibc keeps seven of a size at hand: with more, a
Valkey without jemalloc, as that of the wheel, works a twentieth less. It costs some 30 MB at most; others do
not read it, and what the operator sets goes first."""
CONFIGURATION = """\
# Written by `tollkeeper serve` at each start; changes made here are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {directory}
pidfile {pidfile}
daemonize no
supervised no
logfile ""
loglevel notice
databases 1
# Money: every write is appended before its answer leaves, nothing is ever evicted.
appendonly yes
appendfsync {appendfsync}
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""


class EmbeddedValkey:
    """One server on `data_dir/valkey`. `start` returns when it answers; `url` is its address."""

    def __init__(self, data_dir: Path, *, appendfsync: str = "everysec") -> None:
        self.directory = data_dir.resolve() / "valkey"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock_file = self.directory / "valkey.lock"
        self.socket = socketpath.place(data_dir.resolve(), self.directory)
        self.engine: engine.Engine | None = None
        self._appendfsync = appendfsync
        self._keeper = Keeper("valkey", self._launch)
        self._ready = False
        self._said: list[str] = []
        self._background = Background(log)

    @property
    def url(self) -> str:
        """The address for clients, as redis-py reads it."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int:
        """The process id of the present server."""
        return self._keeper.child.pid

    @property
    def starts(self) -> int:
        """How many servers were started so far."""
        return self._keeper.starts

    async def start(self) -> None:
        """Start the server and wait until it has loaded its data. Raises ValkeyFailed."""
        try:
            self.engine = engine.choose(self.directory)
        except engine.NoEngine as error:
            raise ValkeyFailed(str(error)) from None
        await self._keeper.begin()
        child = self._keeper.child
        waited_s = 0
        while not child.ready.done():
            await asyncio.wait({child.ready}, timeout=5)
            waited_s += 5
            if not child.ready.done():
                log.info("still loading", pid=child.pid, waited_s=waited_s)
        try:
            child.ready.result()
        except ChildFailed as error:
            await self._keeper.stop(END_PATIENCE_S)
            said = "\n  ".join(self._said[-8:])
            raise ValkeyFailed(f"{error}; its last words:\n  {said}") from None

    async def stop(self) -> None:
        """End it with SHUTDOWN, which writes and syncs the append-only file; then by signal."""
        if self._keeper.starts == 0:
            return
        with contextlib.suppress(OSError, TimeoutError):
            # A server that obeys closes the connection instead of answering.
            await ask(self.socket, "SHUTDOWN", timeout_s=END_PATIENCE_S)
        await self._keeper.stop(END_PATIENCE_S)
        socketpath.remove(self.socket, self.directory)

    async def _launch(self) -> Child:
        """One more server process; its `ready` completes when it answers."""
        assert self.engine is not None
        await clear_leftover(self.lock_file, self.socket)
        configuration = self._configure()
        command = [self.engine.path, str(configuration)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", launcher.__file__,
            str(os.getpid()), str(int(signal.SIGTERM)), str(self.lock_file), *command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=GLIBC | os.environ,
        )  # fmt: skip
        self._said.clear()
        child = Child("valkey", process, None)
        self._background.start(self._repeat_log(process), "valkey log")
        self._background.start(self._await_answer(child), "valkey ready")
        if self._appendfsync == "everysec":
            self._background.start(self._sync(child), "valkey sync")
        return child

    def _configure(self) -> Path:
        path = self.directory / "valkey.conf"
        text = CONFIGURATION.format(
            socket=_quoted(self.socket),
            directory=_quoted(self.directory),
            pidfile=_quoted(self.directory / "valkey.pid"),
            # Not the server's own everysec: while a sync runs, that holds writes back for up to two seconds
            # and answers all the same, so a kill would lose them. We sync the file from here (see _sync).
            appendfsync="no" if self._appendfsync == "everysec" else self._appendfsync,
        )
        path.write_text(text)
        path.chmod(0o600)
        return path

    async def _await_answer(self, child: Child) -> None:
        while not child.ready.done():
            with contextlib.suppress(OSError, TimeoutError):
                if await ask(self.socket, "PING", timeout_s=2) == b"PONG":
                    server = await server_facts(self.socket)
                    if server.get("process_id") != str(child.pid):
                        child.ready.set_exception(
                            ChildFailed(
                                f"{self.socket} is answered by pid {server.get('process_id')}, not by ours"
                            )
                        )
                        child.send(signal.SIGTERM)
                        return
                    if not child.ready.done():
                        child.ready.set_result(dict(server))
                        log.info("ready", pid=child.pid, engine=str(self.engine), run_id=server.get("run_id"))
                        self._ready = True
                    return
            await asyncio.sleep(POLL_S)

    async def _sync(self, child: Child) -> None:
        """Every second: what the server has written reaches the disk, whoever asks for it."""
        while not child.exited.done():
            await asyncio.wait({child.exited}, timeout=1.0)
            await asyncio.to_thread(_sync_files, self.directory / "appendonlydir")

    async def _repeat_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            text = line.decode(errors="replace").rstrip()
            match = LOG_LINE.match(text)
            self._said = [*self._said[-SAID_MAX:], match["text"] if match else text]
            telling = match is not None and match["level"] == "#" and self._ready
            log.log(logging.INFO if telling else logging.DEBUG, self._said[-1])


def _sync_files(directory: Path) -> None:
    for path in directory.glob("*.aof"):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync
            finally:
                os.close(descriptor)


def _quoted(path: Path) -> str:
    """A path as the server's configuration file reads it."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
