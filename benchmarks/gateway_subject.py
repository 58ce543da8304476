"""The gateway as a subject: the product's own `serve` with everything on, in a directory of its own.

A set-up (`setup.py`) says how many workers, which Redis, how many hard money limits, TLS or not; usual are
one worker, the embedded Redis, four limits. With it: the recorder, prices for the models that the upstream
serves, a customer on a plan that grants the feature, attribution in the headers. Its processes are told apart
by what they were started as. It is drained when the event store has recorded exactly as many requests as were
answered, so every round also checks that no event was lost or written twice.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.lane import MODELS
from benchmarks.process import ProcessGone, command_line, descendants, name_of
from benchmarks.redis_server import start_redis
from benchmarks.setup import CUSTOMER, FEATURE, PLAN, USUAL, Setup
from benchmarks.stage import (
    CLIENT_HEADERS,
    CannotStart,
    Stage,
    clean_environment,
    free_port,
    product_command,
)
from benchmarks.subject import Subject
from benchmarks.tls_front import TlsFront

ROLE = re.compile(r"gateway\.serve\.child (\w+)")
ROLE_GROUPS = {"worker": "gateway", "recorder": "recorder"}
REDIS_NAMES = ("valkey-server", "redis-server")
GROUPS = ("gateway", "redis", "recorder", "supervisor")
DRAIN_PATIENCE_S = 60.0
READY_PATIENCE_S = 60.0
QUIET_S = 0.05
COUNT_EVENTS = "SELECT coalesce(sum(events), 0) FROM costs_by_customer_day"
SECRET = re.compile(r"\bobs_[0-9A-Za-z]{49}\b")
# Dollars per million units: these models exist nowhere else, so their prices are the configuration's.
RATES = {"input_tokens": "2.5", "cache_read_input_tokens": "1.25", "output_tokens": "10"}
LIMITS_USD = {"day": "100000", "week": "400000", "month": "1000000", "lifetime": "5000000"}
HELLO = b'{"model":"bench-1kb","messages":[{"role":"user","content":"hello"}]}'
ATTRIBUTION = (("Observe-Customer", CUSTOMER), ("Observe-Feature", FEATURE))


class NotDrained(Exception):
    """The event store did not come to hold exactly one event for each answered request."""


class Gateway:
    """A running `serve`: its processes, and how many of its events the store must hold.

    `redis` is the process of a Redis that it did not start itself.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        data_dir: Path,
        *,
        workers: int = 1,
        redis: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._process = process
        self._workers = workers
        self._redis = redis
        self._database = data_dir / "tollkeeper.db"
        self._expected = 0

    def groups(self) -> Mapping[str, Sequence[int]]:
        """Process ids by group, found anew: a worker that died and was replaced would be seen."""
        found: dict[str, list[int]] = {name: [] for name in GROUPS}
        found["supervisor"].append(self._process.pid)
        if self._redis is not None:
            found["redis"].append(self._redis.pid)
        for pid in descendants(self._process.pid):
            role = ROLE.search(command_line(pid))
            if role is not None:
                found[ROLE_GROUPS.get(role[1], "supervisor")].append(pid)
            elif name_of(pid) in REDIS_NAMES:
                found["redis"].append(pid)
            else:
                found["supervisor"].append(pid)
        if len(found["gateway"]) != self._workers or not found["redis"] or not found["recorder"]:
            raise ProcessGone(f"not every process of the gateway runs: {found}")
        return found

    def recorded(self) -> int:
        """How many events the store holds now, read from its rollup."""
        try:
            connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=5)
            try:
                count: int = connection.execute(COUNT_EVENTS).fetchone()[0]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise NotDrained(f"the event store cannot be read: {error}") from error
        return count

    def begin(self) -> None:
        """Count from here: what was recorded so far belongs to no round."""
        before, since = self.recorded(), time.monotonic()
        while time.monotonic() - since < 1.0:
            time.sleep(0.1)
            if (now := self.recorded()) != before:
                before, since = now, time.monotonic()
        self._expected = before

    def wait_drained(self, answered: int) -> None:
        """Until the store holds one more event for each answered request. NotDrained when it does not."""
        self._expected += answered
        give_up = time.monotonic() + DRAIN_PATIENCE_S
        while (count := self.recorded()) < self._expected:
            if time.monotonic() > give_up:
                raise NotDrained(f"{self._expected - count} of {answered} events were not recorded in time")
            time.sleep(0.02)
        time.sleep(QUIET_S)  # what the recorder still does after its transaction: it acknowledges and trims
        if (count := self.recorded()) != self._expected:
            raise NotDrained(
                f"{count - self._expected} more events were recorded than requests were answered"
            )


