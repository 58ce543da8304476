"""What reporting events costs: batches of a thousand and single posts, through the product's own `serve`.

    python -m benchmarks.ingest                                     into SQLite, a few seconds
    python -m benchmarks.ingest --batches 60 --posts 5000
    python -m benchmarks.ingest --database postgresql://me@127.0.0.1:5432/postgres

Everything is on: one worker, the api process, the embedded ledger with its append-only file, the recorder, a
monthly limit for each customer, rollups. The events are of many customers, features and models, each with a
key of its own. With `--database` a database is made on that server, and dropped in the end.

Told are events and posts a second by the clock, and CPU of each process for each event, which says more on a
machine that does other things, too. In the end the record must hold each event exactly once, beside sums that
agree, and one batch that is sent again must be known for what it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.gateway_subject import REDIS_NAMES, ROLE, SECRET, tollkeeper
from benchmarks.process import ProcessGone, command_line, cpu_ns, descendants, name_of
from benchmarks.stage import CannotStart, Stage, free_port, product_command
from metering.database import Where, open_database

BATCH = 1_000
BATCHES_AT_ONCE, POSTS_AT_ONCE = 4, 64
PATIENCE_S = 120.0
BATCH_PATH, POST_PATH = "/api/events/ingest", "/api/v1/client/events"
MODELS = (
    ("gpt-4o", None),
    ("gpt-4o-mini", "openai"),
    ("gpt-4.1", "openai"),
    ("claude-3-5-haiku-20241022", "anthropic"),
    ("gemini-2.0-flash", "google"),
    ("mistral-large-latest", None),
    ("nobody-knows-it", None),
)
CUSTOMERS, FEATURES, TRACES = 500, 20, 5_000


class Wrong(Exception):
    """The gateway did not do what was asked of it; the sentence says what."""


def event(chance: random.Random, key: str) -> dict[str, Any]:
    """An event of the batch endpoint: nine in ten name a model, some bring amounts, properties or a task."""
    made: dict[str, Any] = {
        "eventName": "document.summarized",
        "customerReferenceId": f"customer-{int(chance.paretovariate(1.1)) % CUSTOMERS}",
        "featureKey": f"feature-{chance.randrange(FEATURES)}",
        "idempotencyKey": key,
    }
    if chance.random() < 0.9:
        model, provider = chance.choice(MODELS)
        tokens = chance.randrange(10, 8_000)
        made |= {"model": model, "inputTokens": tokens, "outputTokens": chance.randrange(1, 900)}
        if provider is not None:
            made["modelProvider"] = provider
        if chance.random() < 0.2:
            made["cacheReadInputTokens"] = tokens // 2
    if chance.random() < 0.1:
        made["costAmount"] = chance.choice([0.05, "0.0125", 0])
    if chance.random() < 0.1:
        made["revenueAmount"] = 0.25
    if chance.random() < 0.3:
        made["properties"] = {"region": "eu", "build": chance.randrange(50)}
    if chance.random() < 0.3:
        made["traceId"] = f"trace-{chance.randrange(TRACES)}"
    if chance.random() < 0.1:
        made["taskId"] = f"task-{key.rpartition('-')[0]}-{chance.randrange(20)}"
    if chance.random() < 0.5:
        made["durationMs"] = chance.randrange(5_000)
    return made


def single(chance: random.Random, key: str) -> dict[str, Any]:
    """The like for the endpoint for single events."""
    of = event(chance, key)
    cost = ("model", "modelProvider", "inputTokens", "outputTokens", "cacheReadInputTokens")
    plain = ("eventName", "customerReferenceId", "featureKey", "costAmount", "revenueAmount", "taskId")
    made = {name: of[name] for name in plain if name in of}
    made["eventIdempotencyKey"] = key
    if "model" in of:
        made["costInput"] = {name: of[name] for name in cost if name in of}
    return made


@dataclass(slots=True)
class Client:
    """Sends requests over a few connections that stay open, as fast as they are answered."""

    port: int
    secret: str

    async def send(self, path: str, bodies: Sequence[bytes], at_once: int, status: int) -> list[bytes]:
        """Every body once; gives the answers. Raises Wrong where one has another status."""
        waiting, answers = iter(bodies), []

        async def one_after_the_other() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                for body in waiting:
                    writer.write(self._head(path, len(body)) + body)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                    content = await reader.readexactly(int(length[1])) if length else b""
                    if int(head[9:12]) != status:
                        raise Wrong(f"{path} answered {head[9:12].decode()}: {content[:300]!r}")
                    answers.append(content)
            finally:
                writer.close()

        try:
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(bodies))):
                    group.create_task(one_after_the_other())
        except ExceptionGroup as several:  # one of them says enough
            raise Wrong(str(several.exceptions[0])) from several
        return answers

    def _head(self, path: str, length: int) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self.secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ).encode()


class Clocks:
    """CPU of the processes of a running `serve`, of this one, and of the database's own, where it tells."""

    def __init__(self, supervisor: int, record: Record) -> None:
        self._supervisor = supervisor
        self._record = record

    def read(self) -> dict[str, int]:
        """CPU nanoseconds until now, by what the processes are."""
        found: dict[str, int] = {"client": time.process_time_ns()}
        for pid in [self._supervisor, *descendants(self._supervisor)]:
            role = ROLE.search(command_line(pid))
            name = role[1] if role else "valkey" if name_of(pid) in REDIS_NAMES else "supervisor"
            found[name] = found.get(name, 0) + cpu_ns(pid)
        for pid in self._record.server_pids():
            found["postgres"] = found.get("postgres", 0) + cpu_ns(pid)
        return found


