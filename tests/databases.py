"""Real databases for tests: a file, and a PostgreSQL server that runs as long as the tests of one process.

The server comes from Debian's package; where it, or the driver, is absent, its tests are skipped with a word.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from metering.database import Where

ENGINES = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.wide, pytest.mark.debian])]
"""For `params` of a fixture: every test of the wide ring that needs a database runs on both engines."""
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
    "listen_addresses": "",
}


@dataclass
class PostgresServer:
    """A server on a unix socket of its own, with `postgres` as its all-powerful user."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        login = user if password is None else f"{user}:{quote(password, safe='')}"
        return f"postgresql://{login}@/{database}?host={quote(str(self.folder), safe='')}"

    def make(self) -> None:
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = SETTINGS | {"unix_socket_directories": str(self.folder)}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        # The server ends when this process does, however that ends.
        command = [
            *_unprivileged("--pdeathsig", "INT"),
            str(self.programs / "postgres"),
            "-D",
            str(self.data),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while subprocess.run(self._ready(), stdout=subprocess.DEVNULL, check=False).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends connections and stops; SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the all-powerful user, outside of a transaction."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def fresh(self, more: str = "") -> str:
        """The URL of a new and empty database."""
        name = f"t{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} {more}")
        return self.url(name)

    def _ready(self) -> list[str]:
        return [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_unprivileged(), str(self.programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, check=False)
        assert done.returncode == 0, done.stderr.decode()


def programs() -> Path | None:
    """Where Debian keeps the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


def _unprivileged(*more: str) -> list[str]:
    """What a command begins with: the server refuses to run as root."""
    others = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    return ["setpriv", *others, *more, "--"] if others or more else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this process' tests."""
    where = programs()
    if where is None or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (scripts/setup wide)")
    # Not pytest's own folder: the server's user must reach it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="tk-pg-"))
    server = PostgresServer(where, folder)
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        server.make()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # a tidy end would write every table of every test to the disk
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Where]:
    """Makes places for databases, on the engine of the test's `engine_name`; in a file by default."""
    numbers = count()
    if "engine_name" in request.fixturenames and request.getfixturevalue("engine_name") == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.fresh
    return lambda: tmp_path / f"t{next(numbers)}.db"


@pytest.fixture(scope="module", params=ENGINES)
def record(request: pytest.FixtureRequest) -> Where | None:
    """For what a module's tests share, on every engine: None is a file of its own."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """The test runs on every engine."""
    return str(request.param)


@pytest.fixture
def database(engine_name: str, new_database: Callable[[], Where]) -> Where:
    """A place for one database, on every engine."""
    return new_database()
