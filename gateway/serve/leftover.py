"""What a killed supervisor may have left on a directory: found, and ended before anything else starts.

`ask` speaks to the embedded server on its socket, one command on a connection of its own, so that the
supervisor need not load a client library.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import hiredis
import structlog

from gateway.serve.children import ChildFailed
from gateway.serve.lock import held, read_pid

log = structlog.get_logger(component="valkey")

LEFTOVER_PATIENCE_S = 10.0
ANSWER_S = 2.0
POLL_S = 0.005


class ValkeyFailed(ChildFailed):
    """The embedded server cannot run; the text says why and what to do."""


async def ask(socket_path: Path, *words: str, timeout_s: float) -> object:
    """One command on a connection of its own; the answer as hiredis reads it (errors as values).

    Raises OSError when nobody listens or the connection ends, TimeoutError when no answer comes.
    """
    async with asyncio.timeout(timeout_s):
        reading, writing = await asyncio.open_unix_connection(str(socket_path))
        try:
            writing.write(_command(words))
            reader = hiredis.Reader()
            while (answer := reader.gets()) is False:
                part = await reading.read(65_536)
                if not part:
                    raise ConnectionResetError(f"{socket_path}: closed without an answer")
                reader.feed(part)
            return answer
        finally:
            writing.close()


def _command(words: Sequence[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def clear_leftover(lock_file: Path, socket_path: Path) -> None:
    """Make sure that no server is left on this directory; ends one that is. Raises ValkeyFailed.

    After a kill -9 of the supervisor the kernel has asked the server to end (Linux), so mostly there is
    nothing or only a moment to wait for; a server that still answers gets SHUTDOWN, so that its last
    writes reach the disk; one that does neither is killed, when it is surely the one that holds our lock.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + LEFTOVER_PATIENCE_S
    told = False
    while held(lock_file) or (not told and socket_path.exists()):
        try:
            server = await server_facts(socket_path)
            if not told:
                log.warning(
                    "a server was left on this directory and is shut down",
                    pid=server.get("process_id"), run_id=server.get("run_id"),
                )  # fmt: skip
            told = True
            await ask(socket_path, "SHUTDOWN", timeout_s=LEFTOVER_PATIENCE_S)
        except (OSError, TimeoutError):
            if not held(lock_file):
                return
        if loop.time() >= give_up:
            break
        await asyncio.sleep(POLL_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not held(lock_file):
            return
        for pid in _holders(lock_file):
            log.warning(
                "a server was left on this directory and does not answer", pid=pid, signal=number.name
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        give_up = loop.time() + LEFTOVER_PATIENCE_S / 2
        while held(lock_file) and loop.time() < give_up:
            await asyncio.sleep(POLL_S)
    if held(lock_file):
        raise ValkeyFailed(
            f"another server (pid {read_pid(lock_file) or 'unknown'}) holds {lock_file} and does not end; "
            "stop it first"
        )


async def server_facts(socket_path: Path) -> dict[str, str]:
    """INFO server, by names; empty while it is still loading. Raises as `ask` does."""
    answer = await ask(socket_path, "INFO", "server", timeout_s=min(ANSWER_S, LEFTOVER_PATIENCE_S))
    if not isinstance(answer, bytes):
        return {}  # still loading
    pairs = (line.partition(":") for line in answer.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


def _holders(lock_file: Path) -> list[int]:
    """Processes of this user that hold the file open (Linux; elsewhere none is known for sure)."""
    wanted = lock_file.stat()
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            status = entry.stat()
        except OSError:  # gone meanwhile, or another user's
            continue
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(entry.parts[2]))
    return sorted(set(found) - {os.getpid()})
