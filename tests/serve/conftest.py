"""Installations as real processes in a temporary directory; whatever a test leaves running is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.serve.lock import Running, running
from routing.presets import known, preset

ROOT = str(Path(__file__).parents[2])
STAND_IN = Path(__file__).with_name("stand_in.py")
CONFIG = """\
providers:
  one:
    base_url: http://127.0.0.1:9/v1
    api_key: x
    models: [m]
server:
  drain_s: 5
"""
WITHIN_S = 90
PROVIDERS_OWN = {
    name
    for provider in known()
    for kind in ("env", "url_env")
    for name in (preset(provider) or {}).get(kind, ())
}
"""Variables of the environment that would configure a real provider."""


class Installation:
    """A supervisor in a process of its own."""

    def __init__(self, data_dir: Path, config: Path, command: list[str]) -> None:
        self.data_dir = data_dir
        self.config = config
        self.command = command
        self.banner = ""
        self.log = ""
        self.process: asyncio.subprocess.Process
        self._log_task: asyncio.Task[None]
        self._said = asyncio.Event()

    async def start(self, until: str | None = "Data ") -> Installation:
        """Start it and read its standard output until the given words; the rest is read later."""
        environment = {name: value for name, value in os.environ.items() if name not in PROVIDERS_OWN}
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**environment, "PYTHONPATH": ROOT},
        )
        self._log_task = asyncio.create_task(self._read_log())
        if until is None:
            return self
        assert self.process.stdout is not None
        while until not in self.banner:
            line = await asyncio.wait_for(self.process.stdout.readline(), WITHIN_S)
            assert line, f"ended before it was ready:\n{self.banner}\n{self.log}"
            self.banner += line.decode()
        return self

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()
            self._said.set()

    async def logged(self, pattern: str, times: int = 1) -> None:
        """Wait until the log has matched so many times."""
        async with asyncio.timeout(WITHIN_S):
            while len(re.findall(pattern, self.log)) < times:
                self._said.clear()
                await self._said.wait()

    @property
    def state(self) -> Running:
        state = running(self.data_dir)
        assert state is not None
        return state

    @property
    def port(self) -> int:
        return int(self.state.base_url.split(":")[2].split("/")[0])

    @property
    def valkey_pid(self) -> int:
        return int((self.data_dir / "valkey" / "valkey.lock").read_text())

    async def ask(self, path: str = "/") -> list[str]:
        """One request on a connection of its own: the worker's pid and slot, and its routes."""
        reading, writing = await asyncio.open_connection("127.0.0.1", self.port)
        return await answer_of(reading, writing, path)

    async def scrape(self) -> str:
        url = self.state.metrics_url
        return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=60).read().decode())

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; the rest of its output is then in banner and log."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        code = await asyncio.wait_for(self.process.wait(), WITHIN_S)
        assert self.process.stdout is not None
        if number_free := code != -signal.SIGKILL:
            self.banner += (await self.process.stdout.read()).decode()
        if number_free:
            await asyncio.wait_for(self._log_task, WITHIN_S)
        return code

    async def clear(self) -> None:
        """Leave nothing running, whatever the test did."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._log_task.cancel()
        for pid in holders(self.data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def answer_of(
    reading: asyncio.StreamReader, writing: asyncio.StreamWriter, path: str = "/"
) -> list[str]:
    writing.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await asyncio.wait_for(reading.read(), WITHIN_S)
    writing.close()
    return answer.decode().partition("\r\n\r\n")[2].split(maxsplit=2)


def holders(data_dir: Path) -> list[int]:
    """Processes that have any file of the data directory open or mapped, or work in it."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith(f"{data_dir}/"):
                found.add(int(entry.parts[2]))
    return sorted(found - {os.getpid()})


async def gone(*pids: int) -> None:
    """Wait until none of these processes runs (a zombie has ended)."""
    async with asyncio.timeout(WITHIN_S):
        for pid in pids:
            while alive(pid):
                await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


Make = Callable[..., Installation]


@pytest.fixture
async def installations() -> AsyncIterator[list[Installation]]:
    """What a test starts; ended when it ends."""
    made: list[Installation] = []
    yield made
    for one in made:
        await one.clear()


@pytest.fixture
def make(tmp_path: Path, installations: list[Installation]) -> Make:
    """Makes installations of the stand-in, by default all on one data directory."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)

    def make_one(data_dir: Path = tmp_path / "data", workers: int = 1, port: int = 0) -> Installation:
        command = [
            sys.executable,
            str(STAND_IN),
            "serve",
            str(data_dir),
            str(port),
            str(workers),
            str(config),
        ]
        installations.append(Installation(data_dir, config, command))
        return installations[-1]

    return make_one


@pytest.fixture
def make_real(tmp_path: Path, installations: list[Installation]) -> Make:
    """Makes installations of `tollkeeper serve`, with the simulated provider."""
    config = tmp_path / "config.yaml"
    config.write_text("server: {port: 0, metrics_port: 0, drain_s: 5}\nsimulator: {port: 0}\n")

    def make_one(data_dir: Path = tmp_path / "data", workers: int = 1) -> Installation:
        program = [sys.executable, "-P", "-c", "from gateway.cli import main; main()", "serve"]
        flags = ["--config", str(config), "--data-dir", str(data_dir), "--workers", str(workers)]
        installations.append(Installation(data_dir, config, [*program, *flags]))
        return installations[-1]

    return make_one
