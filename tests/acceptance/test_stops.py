"""`serve` is started twice, told to read its configuration again, or told to stop, while it has work."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from .audit import audit
from .client import Client
from .conftest import Install
from .installation import servers_on, until
from .load import LIMIT_NANO, STREAMS, Load, document


async def test_second_serve_on_a_directory_refuses_and_names_the_first(install: Install) -> None:
    one = await install()
    code, said = await one.command("serve")
    assert code == 1
    assert re.search(rf"\bpid {one.process.pid}\b", said)
    assert str(one.data_dir) in said
    assert servers_on(one.data_dir) == [one.valkey_pid]
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.hurry(2)
    assert [answer.status for answer in load.answers] == [200, 200]
    assert await one.stop() == 0


async def test_streams_that_outlast_the_drain_are_cut_and_settled_before_serve_ends(install: Install) -> None:
    one = await install(drain_s=1)
    key = one.key(LIMIT_NANO)
    clients = [Client(one.port, key.secret) for _ in range(STREAMS)]
    asked = [each.ask(document(2_000, 30, stream=True)) for each in clients]
    streaming = [asyncio.create_task(each) for each in asked]
    await until(lambda: all(each.received for each in clients))
    assert one.simulator.open()["streams"] == STREAMS
    assert await one.stop() == 0
    answers = await asyncio.gather(*streaming)
    assert servers_on(one.data_dir) == []
    assert all(answer.whole and not answer.done for answer in answers)
    assert all(b'"code":"draining"' in answer.body for answer in answers)
    drained = [event for event in one.events() if event.status == "drained"]
    assert len(drained) == STREAMS, "nothing is left to the next start"
    await one.start()
    figures = audit(one, key, answers)
    assert figures.statuses == {"drained": STREAMS}
    assert figures.doubted_nano > 0
    print(figures)


@pytest.mark.slow
async def test_nothing_is_cut_when_the_configuration_is_read_again(install: Install) -> None:
    one = await install()
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    await load.begin()
    former = one.children("worker")
    one.process.send_signal(signal.SIGHUP)
    await until(lambda: '"event": "reloaded"' in one.log())
    await load.hurry(10)
    streamed = await load.rest_ends()
    await one.settled()
    figures = audit(one, key, load.answers)
    assert not set(former) & set(one.children("worker"))
    assert sum(answer.done for answer in streamed) == STREAMS
    assert figures.statuses.keys() == {"succeeded"}
    assert await one.stop() == 0
    print(f"{load.broken} kept connections were closed, {load.refused} x 503; {figures}")
