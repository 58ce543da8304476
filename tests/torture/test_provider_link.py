"""The provider's link breaks at every byte of a short stream: nobody takes a torso for an answer.

pytest tests/torture/test_provider_link.py -m slow -s
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pytest

from simulator.process import Simulator
from tests.acceptance.client import Answer
from tests.acceptance.installation import until
from tests.acceptance.load import LIMIT_NANO, document

from .client import Asked, BookedClient
from .conftest import Build
from .proxy import Fault, FaultProxy
from .truth import account_for

TOKENS = 6
AT_ONCE = 12
STRIDE, FEW_STRIDE = 1, 37
WAYS_TO_END: tuple[Literal["reset", "end"], ...] = ("reset", "end")
LAST = 4
"""The last bytes only tell HTTP what the terminal event has told before."""
IDLE_S = 0.6
IMPATIENT = {"TOLLKEEPER_PROVIDERS__SIMULATED__TIMEOUTS": f'{{"idle_s": {IDLE_S}, "first_byte_s": {IDLE_S}}}'}


@dataclass(frozen=True, slots=True)
class Read:
    """A stream as its reader understands it."""

    text: str
    done: bool
    error: str | None


def read(answer: Answer) -> Read:
    """Take the chunks apart, then the events."""
    rest, body = answer.body, b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    text, done, error = "", False, None
    for event in body.split(b"\n\n"):
        if not event.startswith(b"data: "):
            continue
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            done = True
            continue
        assert not done, "nothing comes after the terminal event"
        told = json.loads(data)
        error = error or (told["error"]["code"] if "error" in told else None)
        for choice in told.get("choices", ()):
            text += choice["delta"].get("content") or ""
    return Read(text, done, error)


def judge(answer: Answer, whole: Read) -> str:
    """What the client got: everything, an error event after a part, or a refusal. Nothing else is right."""
    if answer.status != 200:
        assert answer.status in (502, 504), answer.body
        assert answer.code in ("upstream_error", "upstream_timeout")
        return "refused"
    assert answer.whole, "the gateway ends what it began"
    got = read(answer)
    if got.done:
        assert got == whole
        return "complete"
    assert got.error in ("upstream_error", "upstream_timeout"), got
    assert whole.text.startswith(got.text)
    return "error event"


async def test_stream_cut_at_some_bytes_is_whole_or_ends_in_an_error(
    build: Build, simulator: Simulator
) -> None:
    print(await cut_everywhere(build, simulator, FEW_STRIDE))


@pytest.mark.slow
async def test_stream_cut_at_every_byte_is_whole_or_ends_in_an_error(
    build: Build, simulator: Simulator
) -> None:
    print(await cut_everywhere(build, simulator, STRIDE))


async def cut_everywhere(build: Build, simulator: Simulator, stride: int) -> str:
    """Cut at each offset, by reset and by an orderly end. Returns the figures."""
    book: list[Asked] = []
    async with FaultProxy(f"{simulator.host}:{simulator.port}") as proxy:
        one = await build(link=proxy.address)
        key = one.key(100 * LIMIT_NANO)
        asked = document(TOKENS, 0, stream=True)
        first = BookedClient(one.port, key.secret, book)
        whole = read(await first.ask(asked))
        first.close()
        assert whole.done
        assert whole.text
        length = proxy.passed["down"]
        proxy.reset()
        offsets = sorted({*range(0, length, stride), *range(length - LAST, length)})
        cuts = [Fault(cut_down=n, cut_by=by) for n in offsets for by in WAYS_TO_END]
        seen: Counter[str] = Counter()
        waiting = iter(cuts)

        async def take(cuts: Iterable[Fault]) -> None:
            for cut in cuts:
                client = BookedClient(one.port, key.secret, book)
                proxy.each([cut])
                seen[judge(await client.ask(asked), whole)] += 1
                client.close()

        await asyncio.gather(*(take(waiting) for _ in range(AT_ONCE)))
        assert proxy.accepted == 1 + len(cuts), "each cut hit a connection of its own"
        await one.settled()
        found = account_for(one, key, book)
        assert found.events == len(book)
        assert found.broken == 0
        assert min(seen[name] for name in ("complete", "error event", "refused")) > 0
        assert await one.stop() == 0
    kinds = ", ".join(f"{count} x {name}" for name, count in seen.items())
    return f"{len(cuts)} cuts in {length} bytes: {kinds}; {found}"


async def test_slow_links_harm_nothing_and_dead_ones_are_told(build: Build, simulator: Simulator) -> None:
    faults = {
        "sliced": (Fault(slice_bytes=1), "complete"),
        "late": (Fault(latency_s=0.1), "complete"),
        "narrow": (Fault(bytes_per_s=20_000), "complete"),
        "silent": (Fault(swallow="both"), "refused"),
        "half closed": (Fault(cut_down=1_500, cut_by="half"), "error event"),
        "refused": (Fault(refuse=True), "refused"),
    }
    book: list[Asked] = []
    async with FaultProxy(f"{simulator.host}:{simulator.port}") as proxy:
        one = await build(link=proxy.address, environment=IMPATIENT)
        key = one.key(100 * LIMIT_NANO)
        asked = document(TOKENS, 0, stream=True)

        async def ask() -> Answer:
            client = BookedClient(one.port, key.secret, book)
            try:
                return await client.ask(asked)
            finally:
                client.close()

        whole = read(await ask())
        seen = {}
        for name, (fault, expected) in faults.items():
            proxy.reset()
            proxy.put(fault)
            seen[name] = judge(await ask(), whole)
            assert seen[name] == expected, name
            proxy.heal()
            assert judge(await ask(), whole) == "complete", f"after {name}"
        seen["stalled midway"] = await stalled_midway(proxy, one.port, key.secret, book)
        proxy.heal()
        await one.settled()
        found = account_for(one, key, book)
        assert found.broken == 0
        assert await one.stop() == 0
    print(f"{seen}; {found}")


async def stalled_midway(proxy: FaultProxy, port: int, secret: str, book: list[Asked]) -> str:
    """The link falls silent once the client has read something."""
    client = BookedClient(port, secret, book)
    asking = asyncio.create_task(client.ask(document(1_000, 10, stream=True)))
    await until(lambda: client.received)
    proxy.fault(stall="down")
    got = read(await asking)
    client.close()
    assert not got.done
    assert got.error is not None
    return f"error event {got.error}"