def start_gateway(
    stage: Stage, setup: Setup = USUAL, front: TlsFront | None = None, python: str = sys.executable
) -> Subject:
    """Start `serve` before our upstream and mint its key. Raises CannotStart with what it said."""
    name, home = setup.name, stage.scratch if setup == USUAL else stage.scratch / setup.name
    home.mkdir(exist_ok=True)
    data_dir, configuration, port = home / "data", home / "tollkeeper.yaml", free_port()
    redis, redis_url = start_redis(stage, f"redis-{name}") if setup.redis == "tcp" else (None, None)
    document = settings(stage.upstream_port, port, data_dir, setup, front=front, redis_url=redis_url)
    configuration.write_text(json.dumps(document, indent=1))
    command = product_command("serve", "--config", str(configuration), python=python)
    process = stage.start(name, command)
    wait_until_ready(stage, name, process, port)
    secret = furnish(stage, configuration, setup, python)
    gateway = Gateway(process, data_dir, workers=setup.workers, redis=redis)
    subject = Subject(
        name,
        port,
        [*CLIENT_HEADERS, ("Authorization", f"Bearer {secret}"), *ATTRIBUTION],
        groups=gateway.groups,
        pinned=("gateway",),
        wait_drained=gateway.wait_drained,
        spread=setup.workers > 1,
    )
    stage.wait_for_answer(subject, process, HELLO)
    gateway.begin()
    return subject


def wait_until_ready(stage: Stage, name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Until /health/ready says so: its port takes connections much earlier. CannotStart."""
    give_up = time.monotonic() + READY_PATIENCE_S
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise CannotStart(f"{name} did not become ready: {stage.log_tail(name)}")
        time.sleep(0.005)


def is_ready(port: int) -> bool:
    """Whether a worker on this port says that it serves."""
    with socket.socket() as probe, suppress(OSError):
        probe.settimeout(5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            probe.sendall(b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return probe.recv(64).startswith(b"HTTP/1.1 200")
    return False


def settings(
    upstream_port: int,
    port: int,
    data_dir: Path,
    setup: Setup = USUAL,
    *,
    front: TlsFront | None = None,
    redis_url: str | None = None,
) -> dict[str, object]:
    """The gateway's configuration (JSON is YAML)."""
    provider = {"base_url": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "sk-bench"}
    if setup.tls:
        if front is None:
            raise CannotStart(f"{setup.name} needs a TLS front, which needs nginx and openssl")
        provider |= {"base_url": f"https://127.0.0.1:{front.port}/v1", "ca_bundle": str(front.certificate)}
    return {
        "server": {
            "host": "127.0.0.1",
            "port": port,
            "workers": setup.workers,
            "data_dir": str(data_dir),
            "metrics_port": free_port(),
            "log_level": "warning",
        },
        "redis": {"url": redis_url},
        "providers": {"bench": provider},
        "plans": {
            PLAN: {
                "features": [FEATURE],
                "limits": [
                    {
                        "feature": FEATURE,
                        "kind": "money",
                        "window": window,
                        "value": LIMITS_USD[window],
                        "enforcement": "hard",
                    }
                    for window in setup.windows_on("plan")
                ],
            }
        },
        "prices": [
            {
                "provider": "bench",
                "model": model,
                "usd_per_million": RATES,
                "context_window": 128_000,
                "max_output_tokens": 16_384,
                "source": "benchmarks",
            }
            for model in MODELS
        ],
    }


def furnish(stage: Stage, configuration: Path, setup: Setup, python: str = sys.executable) -> str:
    """The customer on its plan, the set-up's limits, and a key that may name any customer: its secret."""
    tollkeeper(stage, configuration, python, "customers", "subscribe", CUSTOMER, PLAN)
    for on, window in setup.allowances:
        if on not in ("key", "plan"):
            tollkeeper(stage, configuration, python, "limits", "set", on, window, LIMITS_USD[window])
    own = [f"{window}={LIMITS_USD[window]}" for window in setup.windows_on("key")]
    words = [word for each in own for word in ("--limit", each)]
    said = tollkeeper(
        stage, configuration, python, "keys", "create", "--name", "bench", "--assert", "any", *words
    )
    secret = SECRET.search(said)
    if secret is None:
        raise CannotStart(f"`tollkeeper keys create` printed no key: {said[-500:]}")
    return secret[0]


def tollkeeper(stage: Stage, configuration: Path, python: str, *words: str) -> str:
    """Run one command of the product; its output. CannotStart when it fails."""
    outcome = subprocess.run(
        product_command(*words, "--config", str(configuration), python=python),
        capture_output=True,
        text=True,
        check=False,
        cwd=stage.scratch,
        env=clean_environment(),
        timeout=180,  # a loaded machine takes its time
    )
    if outcome.returncode != 0:
        raise CannotStart(
            f"`tollkeeper {' '.join(words)}` failed: {outcome.stderr.strip() or outcome.stdout.strip()}"
        )
    return outcome.stdout