class Record:
    """The record as it is read behind the gateway's back."""

    def __init__(self, where: Where) -> None:
        self._where = where

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        engine = open_database(self._where, create=False)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sa.text(statement))]
        finally:
            engine.dispose()

    def server_pids(self) -> list[int]:
        """The server's processes that work for this database; none where they are not on this machine."""
        if isinstance(self._where, Path):
            return []
        pids = self.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in pids if name_of(pid) == "postgres"]

    def check(self, keys: int) -> None:
        """Raises Wrong unless so many events are there, each under a key of its own, and the sums agree."""
        ((events, cost),) = self.rows("SELECT count(*), coalesce(sum(cost_nano), 0) FROM events")
        ((claimed,),) = self.rows(
            "SELECT count(DISTINCT event_id) FROM ingested JOIN events ON events.id = ingested.event_id"
        )
        ((summed, costs),) = self.rows(
            "SELECT coalesce(sum(events), 0), coalesce(sum(cost_nano), 0) FROM costs_by_customer_day"
        )
        if (events, claimed, summed) != (keys, keys, keys) or cost != costs:
            raise Wrong(
                f"of {keys} events the record has {events}, {claimed} of them under a key; its sums have "
                f"{summed}; costs are {cost} and {costs}"
            )


@contextmanager
def own_database(server: str | None, folder: Path) -> Iterator[Where]:
    """A file, or a new database on the server, dropped in the end."""
    if server is None:
        yield folder / "tollkeeper.db"
        return
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    name = f"tollkeeper_benchmark_{os.getpid()}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of load: `requests` of `each` events, answered within `wall_s`."""

    name: str
    events: int
    wall_s: float
    cpu_ns: Mapping[str, int]

    def text(self) -> str:
        rate = self.events / self.wall_s
        spent = {name: ns / self.events / 1_000 for name, ns in sorted(self.cpu_ns.items())}
        gateway = sum(us for name, us in spent.items() if name != "client")
        parts = ", ".join(f"{name} {us:.1f}" for name, us in spent.items())
        return (
            f"{self.name}: {rate:,.0f} a second ({self.events:,} in {self.wall_s:.2f} s)\n"
            f"  CPU us each: {parts}; all but the client {gateway:.1f}"
        )


def measured(name: str, clocks: Clocks, events: int, send: Any) -> Lane:
    before, began = clocks.read(), time.monotonic()
    asyncio.run(send)
    wall_s, after = time.monotonic() - began, clocks.read()
    return Lane(name, events, wall_s, {each: after[each] - before.get(each, 0) for each in after})


def run(stage: Stage, server: str | None, batches: int, posts: int, workers: int) -> list[Lane]:
    """The lanes, checked. Raises CannotStart, Wrong."""
    data_dir = stage.scratch / "data"
    with own_database(server, data_dir) as where:
        configuration, port = stage.scratch / "tollkeeper.yaml", free_port()
        settings: dict[str, Any] = {
            "server": {
                "host": "127.0.0.1",
                "port": port,
                "workers": workers,
                "data_dir": str(data_dir),
                "metrics_port": free_port(),
                "log_level": "warning",
            },
            "simulator": {"port": free_port()},
        }
        if not isinstance(where, Path):
            settings["database"] = {"url": where}
        configuration.write_text(json.dumps(settings))
        process = stage.start("serve", product_command("serve", "--config", str(configuration)))
        stage.wait_for_port("serve", process, port)
        asking = (stage, configuration, sys.executable)
        said = tollkeeper(
            *asking, "keys", "create", "--name", "ingest", "--assert", "any", "--scopes", "events.write"
        )
        secret = SECRET.search(said)
        if secret is None:
            raise CannotStart(f"`tollkeeper keys create` printed no key: {said[-500:]}")
        tollkeeper(*asking, "limits", "set", "customer:*", "month", "1000000")
        record, client, chance = Record(where), Client(port, secret[0]), random.Random(1)
        clocks = Clocks(process.pid, record)
        bodies = [
            json.dumps({"events": [event(chance, f"batch-{n}-{i}") for i in range(BATCH)]}).encode()
            for n in range(batches + 1)
        ]
        singles = [json.dumps(single(chance, f"single-{n}")).encode() for n in range(posts)]
        asyncio.run(client.send(BATCH_PATH, bodies[:1], 1, 200))  # the first one reads price lists
        lanes = []
        if batches:
            send = client.send(BATCH_PATH, bodies[1:], BATCHES_AT_ONCE, 200)
            lanes.append(measured(f"batches of {BATCH:,}", clocks, batches * BATCH, send))
        if posts:
            send = client.send(POST_PATH, singles, POSTS_AT_ONCE, 201)
            lanes.append(measured("single posts", clocks, posts, send))
        (again,) = asyncio.run(client.send(BATCH_PATH, bodies[-1:], 1, 200))
        if json.loads(again)["duplicates"] != BATCH:
            raise Wrong(f"a batch that was sent again was answered {again[:300]!r}")
        record.check((batches + 1) * BATCH + posts)
        return lanes


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/ingest", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, default=10, help=f"of {BATCH} events")
    parser.add_argument("--posts", type=int, default=1_000, help="of one event")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL server; by default a file")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    try:
        with Stage(cores, cores) as stage:
            lanes = run(stage, asked.database, asked.batches, asked.posts, asked.workers)
    except (CannotStart, ProcessGone, TimeoutError, Wrong) as error:
        print(f"benchmarks/ingest: {error}", file=sys.stderr)
        return 1
    engine = "PostgreSQL" if asked.database else "SQLite"
    print(f"{engine}, {len(cores)} cores for everything, {asked.workers} worker(s); each event stored once")
    for lane in lanes:
        print(lane.text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
