"""The stage: starts upstream and subjects, keeps them apart on cores, and ends every one of them.

Everything listens on 127.0.0.1 on ports taken free, writes below one temporary directory, and is ended by
its pid when the stage closes, also after an error or Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from benchmarks.process import command_line, descendants, listeners, started_at
from benchmarks.programs import build
from benchmarks.subject import Crew, Subject

ROOT = Path(__file__).resolve().parent.parent
END_PATIENCE_S = 30.0
START_PATIENCE_S = 60.0
LOG_TAIL = 2_000

# What the official SDK sends, so that every subject reads as many headers as in life.
CLIENT_HEADERS = (
    ("Accept", "application/json"),
    ("User-Agent", "OpenAI/Python 3.52.0"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "3.52.0"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Async", "async:asyncio"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
)


class CannotStart(Exception):
    """Something the benchmark needs did not come up; the sentence says what it said last."""


class Stage:
    """A context manager: inside it, processes may be started; outside it, none of them is left."""

    def __init__(self, measured_cores: Sequence[int] = (), other_cores: Sequence[int] = ()) -> None:
        available = sorted(os.sched_getaffinity(0))
        self.measured_cores = list(measured_cores) or available[:1]
        self.other_cores = list(other_cores) or available[1:] or available
        self._stack = ExitStack()
        self.scratch = Path()
        self.upstream_port = 0
        self._upstream_pid = 0

    def __enter__(self) -> Stage:
        # Short, because the path of a unix socket may have 103 bytes only.
        folder = tempfile.mkdtemp(prefix="tollbench-")
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.scratch = Path(folder)
        os.sched_setaffinity(0, self.other_cores)
        self._stack.callback(os.sched_setaffinity, 0, set(self.measured_cores) | set(self.other_cores))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_upstream(self, port: int = 0, *, pace_ms: int = 20) -> Crew:
        """The C upstream on `port` (0: any). Returns the crew with which contests are run.

        `pace_ms`: between two chunks of a paced stream.
        """
        program, load = build("upstream"), build("load")
        command = [str(program), "--port", str(port), "--pace-ms", str(pace_ms)]
        process = self.start("upstream", command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline().split()
        if line[:1] != [b"listening"]:
            raise CannotStart(f"the upstream did not start: {self.log_tail('upstream')}")
        self.upstream_port, self._upstream_pid = int(line[1]), process.pid
        return Crew(process.pid, self.upstream_port, load, self.measured_cores, self.other_cores)

    def direct(self) -> Subject:
        """No proxy at all: what the load generator and the upstream do by themselves."""
        return Subject("direct", self.upstream_port, CLIENT_HEADERS)

    def peer(self, name: str, url: str, headers: Sequence[tuple[str, str]]) -> Subject:
        """Any other gateway that runs already and forwards to our upstream: whoever listens at `url`.

        `url` is its address with or without the path; its listening processes and their children are
        measured and pinned like the gateway.
        """
        rest = url.removeprefix("http://")
        address, slash, path = rest.partition("/")
        host, colon, port = address.partition(":")
        if rest == url or not colon or not port.isdigit():
            raise CannotStart(f"--peer {name}={url}: expected http://127.0.0.1:PORT or with a path")
        owners = listeners(int(port))
        if not owners:
            raise CannotStart(f"--peer {name}={url}: no process of this user listens on port {port}")
        host = socket.gethostbyname(host)
        path = f"/{path.rstrip('/')}" if slash and path else "/v1"
        return Subject(
            name,
            int(port),
            [*CLIENT_HEADERS, *headers],
            host=host,
            path=path if path.endswith("/chat/completions") else f"{path}/chat/completions",
            groups=lambda: {name: _with_children(owners)},
            pinned=(name,),
            guest=True,
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a process whose words go to NAME.log; it is ended with its children when the stage closes."""
        log = self._stack.enter_context((self.scratch / f"{name}.log").open("ab"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout or log,
            stderr=log,
            env=dict(env or clean_environment()),
            cwd=self.scratch,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end the others in order
        )
        self._stack.callback(end_tree, process)
        return process

    def log_tail(self, name: str) -> str:
        """The last words of a process."""
        try:
            return (self.scratch / f"{name}.log").read_text(errors="replace")[-LOG_TAIL:].strip()
        except OSError:
            return "(it said nothing)"

    def wait_for_port(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        port: int,
        *,
        patience_s: float = START_PATIENCE_S,
    ) -> None:
        """Until `port` takes connections; CannotStart when the process ends or stays silent instead."""
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            if process.poll() is not None:
                raise CannotStart(f"{name} ended with code {process.returncode}: {self.log_tail(name)}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise CannotStart(f"{name} did not listen on port {port} in time: {self.log_tail(name)}")

    def wait_for_answer(self, subject: Subject, process: subprocess.Popen[bytes], body: bytes) -> None:
        """Until one request through the subject is answered with 200; CannotStart when it never is."""
        give_up = time.monotonic() + START_PATIENCE_S
        said = ""
        while time.monotonic() < give_up and process.poll() is None:
            request = urllib.request.Request(
                f"http://{subject.host}:{subject.port}{subject.path}",
                data=body,
                headers={**dict(subject.headers), "Content-Type": "application/json"},
                method="POST",
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    answer.read()
                return
            except urllib.error.HTTPError as error:
                said = f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
                if error.code < 500:
                    break
            except OSError as error:
                said = str(error)
            time.sleep(0.1)
        raise CannotStart(f"{subject.name} does not answer: {said}\n{self.log_tail(subject.name)}")


def clean_environment() -> dict[str, str]:
    """Our environment without what would change what is measured.

    PYTHONDONTWRITEBYTECODE makes every process compile everything again; a gateway's own variables and
    provider keys would change its configuration.
    """
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "OPENAI_API_KEY", "OPENAI_BASE_URL")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith("TOLLKEEPER_")
    }
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{inherited}" if inherited else str(ROOT)
    return environment


def product_command(*words: str, python: str = sys.executable) -> list[str]:
    """The `tollkeeper` command of this checkout, run by this interpreter."""
    return [python, "-P", "-c", "from gateway.cli import main; main(prog_name='tollkeeper')", *words]


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make it; then end whatever of its children is still there.

    A child is known by pid and start time, so that a pid given to somebody else meanwhile is left alone.
    """
    known = {pid: started_at(pid) for pid in descendants(process.pid)}
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            known |= {pid: started_at(pid) for pid in descendants(process.pid)}
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
    _wait_gone(known, 2.0)
    for pid, at in known.items():
        if _still(pid, at):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    _wait_gone(known, 2.0)


def _wait_gone(known: Mapping[int, int | None], patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while any(_still(pid, at) for pid, at in known.items()) and time.monotonic() < give_up:
        time.sleep(0.02)


def _still(pid: int, start: int | None) -> bool:
    return start is not None and started_at(pid) == start and command_line(pid) != ""


def _with_children(pids: Sequence[int]) -> list[int]:
    found = list(pids)
    for pid in pids:
        found += [child for child in descendants(pid) if child not in found]
    return found
