"""`tollkeeper serve` as the demo's child: the whole product on free ports, with the simulated provider."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.serve.lock import Running, running
from gateway.settings import DATABASE

CONFIG = """\
# Written by `tollkeeper demo`: free ports on this machine only, and the simulated provider.
server: {host: 127.0.0.1, port: 0, metrics_host: 127.0.0.1, metrics_port: 0, drain_s: 5}
simulator: {port: 0}
"""
CONFIG_FILE = "demo.yaml"
"""Also marks a data directory as the demo's own."""
LOG_FILE = "serve.log"
STARTING_S = 90.0
STOPPING_S = 60.0
TOLD_LINES = 8
_PROGRAM = """\
import signal, sys
from gateway.serve.launcher import die_with_parent
die_with_parent(int(sys.argv.pop(1)), signal.SIGTERM)
from gateway.cli import main
main(prog_name="tollkeeper")
"""


class InstallationFailed(Exception):
    """The installation did not start, or ended too early; the text says why."""


class Installation:
    """One `tollkeeper serve` on `data_dir`. Its output goes to `serve.log` there."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def database(self) -> Path:
        """Where keys and events are."""
        return self.data_dir / DATABASE

    def prepare(self) -> None:
        """Make the directory and its configuration. Raises InstallationFailed where that must not be."""
        config = self.data_dir / CONFIG_FILE
        if self.database.exists() and not config.exists():
            raise InstallationFailed(
                f"{self.data_dir} holds an installation that is not the demo's, and made-up costs would "
                "stand in its reports; choose another --data-dir, or none"
            )
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            config.write_text(CONFIG)
        except OSError as error:
            raise InstallationFailed(f"{self.data_dir} cannot be written: {error.strerror}") from None

    async def start(self) -> Running:
        """Start it and wait until it serves; its addresses. Raises InstallationFailed."""
        arguments = ["serve", "--config", str(self.data_dir / CONFIG_FILE), "--data-dir", str(self.data_dir)]
        with (self.data_dir / LOG_FILE).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(STARTING_S):
                await self._process.stdout.readuntil(b"Base URL")
        except asyncio.IncompleteReadError:
            raise InstallationFailed(f"`tollkeeper serve` did not start:\n{self.last_words()}") from None
        except TimeoutError:
            raise InstallationFailed(
                f"`tollkeeper serve` was not ready within {STARTING_S:.0f} s:\n{self.last_words()}"
            ) from None
        state = running(self.data_dir)
        if state is None:
            raise InstallationFailed(f"`tollkeeper serve` ended again at once:\n{self.last_words()}")
        return state

    async def stop(self) -> None:
        """End it and wait for its end; nothing happens when it has ended or was never started."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                process.send_signal(number)
            except ProcessLookupError:
                pass
            try:
                async with asyncio.timeout(STOPPING_S):
                    await process.communicate()
                    return
            except TimeoutError:
                continue

    def last_words(self) -> str:
        """The end of its log."""
        try:
            lines = (self.data_dir / LOG_FILE).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(f"  {line}" for line in lines[-TOLD_LINES:])


def _environment() -> dict[str, str]:
    """Ours, without what would configure a real provider or another server."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TOLLKEEPER_"))
    }
