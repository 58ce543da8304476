"""Portkey's gateway (npm, @portkey-ai/gateway) on Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.installed import Installed, NotInstalled
from benchmarks.process import descendants
from benchmarks.stage import CLIENT_HEADERS, Stage, clean_environment, free_port
from benchmarks.subject import Subject

NAME = "portkey"
PACKAGE = Path("portkey") / "node_modules" / "@portkey-ai" / "gateway"
PRELOAD = Path(__file__).resolve().parent / "portkey_preload.mjs"


def find_portkey(folder: Path) -> Installed:
    """The gateway in `folder`. NotInstalled without it, or without Node."""
    package = folder / PACKAGE
    node = shutil.which("node")
    if node is None or not (package / "build" / "start-server.js").exists():
        raise NotInstalled(f"{NAME}: not in {folder} (sh benchmarks/peers/install)")
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    runtime = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Installed(
        name=NAME,
        version=f"{version}, Node {runtime.lstrip('v')}",
        more="translates between providers, can retry, cache and run guardrails (all off here); reads and "
        "writes each chunk of a stream; waits 25 ms before a stream's first event, by design",
        less="checks no key and no limit, keeps no ledger, knows no price, records nothing",
        setting="provider and address in headers, one process; a preload keeps it on 127.0.0.1 and makes the "
        "headers of fetched streams changeable, without which this version's streams are HTTP 500",
        start=lambda stage: _start(stage, node, package),
    )


def _start(stage: Stage, node: str, package: Path) -> Subject:
    port = free_port()
    command = [node, "--import", str(PRELOAD), str(package / "build" / "start-server.js")]
    process = stage.start(
        NAME,
        [*command, f"--port={port}", "--headless"],
        env={**clean_environment(), "NODE_ENV": "production"},
    )
    stage.wait_for_port(NAME, process, port)
    return Subject(
        NAME,
        port,
        [
            *CLIENT_HEADERS,
            ("Authorization", "Bearer sk-bench"),
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", f"http://127.0.0.1:{stage.upstream_port}/v1"),
        ],
        groups=lambda: {NAME: [process.pid, *descendants(process.pid)]},
        pinned=(NAME,),
        guest=True,
    )
