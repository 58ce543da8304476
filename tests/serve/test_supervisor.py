"""The supervisor's mechanics with real processes, sockets and servers; its children do little."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import stat
import sys

import pytest
from redis import Redis

from gateway.metrics_files import value_directory
from gateway.serve.lock import held

from .conftest import Make, alive, answer_of, gone, holders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals")


@pytest.mark.wide
async def test_second_start_on_the_directory_or_the_port_is_refused_naming_it(make: Make) -> None:
    first = await make().start()
    same_directory = await make().start(until=None)
    same_port = await make(data_dir=first.data_dir.with_name("other"), port=first.port).start(until=None)
    assert await same_directory.ended() == 1
    assert f"pid {first.process.pid}" in same_directory.log
    assert await same_port.ended() == 1
    assert f"cannot listen on 127.0.0.1:{first.port}" in same_port.log
    assert await first.ask()


async def test_sigterm_lets_a_running_request_end_and_leaves_nothing(make: Make) -> None:
    one = await make(workers=2).start(until="events tail")
    worker = int((await one.ask())[0])
    reading, writing = await asyncio.open_connection("127.0.0.1", one.port)
    held_answer = asyncio.create_task(answer_of(reading, writing, "/hold"))
    await one.ask()
    assert await one.end() == 0
    assert (await held_answer)[0]
    assert not alive(worker)
    assert holders(one.data_dir) == []
    assert not held(one.data_dir / "serve.lock")
    assert '"stopped"' in one.log
    # The first key was shown, once; a second start says so and shows none.
    assert one.banner.count("  obs_first\n") == 1
    assert "curl -i http://127.0.0.1:" in one.banner
    again = await make().start(until="first start")
    assert "obs_first" not in again.banner + one.log + again.log


@pytest.mark.wide
async def test_second_signal_does_not_wait_for_running_requests(make: Make) -> None:
    one = await make().start()
    reading, writing = await asyncio.open_connection("127.0.0.1", one.port)
    worker = int((await one.ask())[0])
    os.kill(worker, signal.SIGSTOP)  # a worker that will not drain
    one.process.send_signal(signal.SIGINT)
    await one.logged('"stopping"')
    assert await one.end(signal.SIGINT) == 0
    assert await asyncio.wait_for(reading.read(), 60) == b""
    writing.close()


@pytest.mark.wide
async def test_kill_9_of_serve_takes_its_children_along_and_the_next_start_works(make: Make) -> None:
    first = await make(workers=2).start()
    children = holders(first.data_dir)
    server = first.valkey_pid
    port = first.port
    assert server in children
    redis = Redis(unix_socket_path=str(first.data_dir / "valkey.sock"))
    redis.set("kept", "yes")
    redis.close()
    first.process.kill()
    second = await make(port=port).start()  # at once: what is left of the first is its business
    await gone(*children)
    assert second.valkey_pid != server
    with Redis(unix_socket_path=str(second.data_dir / "valkey.sock")) as redis:
        assert redis.get("kept") == b"yes"
        assert redis.info("server")["process_id"] == second.valkey_pid
    assert await second.ask()
    assert await second.end() == 0


async def test_killed_valkey_is_started_again_with_its_data(make: Make) -> None:
    one = await make().start()
    server = one.valkey_pid
    with Redis(unix_socket_path=str(one.data_dir / "valkey.sock")) as redis:
        redis.set("kept", "yes")
        os.kill(server, signal.SIGKILL)
    await one.logged('"component": "valkey", .*"event": "ready"', times=2)
    assert one.valkey_pid != server
    with Redis(unix_socket_path=str(one.data_dir / "valkey.sock")) as redis:
        assert redis.get("kept") == b"yes"
    assert 'tollkeeper_child_starts_total{child="valkey"} 2' in await one.scrape()
    assert await one.end() == 0


async def test_killed_worker_is_replaced_and_queued_connections_are_answered(make: Make) -> None:
    one = await make().start()
    worker = int((await one.ask())[0])
    os.kill(worker, signal.SIGSTOP)
    queued = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(40)]
    os.kill(worker, signal.SIGKILL)
    answers = await asyncio.gather(*(answer_of(*pair) for pair in queued))
    assert len(answers) == 40
    assert len({answer[0] for answer in answers} - {str(worker)}) == 1
    assert {answer[1] for answer in answers} == {"0"}
    # Metrics go on where the dead worker stopped, in one file for each place.
    assert "stand_in_answers_total 41.0" in await one.scrape()
    names = [path.name for path in value_directory(one.data_dir).glob("counter_*")]
    assert names == ["counter_worker-0.db"]
    # A worker that dies again and again is started after growing pauses.
    for _ in range(2):
        await one.ask("/crash")
    await one.logged("was killed by SIGKILL and is started again", times=3)
    assert re.findall(r'"pause_s": ([\d.]+)', one.log) == ["0.0", "0.25", "0.5"]
    assert await one.ask()


async def test_workers_may_open_as_many_files_as_their_connections_take(make: Make) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        one = await make().start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    worker = int((await one.ask())[0])
    wanted = 2 * 8_192 + 1_024
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (given, hard)


async def test_killed_api_process_is_replaced_and_who_connects_meanwhile_is_answered(make: Make) -> None:
    one = await make().start()
    place = one.data_dir / "run" / "api.sock"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700

    async def pid() -> int:
        reading, writing = await asyncio.open_unix_connection(str(place))
        found = int(await asyncio.wait_for(reading.readline(), 60))
        writing.close()
        return found

    former = await pid()
    os.kill(former, signal.SIGSTOP)
    queued = [asyncio.create_task(pid()) for _ in range(5)]
    os.kill(former, signal.SIGKILL)
    assert len(set(await asyncio.gather(*queued)) - {former}) == 1
    assert 'tollkeeper_child_starts_total{child="api"} 2' in await one.scrape()
    assert await one.end() == 0
    assert not place.exists()


async def test_api_process_that_cannot_begin_is_tried_again_and_takes_nothing_with_it(make: Make) -> None:
    one = make()
    one.data_dir.mkdir(parents=True, exist_ok=True)
    (one.data_dir / "api_fails").touch()
    await one.start()
    assert await one.ask()
    reading, writing = await asyncio.open_unix_connection(str(one.data_dir / "run" / "api.sock"))
    assert int(await asyncio.wait_for(reading.readline(), 60))
    writing.close()
    await one.logged("exited with code 1 and is started again")
    assert await one.ask()
    assert await one.end() == 0


@pytest.mark.wide
async def test_hang_up_signal_puts_new_workers_in_place_without_refusing_anybody(make: Make) -> None:
    one = await make(workers=2).start()
    former = {(await one.ask())[0] for _ in range(20)}
    assert "tollkeeper_workers_ready 2" in await one.scrape()
    reading, writing = await asyncio.open_connection("127.0.0.1", one.port)
    held_answer = asyncio.create_task(answer_of(reading, writing, "/hold"))
    route = "routes:\n  fast:\n    targets:\n    - {provider: one, model: m}\n"
    one.config.write_text(one.config.read_text() + route)
    one.process.send_signal(signal.SIGHUP)
    while "reloaded" not in one.log:
        assert await one.ask()
    assert (await held_answer)[0] in former
    after = [await one.ask() for _ in range(20)]
    assert not former & {answer[0] for answer in after}
    assert all("fast" in answer[2] for answer in after)
    assert await one.end() == 0


@pytest.mark.wide
async def test_reload_of_a_faulty_configuration_changes_nothing(make: Make) -> None:
    one = await make().start()
    former = await one.ask()
    good = one.config.read_text()
    one.config.write_text("server:\n  prot: 1\nproviders: 7\n")
    one.process.send_signal(signal.SIGHUP)
    await one.logged("reload refused")
    assert "server.prot: unknown name" in one.log
    assert "providers: " in one.log
    assert await one.ask() == former
    # What only a start reads is named, and the rest is taken.
    one.config.write_text(good + "redis:\n  appendfsync: always\n")
    one.process.send_signal(signal.SIGHUP)
    await one.logged('"reloaded"')
    assert re.search(r'"settings": \["redis"\], "event": "these settings are read at a start only', one.log)
    assert await one.ask() != former


CLOSED_WINDOW = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while b"Data " not in said:
    said += os.read(terminal, 4096)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.wide
async def test_closing_the_terminal_ends_the_installation_in_order(make: Make) -> None:
    one = make()
    one.command = [sys.executable, "-c", CLOSED_WINDOW, *one.command]
    await one.start(until=None)
    assert await one.ended() == 0, one.log
    assert holders(one.data_dir) == []
    assert not held(one.data_dir / "serve.lock")
