"""A bare reverse proxy of Go's standard library (`goproxy/main.go`), built when `go` is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.installed import Installed, NotInstalled
from benchmarks.programs import BUILD
from benchmarks.stage import CLIENT_HEADERS, Stage, clean_environment, free_port
from benchmarks.subject import Subject

NAME = "goproxy"
SOURCE = Path(__file__).resolve().parent / "goproxy"
BUILD_PATIENCE_S = 300.0


def find_goproxy(_folder: Path) -> Installed:
    """The proxy, built where its source is newer. NotInstalled without `go`."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise NotInstalled(f"{NAME}: no `go` on PATH (apt-get install golang-go)")
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"go(\d[\w.]*)", said)
    program = _built(go)
    return Installed(
        name=NAME,
        version=f"Go {version[1]}" if version else "Go",
        more="nothing",
        less="everything: no key, no limit, no price, no record; it forwards",
        setting="`httputil.ReverseProxy`, GOMAXPROCS=1, a keep-alive pool, every piece flushed at once",
        start=lambda stage: _start(stage, program),
    )


def _built(go: str) -> Path:
    program = BUILD / NAME
    newest = max(path.stat().st_mtime for path in SOURCE.iterdir())
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        outcome = subprocess.run(
            [go, "build", "-o", str(program), "."],
            cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{NAME}: `go build` did not end within {BUILD_PATIENCE_S:.0f} s") from None
    if outcome.returncode != 0:
        raise NotInstalled(f"{NAME}: `go build` failed: {outcome.stderr.strip()[-500:]}")
    return program


def _start(stage: Stage, program: Path) -> Subject:
    port = free_port()
    process = stage.start(
        NAME,
        [str(program), f"127.0.0.1:{port}", f"http://127.0.0.1:{stage.upstream_port}"],
        env={**clean_environment(), "GOMAXPROCS": "1"},  # it has one core
    )
    stage.wait_for_port(NAME, process, port)
    return Subject(
        NAME, port, CLIENT_HEADERS, groups=lambda: {NAME: [process.pid]}, pinned=(NAME,), guest=True
    )
