"""The simulated provider beside something else: as a child process's whole life, or next to a test.

`run_simulator` is for a supervisor's child or a terminal: it blocks until SIGTERM or SIGINT.
`start_simulator` is for tests: a context manager that runs one in a thread, or in a process of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from simulator.provider import BACKLOG, SimulatedProvider

STARTING_S = 15.0
STOPPING_S = 10.0


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator, asked over its socket."""

    host: str
    port: int

    @property
    def root(self) -> str:
        """`http://host:port`."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.root}/v1"

    def bill(self, request_id: str | None = None) -> dict[str, Any]:
        """The bill, or the part of it for one request id; see the package's docstring for its shape."""
        return self._ask("GET", "bill" if request_id is None else f"bill?id={quote(request_id, safe='')}")

    def total_nano(self) -> int:
        """The bill's total in nano-dollars."""
        return int(self._ask("GET", "bill?summary=1")["total_nano"])

    def reset(self) -> None:
        """Forget bill, prompt cache, received requests and directive counts."""
        self._ask("DELETE", "bill")

    def open(self) -> dict[str, int]:
        """Open connections, running requests and running streams, without the one that asks."""
        return self._ask("GET", "open")

    def received(self) -> list[dict[str, Any]]:
        """The last requests as they arrived."""
        found: list[dict[str, Any]] = self._ask("GET", "received")["received"]
        return found

    def _ask(self, method: str, what: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=STARTING_S)
        try:
            connection.request(method, f"/_simulator/{what}")
            document: dict[str, Any] = orjson.loads(connection.getresponse().read())
        finally:
            connection.close()
        return document


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else asyncio's own."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_simulator(
    *,
    host: str = "127.0.0.1",
    port: int = 8788,
    listener: socket.socket | None = None,
    pace_ms: float = 0.0,
    first_ms: float = 0.0,
    tokens: int = 40,
    bill_full_on_hangup: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; call it in a process's main thread.

    A bound `listener` replaces host and port. `on_ready` is called once with the base URL. Raises OSError
    when the address cannot be bound.
    """
    provider = SimulatedProvider(
        pace_ms=pace_ms, first_ms=first_ms, tokens=tokens, bill_full_on_hangup=bill_full_on_hangup
    )

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        await provider.start(host, port, listener=listener)
        if on_ready is not None:
            on_ready(provider.base_url)
        await stopped.wait()
        await provider.stop()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve())


@contextmanager
def start_simulator(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    own_process: bool = False,
    pace_ms: float = 0.0,
    first_ms: float = 0.0,
    tokens: int = 40,
    bill_full_on_hangup: bool = False,
) -> Iterator[Simulator]:
    """A simulator for the length of a `with`, in a thread or, with `own_process`, in a process.

    The socket listens before this returns, so a client may connect at once.
    """
    listener = socket.create_server((host, port), backlog=BACKLOG)
    simulator = Simulator(host, listener.getsockname()[1])
    if own_process:
        options = [f"--pace-ms={pace_ms}", f"--first-ms={first_ms}", f"--tokens={tokens}"]
        if bill_full_on_hangup:
            options.append("--bill-full-on-hangup")
        with _child(listener, options):
            yield simulator
        return
    provider = SimulatedProvider(
        pace_ms=pace_ms, first_ms=first_ms, tokens=tokens, bill_full_on_hangup=bill_full_on_hangup
    )
    with _thread(provider, listener):
        yield simulator


@contextmanager
def _thread(provider: SimulatedProvider, listener: socket.socket) -> Iterator[None]:
    """Run `provider` in a thread with an event loop of its own."""
    loop = new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        starting = asyncio.run_coroutine_threadsafe(provider.start(listener=listener), loop)
        starting.result(STARTING_S)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(provider.stop(), loop).result(STOPPING_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOPPING_S)
        loop.close()


@contextmanager
def _child(listener: socket.socket, options: list[str]) -> Iterator[None]:
    """Run `python -m simulator` on the inherited socket; its input is a pipe whose end tells it to stop."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "simulator", f"--listener={listener.fileno()}", "--until-eof", *options]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    listener.close()
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(STOPPING_S)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()
