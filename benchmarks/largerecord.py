"""A gateway whose API answers from a large record, which it only reads, and its caches made cold.

`serve` runs with everything on in a temporary directory of its own, so that requests beside the questions are
recorded there and keys are made there. One process is exchanged: where its workers find the api process, one
of the same code listens that is told another database (benchmarks.recordapi).
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, urlsplit

import sqlalchemy as sa

from benchmarks.asker import Asker
from benchmarks.askings import Contents, contents_of
from benchmarks.contest import Contest
from benchmarks.gateway_subject import SECRET, start_gateway, tollkeeper
from benchmarks.lane import Lane
from benchmarks.process import descendants, listeners
from benchmarks.stage import CannotStart, Stage
from metering.database import shown
from metering.migration import load_migrations, shipped, unseen

SCOPES = "usage.read,events.read,models.read"
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class ColdCache:
    """What is done so that nothing of the record is in memory.

    drop: `files` of the record leave the page cache, or everything of the `machine` does, or nothing.
    server_data: the directory of a PostgreSQL server. server_restart: a command, without which what the
    server itself holds in memory stays there.
    """

    def __init__(self, record: str, drop: str, server_data: Path | None, server_restart: str | None) -> None:
        self._restart = server_restart
        self._machine = drop == "machine"
        self._folders: list[Path] = []
        if drop == "files":
            if "://" not in record:
                self._folders = [Path(record)]
            elif server_data is not None:
                self._folders = [server_data]
            else:
                raise CannotStart("--drop files needs --server-data for a server; or --drop machine, none")
        if self._machine and not os.access(DROP_CACHES, os.W_OK):
            raise CannotStart(f"--drop machine writes to {DROP_CACHES}, which only root may")
        parts = ["new connections"]
        parts += ["the server restarted"] if server_restart else []
        parts += ["the machine's page cache dropped"] if self._machine else []
        parts += ["the record's files dropped from the page cache"] if self._folders else []
        self.told = ", ".join(parts)

    def restart(self) -> None:
        """The server's own memory, where it can be emptied. CannotStart when its command fails."""
        if self._restart is None:
            return
        # Its words go nowhere: a server that it starts would hold a pipe open.
        done = subprocess.run(
            shlex.split(self._restart),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise CannotStart(f"`{self._restart}` ended with {done.returncode}")

    def drop(self) -> None:
        """The page cache. Pages that are not on the disk yet stay."""
        if self._machine:
            DROP_CACHES.write_text("1")
        for path in self._files():
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            for parent, _, names in os.walk(folder):
                yield from (Path(parent) / name for name in names)


class LargeRecord:
    """A context manager: inside it the gateway runs. LookupError, CannotStart where the record is none of
    this version, or the account has no events."""

    def __init__(self, record: str, account_id: str) -> None:
        self._record = record if "://" in record else str(Path(record).resolve())
        where = record if "://" in record else Path(record).resolve() / "tollkeeper.db"
        self.shown = shown(where)
        self.contents: Contents = _read(where, account_id)
        every = sorted(os.sched_getaffinity(0))
        self._stage = Stage(every, every)
        self._server_port = urlsplit(record).port or 5432 if "://" in record else None
        self._api: subprocess.Popen[bytes]
        self._secret = ""
        self._contest: Contest

    def __enter__(self) -> LargeRecord:
        self._stage.__enter__()
        try:
            self._start()
        except BaseException:
            self._stage.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage.__exit__(kind, error, trace)

    def asker(self, cache: ColdCache) -> Asker:
        """Asks this gateway."""

        def forget() -> None:
            cache.restart()
            self._api.send_signal(signal.SIGUSR1)
            self._hear("fresh")
            cache.drop()

        return Asker(self._subject.port, self._secret, self._groups, forget)

    def load(self, lane: Lane) -> dict[str, float]:
        """Quantiles of the latency of proxied requests, in microseconds."""
        (sample,) = self._contest.run(lane, 1)
        return sample.latency_us

    def _start(self) -> None:
        stage = self._stage
        crew = stage.start_upstream()
        self._subject = start_gateway(stage)
        configuration, data_dir = stage.scratch / "tollkeeper.yaml", stage.scratch / "data"
        words = ("keys", "create", "--name", "questions", "--scopes", SCOPES)
        said = tollkeeper(stage, configuration, sys.executable, *words)
        secret = SECRET.search(said)
        if secret is None:
            raise CannotStart(f"`tollkeeper keys create` printed no key: {said[-500:]}")
        self._secret = secret[0]
        self._start_api(configuration, data_dir)
        self._contest = Contest([self._subject], crew, scratch=stage.scratch, tell=lambda _: None)

    def _start_api(self, configuration: Path, data_dir: Path) -> None:
        """In the place where workers look for the api process."""
        here, there = self._stage.scratch / "api.sock", data_dir / "run" / "api.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(here))
            listener.listen(128)
            listener.set_inheritable(True)
            redis_url = f"unix://{quote(str(data_dir / 'valkey.sock'))}"
            command = [sys.executable, "-P", "-m", "benchmarks.recordapi"]
            command += [str(listener.fileno()), str(configuration), redis_url, self._record]
            self._api = self._stage.start(
                "record-api", command, stdout=subprocess.PIPE, pass_fds=(listener.fileno(),)
            )
        self._hear("ready")
        here.replace(there)

    def _hear(self, word: str) -> None:
        assert self._api.stdout is not None
        line = self._api.stdout.readline().decode().strip()
        if line != word:
            said = self._stage.log_tail("record-api")
            raise CannotStart(f"the api process over the record said {line!r}, not {word!r}: {said}")

    def _groups(self) -> Mapping[str, Sequence[int]]:
        found: dict[str, Sequence[int]] = {
            "api": [self._api.pid],
            "worker": self._subject.groups()["gateway"],
        }
        if self._server_port is not None:
            servers = listeners(self._server_port)
            found["database"] = [each for pid in servers for each in (pid, *descendants(pid))]
        return found


def _read(where: Path | str, account_id: str) -> Contents:
    """What is in the record, which has to be of this version: nothing is migrated here."""
    if isinstance(where, Path):
        engine = sa.create_engine(f"sqlite:///file:{where}?mode=ro&uri=true")
        steps = load_migrations(shipped("sqlite"))
    else:
        engine = sa.create_engine("postgresql+psycopg://" + where.partition("://")[2])
        steps = load_migrations(shipped("postgresql"))
    try:
        with engine.connect() as connection:
            applied = connection.exec_driver_sql("SELECT number, name, checksum FROM schema_migrations")
            rows = sorted(tuple(row) for row in applied)
            if unseen(steps, rows, shown(where)):
                raise CannotStart(f"{shown(where)} is of an earlier version: open it with this one first")
            return contents_of(connection, account_id)
    except sa.exc.DBAPIError as error:
        raise CannotStart(f"{shown(where)}: {error.orig}") from error
    finally:
        engine.dispose()
