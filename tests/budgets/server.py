"""What the ledger's tests stand on: a real server process, and a small world of one key and its limits."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from budgets.connection import RedisConnection
from budgets.ledger import Hold, Lease, Ledger, Opened, Refused
from budgets.limit import Limit
from budgets.names import names_of
from budgets.rows import LedgerRows
from budgets.window import window_at
from metering.event import CostEvent, encode

ACCOUNT = "default"
KEY = "key_1"
_ids = itertools.count(1)


@dataclass
class Server:
    """A server process on a unix socket of its own."""

    command: list[str]
    socket: Path
    process: subprocess.Popen[bytes] | None = None
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = Redis(unix_socket_path=str(self.socket))

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except RedisConnectionError:
                assert time.monotonic() < deadline, "the server does not start"
                assert self.process.poll() is None, f"the server ended: {self.command}"
                time.sleep(0.005)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.client.connection_pool.disconnect()

    def stop(self) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def cpu_s(self) -> float:
        """Processor seconds the server has used."""
        used = self.client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def start_server(binary: str, folder: Path, *, durable: bool = False) -> Server:
    socket = folder / "s.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(folder),
        "save": "",
        "appendonly": "yes" if durable else "no",
        "maxmemory-policy": "noeviction",
        "enable-debug-command": "yes",
    }
    command = [binary]
    for name, value in options.items():
        command += [f"--{name}", value]
    server = Server(command, socket)
    server.start()
    return server


class World:
    """One account with one key: what a test needs to open and close requests and to look at counters."""

    def __init__(
        self, redis: Any, connection: RedisConnection, *, owner: str = "w1", lease_ms: int = 30_000
    ) -> None:
        self.redis = redis
        self.rows = LedgerRows(redis)
        self.names = names_of(ACCOUNT)
        self.connection = connection
        self.ledger = Ledger(connection, owner=owner, lease_ms=lease_ms)
        self.limits: list[Limit] = []

    @property
    def now_ms(self) -> int:
        """Redis' clock: the server runs on this machine."""
        return time.time_ns() // 1_000_000

    def make_whole(self, since_ms: int | None = None) -> None:
        self.redis.hset(self.names.meta, "complete_since", self.now_ms if since_ms is None else since_ms)

    def put_key(self, *, status: str = "active", version: int = 1, expires_ms: int | None = None) -> None:
        self.rows.put_key(
            account_id=ACCOUNT,
            key_id=KEY,
            status=status,
            version=version,
            expires_ms=expires_ms,
            document_name="t1:key:digest",
            document=b"{}",
        )

    def limit(
        self,
        value_nano: int,
        *,
        window: str = "month",
        enforcement: str = "hard",
        created_ms: int | None = None,
    ) -> Limit:
        """Define and attach a limit, created now unless told otherwise."""
        limit = Limit(f"lim{next(_ids)}", "key", KEY, window, "money", enforcement, value_nano)
        self.rows.put_limit(ACCOUNT, limit, created_ms=self.now_ms + 1 if created_ms is None else created_ms)
        self.limits.append(limit)
        return limit

    def row_name(self, limit: Limit) -> str:
        return f"{self.names.limit}{limit.id}:{window_at(limit.window, self.now_ms).id}"

    def counters(self, limit: Limit) -> tuple[int, int, int]:
        """(spent, reserved, doubted) of the limit's current window."""
        values = self.redis.hmget(self.row_name(limit), "spent", "reserved", "doubted")
        spent, reserved, doubted = (int(value or 0) for value in values)
        return spent, reserved, doubted

    def set_counters(self, limit: Limit, *, spent: int = 0, reserved: int = 0, doubted: int = 0) -> None:
        self.redis.hset(
            self.row_name(limit), mapping={"spent": spent, "reserved": reserved, "doubted": doubted}
        )

    async def open(
        self,
        hold: Hold | int,
        *,
        request_id: str | None = None,
        key_version: int = 1,
        now_ms: int | None = None,
        payload: bytes | None = None,
        again: bool = False,
    ) -> Opened | Refused:
        request_id = request_id or f"r{next(_ids)}-{os.getpid()}"
        return await self.ledger.open(
            account_id=ACCOUNT,
            request_id=request_id,
            key_id=KEY,
            key_version=key_version,
            limits=self.limits,
            hold=Hold(hold, hold, hold) if isinstance(hold, int) else hold,
            payload=encode(CostEvent(id=request_id, key_id=KEY)) if payload is None else payload,
            now_ms=self.now_ms if now_ms is None else now_ms,
            again=again,
        )

    async def granted(self, hold: Hold | int, **options: Any) -> Opened:
        opened = await self.open(hold, **options)
        assert isinstance(opened, Opened), opened
        return opened

    async def refused(self, hold: Hold | int, **options: Any) -> Refused:
        refused = await self.open(hold, **options)
        assert isinstance(refused, Refused), refused
        return refused

    async def close(self, lease: Lease, spent: int = 0, doubted: int = 0, *, cost: int | None = None) -> str:
        return await self.ledger.close(
            lease,
            spent_nano=spent,
            doubted_nano=doubted,
            status="succeeded",
            event=event_bytes(lease.request_id, spent if cost is None else cost, doubted),
        )

    def outbox(self) -> list[dict[str, Any]]:
        return [orjson.loads(entry[b"e"]) for _, entry in self.redis.xrange(self.names.outbox)]


def event_bytes(request_id: str, cost_nano: int, doubted_nano: int = 0) -> bytes:
    return encode(
        CostEvent(
            id=request_id,
            account_id=ACCOUNT,
            key_id=KEY,
            cost_nano=cost_nano,
            doubted_nano=doubted_nano,
            cost_status="priced",
            started_ms=time.time_ns() // 1_000_000,
        )
    )
