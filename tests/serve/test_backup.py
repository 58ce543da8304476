"""A backup of an installation under load, and another installation made from it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import struct
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis
from redis.exceptions import ResponseError

from budgets.names import names_of
from gateway.cli import main

from .conftest import Installation, Make
from .test_serve import complete, first_key, request

pytestmark = [
    pytest.mark.wide,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals"),
]
CLIENTS = 3
LEDGER = "ledger: {lease_ms: 1500, heartbeat_ms: 500, reap_every_ms: 200}\n"
NAMES = names_of("default")


class Load:
    """Clients that ask one after another; `answered` has the ids of whole answers in their order."""

    def __init__(self, one: Installation, key: str) -> None:
        self.answered: list[str] = []
        self._one, self._key = one, key
        self._stop = threading.Event()

    def run(self) -> None:
        with contextlib.suppress(OSError, AssertionError, urllib.error.URLError):  # it is killed meanwhile
            while not self._stop.is_set():
                self.answered += complete(self._one, self._key)

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(90):
            while len(self.answered) < count:
                await asyncio.sleep(0.01)

    @contextmanager
    def going(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in threads:
                each.join()


def cli(*words: object) -> None:
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output


async def test_restored_installation_has_every_event_of_the_moment_once_and_limits_that_agree(
    make_real: Make, tmp_path: Path
) -> None:
    one = make_real()
    one.config.write_text(one.config.read_text() + LEDGER)
    await one.start(until="events tail")
    key = first_key(one)
    await asyncio.to_thread(
        cli, "limits", "set", "first key", "month", "100", "--config", one.config, "--data-dir", one.data_dir
    )
    load, file = Load(one, key), tmp_path / "backup.tar.gz"
    with load.going():
        await load.reach(40)
        hanging = asyncio.create_task(asyncio.to_thread(left_hanging, one, key))
        async with asyncio.timeout(60):
            while not hangs(one):
                await asyncio.sleep(0.01)
        before = list(load.answered)
        await asyncio.to_thread(cli, "backup", file, "--config", one.config, "--data-dir", one.data_dir)
        await load.reach(len(load.answered) + 20)
        await one.end(signal.SIGKILL)
    await one.clear()
    await hanging

    there = tmp_path / "there"
    await asyncio.to_thread(cli, "restore", file, "--config", one.config, "--data-dir", there)
    two = await make_real(there).start(until="Data ")
    after = await asyncio.to_thread(complete, two, key, 3)
    async with asyncio.timeout(90):
        while not settled(two):
            await asyncio.sleep(0.05)
    with closing(sqlite3.connect(there / "tollkeeper.db")) as record:
        ids = [row[0] for row in record.execute("SELECT id FROM events")]
        (cost,) = record.execute("SELECT sum(cost_nano) FROM events").fetchone()
        (orphans,) = record.execute("SELECT count(*) FROM events WHERE status = 'orphaned'").fetchone()
    assert len(ids) == len(set(ids))
    assert set(before) | set(after) <= set(ids)
    assert orphans >= 1
    assert spent(two) == [(cost, 0)]


def left_hanging(one: Installation, key: str) -> None:
    """A request that runs when the backup is made, and is still unanswered when its gateway is killed."""
    slow = [{"role": "user", "content": "[[simulate: first_ms=120000]]"}]
    with contextlib.suppress(OSError):
        urllib.request.urlopen(request(one, key, messages=slow), timeout=120)


def hangs(one: Installation) -> bool:
    """Whether a request has run for a second."""
    with ledger(one) as redis:
        now_ms = int(redis.time()[0]) * 1_000
        running = [each.decode() for each in redis.zrange(NAMES.leases, 0, -1)]
        begun = [_begun(redis, each) for each in running]
    return any(at is not None and int(at) < now_ms - 1_000 for at in begun)


def _begun(redis: Any, request_id: str) -> bytes | None:
    try:
        found: bytes | None = redis.hget(NAMES.open + request_id, "at")
    except ResponseError:  # it has ended, and its record is a marker
        return None
    return found


def settled(one: Installation) -> bool:
    """Whether nothing runs and everything is recorded."""
    with ledger(one) as redis:
        return not redis.zcard(NAMES.leases) and not redis.xlen(NAMES.outbox)


def spent(one: Installation) -> list[tuple[int, int]]:
    """What the one limit has spent and reserved."""
    with ledger(one) as redis:
        rows = [
            struct.unpack("<3q", row)
            for name in redis.scan_iter(match=NAMES.window + "*")
            for field, row in redis.hgetall(name).items()
            if len(row) == 24 and not field.startswith(b"!")
        ]
    return [(spent, reserved) for spent, reserved, _ in rows]


@contextmanager
def ledger(one: Installation) -> Iterator[Any]:
    url = one.state.redis_url
    assert url is not None
    with Redis(unix_socket_path=url.removeprefix("unix://")) as redis:
        yield redis
