"""The first thing a child process of the supervisor does.

    python -P -m gateway.serve.child ROLE PARENT_PID METRICS_DIRECTORY OWNER REPORT_DESCRIPTOR

It binds its life to the supervisor's, imports what its role needs (while the supervisor prepares), reads
its settings from standard input (one line of JSON, secrets included; never from arguments or environment),
and reports one line of JSON when it is ready. Standard input stays open and ends when the supervisor dies.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog

from gateway.serve.launcher import PARENT_GONE, die_with_parent
from gateway.serve.logs import configure_logs

Document = Mapping[str, Any]
Report = Callable[[Mapping[str, Any]], None]


def main(arguments: list[str]) -> None:
    role, parent_pid, metrics_directory, owner, report_descriptor = arguments
    die_with_parent(int(parent_pid), signal.SIGKILL)
    if metrics_directory:
        from gateway.metrics_files import use_value_files

        use_value_files(metrics_directory, owner)  # before any module that constructs a metric
    modules, run = ROLES[role]
    for module in modules:
        import_module(module)
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(PARENT_GONE)
    if sys.platform != "linux":
        threading.Thread(target=_watch_parent, name="parent watch", daemon=True).start()
    document: Document = json.loads(line)
    configure_logs(document["log_level"])
    run(document, reporter(int(report_descriptor)))


def reporter(descriptor: int) -> Report:
    """A function that reports once and closes the pipe."""

    def report(content: Mapping[str, Any]) -> None:
        os.write(descriptor, json.dumps(content).encode() + b"\n")
        os.close(descriptor)

    return report


def run_worker(document: Document, report: Report) -> None:
    from gateway.settings import settings_from_document
    from gateway.worker import run_worker

    run_worker(
        settings=settings_from_document(document["settings"]),
        redis_url=document["redis_url"],
        slot=document["slot"],
        listener=socket.socket(fileno=document["listener"]),
        metrics_dir=Path(document["metrics_dir"]),
        api_socket=Path(document["api_socket"]),
        ready=lambda: report({}),
    )


def run_api(document: Document, report: Report) -> None:
    from gateway.api.process import run_api
    from gateway.settings import settings_from_document

    settings = settings_from_document(document["settings"])
    run_api(
        settings=settings,
        redis_url=document["redis_url"],
        database=settings.record,
        listener=socket.socket(fileno=document["listener"]),
        ready=lambda: report({}),
    )


def run_recorder(document: Document, report: Report) -> None:
    """Prepares before it records, so that no other process must load the same libraries."""
    from gateway.recorder.process import run_recorder
    from gateway.serve.preparation import PreparationFailed, prepare
    from gateway.settings import settings_from_document

    settings = settings_from_document(document["settings"])
    try:
        prepared = prepare(settings, document["redis_url"], first=document["first"])
    except PreparationFailed as error:
        structlog.get_logger(component="recorder").error("cannot prepare", reason=str(error))
        report({"fault": str(error)})
        sys.exit(1)
    report(prepared)
    run_recorder(
        settings=settings,
        redis_url=document["redis_url"],
        database=settings.record,
        data_dir=settings.server.data_dir,
        metrics_dir=Path(document["metrics_dir"]),
    )


def run_simulator(document: Document, report: Report) -> None:
    from simulator.process import run_simulator

    run_simulator(listener=socket.socket(fileno=document["listener"]), on_ready=lambda _: report({}))


ROLES: dict[str, tuple[tuple[str, ...], Callable[[Document, Report], None]]] = {
    "worker": (("gateway.worker",), run_worker),
    "recorder": (("gateway.recorder.process", "gateway.serve.preparation"), run_recorder),
    "api": (("gateway.api.process",), run_api),
    "simulator": (("simulator.process",), run_simulator),
}


def _watch_parent() -> None:
    """Where the kernel sends no signal when a parent dies, the end of its pipe tells."""
    while os.read(0, 4096):
        pass
    os._exit(PARENT_GONE)


if __name__ == "__main__":
    main(sys.argv[1:])
