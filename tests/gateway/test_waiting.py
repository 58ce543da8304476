"""Waiting for money that others hold: in order, bounded, and not for long."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx2
import pytest

from budgets.ledger import Lease, Opened, Refused
from budgets.rowset import NO_ROWS
from gateway.waiting import WaitingRoom
from tests.stack import Stack, wait_until

BUSY = Refused("BUSY", row="lim_1", value=10, spent=0, free=0)
OPENED = Opened(Lease("r", "a", NO_ROWS, {"m": 1}, 0), "full", 0, None)
MODEL = "gpt-4o-mini"


class Purse:
    """Money for so many requests; each try of a waiting one is noted."""

    def __init__(self) -> None:
        self.free = 0
        self.tries: list[str] = []
        self.served: list[str] = []

    async def attempt(self, name: str) -> Opened | Refused:
        self.tries.append(name)
        if not self.free:
            return BUSY
        self.free -= 1
        self.served.append(name)
        return OPENED


async def test_those_who_wait_are_served_in_order() -> None:
    room, purse = WaitingRoom(), Purse()
    names = ["a", "b", "c"]
    waiting = [asyncio.create_task(room.wait("lim_1", lambda n=n: purse.attempt(n), BUSY)) for n in names]  # type: ignore[misc]
    await asyncio.sleep(0)
    purse.free = 3
    room.freed()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 60) == [OPENED] * 3
    assert purse.served == names
    assert room.line_of([]) is None


async def test_money_freed_by_another_worker_is_found_without_news() -> None:
    room, purse = WaitingRoom(), Purse()
    waiting = asyncio.create_task(room.wait("lim_1", lambda: purse.attempt("a"), BUSY))
    await asyncio.sleep(0)
    purse.free = 1
    assert await asyncio.wait_for(waiting, 60) is OPENED


async def test_patience_ends_and_a_place_is_given_up() -> None:
    room, purse = WaitingRoom(patience_s=0.05), Purse()
    answers = await asyncio.gather(
        room.wait("lim_1", lambda: purse.attempt("a"), BUSY), room.wait("lim_1", lambda: purse.attempt("b"))
    )
    assert answers == [BUSY, BUSY]
    assert set(purse.tries) == {"a", "b"}
    assert room._lines == {}


async def test_a_full_room_refuses_at_once() -> None:
    room, purse = WaitingRoom(places=1), Purse()
    first = asyncio.create_task(room.wait("lim_1", lambda: purse.attempt("a"), BUSY))
    await asyncio.sleep(0)
    assert await room.wait("lim_2", lambda: purse.attempt("b"), BUSY) is BUSY
    assert purse.tries == []
    purse.free = 1
    room.freed()
    assert await first is OPENED


async def test_a_closed_room_sends_everybody_away_after_a_last_try() -> None:
    room, purse = WaitingRoom(), Purse()
    waiting = [asyncio.create_task(room.wait("lim_1", lambda n=n: purse.attempt(n), BUSY)) for n in "ab"]  # type: ignore[misc]
    await asyncio.sleep(0)
    purse.free = 1
    room.close()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert sorted(answer is OPENED for answer in answers) == [False, True]
    assert await room.wait("lim_1", lambda: purse.attempt("c"), BUSY) is BUSY


async def test_a_cancelled_wait_leaves_the_line_to_the_next() -> None:
    room, purse = WaitingRoom(), Purse()
    first = asyncio.create_task(room.wait("lim_1", lambda: purse.attempt("a"), BUSY))
    second = asyncio.create_task(room.wait("lim_1", lambda: purse.attempt("b"), BUSY))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    purse.free = 1
    room.freed()
    assert await asyncio.wait_for(second, 60) is OPENED
    assert purse.served == ["b"]


def body(directive: str, *, stream: bool = False) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Hello. [[simulate: {directive}]]"}],
        "max_tokens": 100,
        "stream": stream,
    }


def start(stack: Stack, secret: str, directive: str) -> AbstractContextManager[httpx2.Response]:
    """A stream that runs until it has been read, or is hung up on."""
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{stack.base_url}/chat/completions"
    return httpx2.stream("POST", url, json=body(directive, stream=True), headers=headers, timeout=60)


def ask(stack: Stack, secret: str, directive: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{stack.base_url}/chat/completions"
    return httpx2.post(url, json=body(directive), headers=headers, timeout=60)


@pytest.mark.parametrize(("tokens", "patience_s"), [(4, 60.0), (600, 1.0)])
def test_a_request_kept_out_by_a_running_one_waits_for_its_end_but_not_for_long(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tokens: int, patience_s: float
) -> None:
    monkeypatch.setattr(stack.gateway.parts.room, "_patience_s", patience_s)
    secret = stack.key(limits={"month": 200_000})  # for one such request, not for two
    with start(stack, secret, f"tokens={tokens} pace_ms=100") as running, ThreadPoolExecutor() as pool:
        wait_until(lambda: stack.open_requests() == 1)
        started = time.monotonic()
        asked = pool.submit(ask, stack, secret, "tokens=5")
        if tokens == 4:
            running.read()
        answer = asked.result()
        waited = time.monotonic() - started
    if tokens == 4:
        assert answer.status_code == 200
        return
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "budget_reserved"
    assert answer.headers["x-should-retry"] == "true"
    assert int(answer.headers["retry-after"]) >= 1
    assert waited >= 0.9
