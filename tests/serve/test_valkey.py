"""The embedded server by itself: which one, where, alone on its directory, and what a left-over meets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from gateway.serve import engine, launcher, leftover
from gateway.serve.engine import Engine, NoEngine
from gateway.serve.lock import held
from gateway.serve.valkey import EmbeddedValkey, ValkeyFailed

from .conftest import alive, gone


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    one = EmbeddedValkey(tmp_path)
    yield one
    await one.stop()


@contextmanager
def left_over(one: EmbeddedValkey) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a killed supervisor may leave it: started by the launcher, its supervisor not ours."""
    one.engine = engine.choose(one.directory)
    process = subprocess.Popen(
        [
            sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), str(int(signal.SIGTERM)),
            str(one.lock_file), one.engine.path, str(one._configure()),
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    while b"eady to accept connections" not in (line := process.stdout.readline()):
        assert line, "the server did not start"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def launched(lock_file: Path, program: str) -> int:
    """The exit code of a program started by the launcher."""
    command = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "15", str(lock_file), program]
    return subprocess.run(command, check=False).returncode


def supervisor_of(code: str) -> subprocess.Popen[bytes]:
    """A parent process that runs this code, with the project importable."""
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=root
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's, and read from /proc")
@pytest.mark.parametrize("own", [None, "glibc.malloc.tcache_count=9"])
async def test_the_servers_malloc_keeps_what_scripts_need_at_hand_unless_the_operator_says_otherwise(
    server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    await server.start()
    environment = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
    (found,) = (each for each in environment if each.startswith("GLIBC_TUNABLES="))
    # The loader cuts its own copy where it has read it, at the first colon.
    assert found.startswith(f"GLIBC_TUNABLES={own or 'glibc.malloc.tcache_count=256'}")


async def test_server_runs_with_our_configuration_on_a_private_socket_only(server: EmbeddedValkey) -> None:
    await server.start()
    with Redis.from_url(server.url) as redis:
        told = redis.config_get("*")
        assert told["maxmemory-policy"] == "noeviction"
        assert (told["appendonly"], told["appendfsync"], told["save"], told["port"]) == (
            "yes",
            "no",  # the supervisor syncs the file each second
            "",
            "0",
        )
        assert told["dir"] == str(server.directory)
    assert server.socket.stat().st_mode & 0o777 == 0o700


async def test_appendfsync_is_as_configured(tmp_path: Path) -> None:
    one = EmbeddedValkey(tmp_path, appendfsync="always")
    await one.start()
    try:
        with Redis.from_url(one.url) as redis:
            assert redis.config_get("appendfsync") == {"appendfsync": "always"}
    finally:
        await one.stop()


async def test_what_was_written_is_there_after_an_orderly_end(tmp_path: Path) -> None:
    for expected in (None, b"1"):
        one = EmbeddedValkey(tmp_path)
        await one.start()
        with Redis.from_url(one.url) as redis:
            assert redis.get("x") == expected
            redis.set("x", 1)
        await one.stop()
        assert not held(one.lock_file)
        assert not one.socket.exists()


async def test_two_servers_on_one_directory_are_impossible(server: EmbeddedValkey) -> None:
    await server.start()
    assert launched(server.lock_file, "/bin/true") == launcher.LOCK_HELD
    await server.stop()
    assert launched(server.lock_file, "/bin/true") == 0


async def test_left_over_server_is_shut_down_before_ours_starts(server: EmbeddedValkey) -> None:
    with left_over(server) as process:
        with Redis.from_url(server.url) as redis:
            redis.set("x", 1)
        await server.start()
        assert process.wait(60) == 0  # by SHUTDOWN, with everything written
        with Redis.from_url(server.url) as redis:
            assert redis.get("x") == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="finds the holder of a lock in /proc")
async def test_left_over_server_that_does_not_answer_is_killed(
    server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftover, "LEFTOVER_PATIENCE_S", 0.4)
    with left_over(server) as process:
        os.kill(process.pid, signal.SIGSTOP)
        await server.start()
        assert process.wait(60) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="death signals")
async def test_server_dies_with_its_supervisor(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from gateway.serve.valkey import EmbeddedValkey\n"
        "async def main():\n"
        f"    one = EmbeddedValkey(pathlib.Path({str(tmp_path)!r}))\n"
        "    await one.start()\n"
        "    print(one.pid, file=sys.stderr, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = supervisor_of(code)
    assert parent.stderr is not None
    try:
        pid = int(parent.stderr.readline())
        assert alive(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stderr.close()
    await gone(pid)
    async with asyncio.timeout(60):
        while held(tmp_path / "valkey" / "valkey.lock"):  # its threads end a moment after it
            await asyncio.sleep(0.005)


async def test_path_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    one = EmbeddedValkey(deep)
    assert EmbeddedValkey(deep).socket == one.socket  # recorded: a later start looks at the same place
    await one.start()
    with Redis.from_url(one.url) as redis:
        assert redis.ping()
    await one.stop()
    assert not one.socket.parent.exists()


async def test_directory_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    one = EmbeddedValkey(tmp_path / 'of "ours" and \\ others')
    await one.start()
    with Redis.from_url(one.url) as redis:
        assert redis.ping()
    await one.stop()


async def test_server_that_cannot_load_its_data_says_why(server: EmbeddedValkey) -> None:
    await server.start()
    await server.stop()
    for path in (server.directory / "appendonlydir").glob("*.manifest"):
        path.write_text("nonsense\n")
    with pytest.raises(ValkeyFailed, match="manifest"):
        await EmbeddedValkey(server.directory.parent).start()


def program(directory: Path, name: str, says: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


VALKEY = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64"
REDIS = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "bin"
    found.mkdir()
    monkeypatch.setenv("PATH", f"{found}:/bin")
    monkeypatch.setattr("gateway.serve.engine.shutil.which", lambda name: which(found, name))
    return found


def which(directory: Path, name: str) -> str | None:
    path = directory / name
    return str(path) if path.exists() else None


def test_programs_on_the_path_come_before_the_wheel(path_with: Path, tmp_path: Path) -> None:
    assert engine.choose(tmp_path).family == "valkey"  # the wheel's
    (tmp_path / engine.RECORD).unlink()
    program(path_with, "redis-server", REDIS)
    assert engine.choose(tmp_path) == Engine(str(path_with / "redis-server"), "redis", (7, 0, 15))
    (tmp_path / engine.RECORD).unlink()
    program(path_with, "valkey-server", VALKEY)
    assert engine.choose(tmp_path).path == str(path_with / "valkey-server")


def test_data_stay_with_the_engine_that_wrote_them(path_with: Path, tmp_path: Path) -> None:
    wheel = engine.choose(tmp_path)
    program(path_with, "redis-server", REDIS)
    assert engine.choose(tmp_path) == wheel


def test_engine_that_cannot_read_what_is_there_is_refused(path_with: Path, tmp_path: Path) -> None:
    program(path_with, "redis-server", REDIS)
    engine.choose(tmp_path)
    (path_with / "redis-server").unlink()
    with pytest.raises(NoEngine, match=r"written by redis 7\.0\.15"):
        engine.choose(tmp_path)


def test_server_that_is_too_old_is_passed_over(path_with: Path, tmp_path: Path) -> None:
    program(path_with, "redis-server", REDIS.replace("7.0.15", "6.2.14"))
    assert engine.choose(tmp_path).family == "valkey"
