"""`tollkeeper serve` whole: real workers, recorder, server and simulated provider."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

import pytest

from metering.event import CostEvent
from metering.eventstore import EventStore

from .conftest import Installation, Make, gone, holders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and relies on death signals")


def request(one: Installation, key: str, **body: object) -> urllib.request.Request:
    document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], **body}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return urllib.request.Request(
        f"{one.state.base_url}/chat/completions", json.dumps(document).encode(), headers
    )


def complete(one: Installation, key: str, count: int = 1) -> list[str]:
    """Ask so many times; the ids of the answered requests."""
    found = []
    for _ in range(count):
        with urllib.request.urlopen(request(one, key), timeout=90) as answer:
            found.append(answer.headers["x-request-id"])
    return found


def first_key(one: Installation) -> str:
    found = re.search(r"obs_[0-9A-Za-z]{49}", one.banner)
    assert found is not None
    return found[0]


async def recorded(one: Installation, ids: Sequence[str]) -> list[CostEvent]:
    """The events of these requests, waited for."""
    store = EventStore(one.data_dir / "tollkeeper.db")
    try:
        async with asyncio.timeout(20):
            while len(store.recorded(ids)) < len(ids):
                await asyncio.sleep(0.01)
        events = [store.find(one_id) for one_id in ids]
        return [event for event in events if event is not None]
    finally:
        store.close()


def pasted(text: str) -> str:
    """What a shell answers to the printed command line."""
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, timeout=90).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_printed_curl_line_answers_as_pasted_and_sigterm_lets_a_stream_end(make_real: Make) -> None:
    one = await make_real().start(until="events tail")
    line = one.banner[one.banner.index("curl -i") : one.banner.index("See what it cost")]
    head, _, body = pasted(line).replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert json.loads(body)["choices"][0]["message"]["content"]
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    (event,) = await recorded(one, [headers["x-request-id"]])
    assert (event.customer, event.feature, event.status) == ("acme", "greeting", "succeeded")
    assert event.cost_nano is not None
    assert event.cost_nano == round(float(headers["observe-cost-usd"]) * 10**9)
    counted = 'tollkeeper_requests_total{model="gpt-4o-mini",outcome="succeeded"'
    scraped = await one.scrape()
    for _ in range(40):  # told four times a second
        if counted in scraped:
            break
        await asyncio.sleep(0.1)
        scraped = await one.scrape()
    assert counted in scraped
    assert "tollkeeper_workers_ready 1" in scraped
    # A stream that runs when the signal comes is delivered whole, and recorded before everything ends.
    paced = [{"role": "user", "content": "[[simulate: tokens=40 pace_ms=20]]"}]
    asked = request(one, first_key(one), stream=True, messages=paced)
    answer = await asyncio.to_thread(urllib.request.urlopen, asked, timeout=90)
    await asyncio.to_thread(answer.readline)
    ended = asyncio.create_task(one.end())
    rest = await asyncio.to_thread(answer.read)
    assert rest.endswith(b"data: [DONE]\n\n")
    assert await ended == 0
    assert holders(one.data_dir) == []
    (event,) = await recorded(one, [answer.headers["x-request-id"]])
    assert (event.status, event.stream) == ("succeeded", True)


@pytest.mark.wide
async def test_no_event_is_lost_when_everything_is_killed_and_started_again(make_real: Make) -> None:
    one = await make_real(workers=2).start(until="events tail")
    key = first_key(one)
    ids = await asyncio.to_thread(complete, one, key, 20)
    children = holders(one.data_dir)
    os.kill(one.valkey_pid, signal.SIGKILL)
    one.process.kill()
    again = await make_real(workers=2).start()
    await gone(*children)
    assert len(await recorded(again, ids)) == 20
    more = await asyncio.to_thread(complete, again, key, 3)
    assert len(await recorded(again, more)) == 3
    assert await again.end() == 0


@pytest.mark.slow
async def test_requests_go_on_after_valkey_was_killed(make_real: Make) -> None:
    one = await make_real().start(until="events tail")
    key = first_key(one)
    before = await asyncio.to_thread(complete, one, key, 3)
    os.kill(one.valkey_pid, signal.SIGKILL)
    await one.logged('"component": "valkey", .*"event": "ready"', times=2)

    async def answered() -> list[str]:
        while True:
            try:
                return await asyncio.to_thread(complete, one, key, 1)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # the ledger may be away for a moment yet
                    raise
                await asyncio.sleep(0.02)

    after = await asyncio.wait_for(answered(), 90)
    assert len(await recorded(one, [*before, *after])) == 4
    assert await one.end() == 0


@pytest.mark.slow
async def test_key_works_on_after_a_reload_and_new_settings_hold(make_real: Make) -> None:
    one = await make_real().start(until="events tail")
    key = first_key(one)
    one.config.write_text(
        "server: {port: 0, metrics_port: 0, drain_s: 5, body_bytes_max: 2048}\nsimulator: {port: 0}\n"
    )
    one.process.send_signal(signal.SIGHUP)
    await one.logged('"reloaded"')
    await asyncio.to_thread(complete, one, key)
    long = request(one, key, messages=[{"role": "user", "content": "x" * 4096}])
    with pytest.raises(urllib.error.HTTPError, match="413"):
        await asyncio.to_thread(urllib.request.urlopen, long, timeout=90)
    assert await one.end() == 0
