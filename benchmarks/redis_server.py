"""A Redis on a TCP port of loopback, with the program and the settings of the gateway's embedded one."""

from __future__ import annotations

import subprocess

from benchmarks.stage import CannotStart, Stage, free_port
from gateway.serve.engine import NoEngine, choose


def start_redis(stage: Stage, name: str) -> tuple[subprocess.Popen[bytes], str]:
    """The running server, called `name` on the stage, and its URL. Raises CannotStart."""
    folder = stage.scratch / name
    folder.mkdir()
    try:
        engine = choose(folder)
    except NoEngine as error:
        raise CannotStart(str(error)) from None
    port = free_port()
    words = [
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--databases", "1"),
        *(
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
        ),
    ]
    process = stage.start(name, [engine.path, *words])
    stage.wait_for_port(name, process, port)
    return process, f"redis://127.0.0.1:{port}/0"
