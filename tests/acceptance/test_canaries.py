"""Secrets that would be recognised anywhere: in no log, answer, metric, event, file or process list.

A varied load with faults runs under debug logging; then everything that the installation wrote or said is
searched. What a key is known by (its digest, its last four characters) may be there; the secret may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from accounts.key import digest
from simulator.process import Simulator
from tests.acceptance.installation import ROOT, Installation, Key, until
from tests.acceptance.load import LIMIT_NANO

from .conftest import Install

PIECE = 12
"""So many characters in a row of a secret are too many."""
CHAT = "/v1/chat/completions"
FAULTS = (
    "status=500", "status=401 tell_key", "status=400 tell_key", "status=403", "status=404",
    "status=429 retry_after=0", "status=422 tell_key", "status=503", "status=502 html", "status=400 html",
    "redirect", "hang=before_headers", "hang=after_headers", "reset_after_bytes=0", "reset_after_bytes=700",
    "malformed=json", "malformed=sse", "error_in_stream=3", "close_after_chunks=3", "no_done", "no_usage",
    "wrong_length", "stale_next", "close_idle", "dribble=0", "chunk_split=1", "served=gpt-4o", "tokens=3",
)  # fmt: skip
COMMANDS = (
    (True, "keys", "list"),
    (True, "keys", "list", "--json"),
    (True, "events", "tail"),
    (True, "report"),
    (True, "routes", "explain", "gpt-4o-mini"),
    (False, "check-config"),
    (False, "providers", "list"),
    (False, "providers", "probe"),
)
"""(whether it takes a data directory, its words)."""
IMPATIENT = '{"connect_s": 1, "first_byte_s": 0.5, "idle_s": 0.5, "total_s": 5}'


def pieces(secret: str) -> Iterator[bytes]:
    """Every part of a secret that would give it away."""
    core = secret.removeprefix("obs_").removeprefix("sk-")
    for at in range(len(core) - PIECE + 1):
        yield core[at : at + PIECE].encode()


def found_in(haystack: bytes, canaries: Iterable[str]) -> list[str]:
    """The canaries that are in there, whole or in a part."""
    return [secret for secret in canaries if any(piece in haystack for piece in pieces(secret))]


def chat(directive: str = "", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"Hello. [[simulate: {directive or 'tokens=2'}]]"}],
        **fields,
    }


class Load:
    """Asks in every way, and keeps all that it was answered."""

    def __init__(self, one: Installation, key: Key, dead: str) -> None:
        self.root = f"http://127.0.0.1:{one.port}"
        self.key = key
        self.dead = dead
        self.said: list[bytes] = []
        self.statuses: set[int] = set()

    async def ask(self, http: httpx2.AsyncClient, path: str, **options: Any) -> None:
        """One request, whatever becomes of it."""
        headers = {"Authorization": f"Bearer {self.key.secret}", **options.pop("headers", {})}
        method = options.pop("method", "POST")
        with contextlib.suppress(httpx2.HTTPError):
            answer = await http.request(method, self.root + path, headers=headers, **options)
            self.statuses.add(answer.status_code)
            self.said.append(repr(list(answer.headers.raw)).encode() + answer.content)

    async def run(self) -> None:
        """All of it."""
        async with httpx2.AsyncClient(timeout=60) as http:
            faults = [
                self.ask(http, CHAT, json=chat(fault, stream=stream))
                for fault in FAULTS
                for stream in (False, True)
            ]
            await asyncio.gather(*faults)
            for asking in self._mistakes(http):
                await asking

    def _mistakes(self, http: httpx2.AsyncClient) -> Iterator[Any]:
        yield self.ask(http, "/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"})
        yield self.ask(http, "/v1/completions", json={"model": "gpt-3.5-turbo-instruct", "prompt": "x"})
        yield self.ask(http, "/v1/moderations", json={"input": "x"})
        yield self.ask(http, CHAT, json=chat(model="second/gpt-4o-mini"))
        yield self.ask(http, CHAT, json=chat(model="unreachable/gpt-4o-mini"))
        yield self.ask(http, CHAT, json=chat(model="nonesuch"))
        yield self.ask(http, CHAT, content=b'{"model": ')
        yield self.ask(http, CHAT, content=b"\xff\xfe")
        yield self.ask(http, "/v1/models", method="GET")
        yield self.ask(http, "/v1/models/none", method="GET")
        yield self.ask(http, "/metrics", method="GET")
        yield self.ask(http, "/health/ready", method="GET")
        # Keys in every place where they can be sent, right or wrong.
        for name in ("x-api-key", "api-key", "x-goog-api-key", "Observe-Key"):
            yield self.ask(http, CHAT, json=chat(), headers={name: self.key.secret})
            yield self.ask(http, CHAT, json=chat(), headers={name: self.dead})
        yield self.ask(http, CHAT, json=chat(), headers={"Authorization": f"Bearer {self.dead}"})
        yield self.ask(http, CHAT, json=chat(), headers={"Authorization": self.key.secret[:-1] + "!"})
        yield self.ask(http, f"{CHAT}?key={self.key.secret}", json=chat())
        yield self.ask(http, f"/v1/{self.key.secret}", json=chat())
        yield self.ask(http, f"/v1/models/{self.key.secret}", method="GET")
        yield self.ask(http, CHAT, json=chat(), headers={"Observe-Customer": "a b"})
        yield self.ask(http, CHAT, json=chat(), headers={"Cookie": f"key={self.key.secret}"})


def keys_of(redis: Any) -> bytes:
    """All that Redis holds, read key by key: its dump may be compressed."""
    read = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"list": lambda name: redis.lrange(name, 0, -1),
        b"zset": lambda name: redis.zrange(name, 0, -1, withscores=True),
        b"stream": redis.xrange,
    }
    parts = [(name, read[redis.type(name)](name)) for name in redis.scan_iter()]
    assert len(parts) > 5
    return repr(parts).encode()


async def test_secrets_are_nowhere(install: Install, simulator: Simulator, tmp_path: Path) -> None:
    canaries = {name: f"sk-{secrets.token_hex(24)}" for name in ("first", "second", "unreachable")}
    one = await install(
        ledger="{lease_ms: 2000, heartbeat_ms: 500, reap_every_ms: 500}",
        environment={
            "TOLLKEEPER_SERVER__LOG_LEVEL": "debug",
            "TOLLKEEPER_PROVIDERS__SIMULATED__API_KEY": canaries["first"],
            "TOLLKEEPER_PROVIDERS__SIMULATED__TIMEOUTS": IMPATIENT,
            "TOLLKEEPER_PROVIDERS__SECOND": f'{{"base_url": "{simulator.base_url}", "prices": "openai", '
            '"api_key_env": "CANARY_SECOND", "models": []}',
            "TOLLKEEPER_PROVIDERS__UNREACHABLE": '{"base_url": "http://127.0.0.1:9/v1", "prices": "openai", '
            f'"api_key": "{canaries["unreachable"]}", "models": []}}',
            "CANARY_SECOND": canaries["second"],
        },
    )
    key, dead = one.key(100 * LIMIT_NANO), one.key(LIMIT_NANO)
    code, said = await one.command("keys", "revoke", dead.id)
    assert code == 0, said
    canaries |= {"key": key.secret, "dead": dead.secret}
    load = Load(one, key, dead.secret)
    await load.run()
    # Deaths and pauses: journals, orphans, restarts.
    running = asyncio.create_task(load.run())
    await until(lambda: one.open_ids())
    os.kill(one.children("worker")[0], signal.SIGKILL)
    os.kill(one.valkey_pid, signal.SIGSTOP)
    await asyncio.sleep(1.5)
    os.kill(one.valkey_pid, signal.SIGCONT)
    await running
    await one.settled(60)
    assert {200, 400, 401, 404, 502, 504} <= load.statuses, load.statuses
    assert len(one.events()) > 2 * len(FAULTS)

    places: dict[str, bytes] = {"answers": b"\n".join(load.said), "redis": keys_of(one.redis)}
    async with httpx2.AsyncClient(timeout=60) as http:
        places["metrics"] = (await http.get(one.state.metrics_url)).content
    assert b"tollkeeper_requests" in places["metrics"]
    for data_dir, *words in COMMANDS:
        _, said = await one.command(*words, data_dir=data_dir)
        assert "Usage:" not in said, said
        places[f"tollkeeper {' '.join(words)}"] = said.encode()
    places["processes"] = b"\n".join(
        (entry / "cmdline").read_bytes()
        for entry in Path("/proc").glob("[0-9]*")
        if (entry / "cmdline").exists() and str(ROOT).encode() in _environment(entry)
    )
    assert await one.stop() == 0
    places["log"] = one.log().encode()
    assert b'"level": "debug"' in places["log"]
    for path in one.data_dir.rglob("*"):
        if path.is_file():
            places[str(path.relative_to(one.data_dir))] = path.read_bytes()
    assert any(name.endswith(".db") for name in places)
    assert digest(key.secret).encode() in places["tollkeeper.db"] + places.get("tollkeeper.db-wal", b"")
    leaks = {name: found for name, text in places.items() if (found := found_in(text, canaries.values()))}
    named = {secret: name for name, secret in canaries.items()}
    assert not leaks, {place: [named[secret] for secret in found] for place, found in leaks.items()}
    print(f"{len(load.said)} answers, {len(places)} places searched, {sum(map(len, places.values()))} bytes")


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def test_a_canary_that_sings_is_heard() -> None:
    secret = "obs_" + secrets.token_hex(20)
    assert found_in(b"x" + secret[10:22].encode() + b"y", [secret]) == [secret]
    assert found_in(digest(secret).encode() + secret[-4:].encode(), [secret]) == []
