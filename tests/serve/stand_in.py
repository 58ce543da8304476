"""A small installation for the supervisor's mechanics: its children are real processes that do little.

    python stand_in.py serve DATA_DIR PORT WORKERS      the supervisor with the children below
    python stand_in.py ROLE ...                         such a child, through gateway.serve.child

The worker answers every connection with its pid and slot in one HTTP answer. A request for /hold is
answered when the worker is told to stop; /crash ends the process unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from gateway.serve import child
from gateway.serve.child import Document, Report


def run_worker(document: Document, report: Report) -> None:
    asyncio.run(_work(document, report))


async def _work(document: Document, report: Report) -> None:
    from prometheus_client import Counter

    answered = Counter("stand_in_answers", "Answers")
    stop = asyncio.Event()
    busy: set[asyncio.Task[Any]] = set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def answer(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reading.readuntil(b"\r\n\r\n")
            if b"/crash" in head:
                os.kill(os.getpid(), signal.SIGKILL)
            if b"/hold" in head:
                await stop.wait()
            answered.inc()
            body = f"{os.getpid()} {document['slot']} {document['settings'].get('routes', {})}".encode()
            writing.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writing.drain()
        writing.close()
        busy.discard(task)

    server = await asyncio.start_server(answer, sock=socket.socket(fileno=document["listener"]))
    report({})
    await stop.wait()
    server.close()
    while busy:
        await asyncio.wait(busy)


def run_recorder(document: Document, report: Report) -> None:
    marker = Path(document["settings"]["server"]["data_dir"], "stand_in.db")
    first = not marker.exists()
    marker.touch()
    report({"first_key": "obs_first" if first else None, "model": "m", "warnings": []})
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


def run_api(document: Document, report: Report) -> None:
    """Answers every connection to its socket with its pid; fails to begin once, where a file asks for it."""
    failing = Path(document["settings"]["server"]["data_dir"], "api_fails")
    if failing.exists():
        failing.unlink()
        sys.exit(1)
    asyncio.run(_say_pid(document, report))


async def _say_pid(document: Document, report: Report) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def answer(_: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        writing.write(b"%d\n" % os.getpid())
        await writing.drain()
        writing.close()

    server = await asyncio.start_unix_server(answer, sock=socket.socket(fileno=document["listener"]))
    report({})
    await stop.wait()
    server.close()


def run_simulator(document: Document, report: Report) -> None:
    report({})
    signal.pause()


def serve(data_dir: str, port: str, workers: str, config: str) -> int:
    from gateway.serve.logs import configure_logs
    from gateway.serve.supervisor import Supervisor
    from gateway.settings import Settings, load_settings

    def load() -> Settings:
        return load_settings(
            Path(config),
            {
                "server.data_dir": data_dir,
                "server.port": int(port),
                "server.metrics_port": 0,
                "server.workers": int(workers),
            },
        )

    settings = load()
    configure_logs("info")
    here = str(Path(__file__).resolve())
    supervisor = Supervisor(
        settings, reload=load, command=lambda role: [sys.executable, "-P", here, role, str(os.getpid())]
    )
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(serve(*sys.argv[2:]))
    child.ROLES = {
        "worker": ((), run_worker),
        "recorder": ((), run_recorder),
        "api": ((), run_api),
        "simulator": ((), run_simulator),
    }
    child.main(sys.argv[1:])
