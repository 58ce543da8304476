"""Waiting for money that others hold: in order, bounded, and not for long."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

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
    assert await asyncio.wait_for(asyncio.gather(*waiting), 1) == [OPENED] * 3
    assert purse.served == names
    assert room.line_of([]) is None


async def test_money_freed_by_another_worker_is_found_without_news() -> None:
    room, purse = WaitingRoom(), Purse()
    waiting = asyncio.create_task(room.wait("lim_1", lambda: purse.attempt("a"), BUSY))
    await asyncio.sleep(0)
    purse.free = 1
    assert await asyncio.wait_for(waiting, 1) is OPENED


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
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 1)
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
    assert await asyncio.wait_for(second, 1) is OPENED
    assert purse.served == ["b"]


def ask(stack: Stack, secret: str, directive: str, *, stream: bool = False) -> httpx2.Response:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Hello. [[simulate: {directive}]]"}],
        "max_tokens": 100,
        "stream": stream,
    }
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=10)


@pytest.mark.parametrize(("tokens", "status"), [(4, 200), (30, 429)])
def test_a_request_kept_out_by_a_running_one_waits_for_its_end_but_not_for_long(
    stack: Stack, tokens: int, status: int
) -> None:
    secret = stack.key(limits={"month": 200_000})  # for one such request, not for two
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, stack, secret, f"tokens={tokens} pace_ms=100", stream=True)
        wait_until(lambda: stack.open_requests() == 1)
        started = time.monotonic()
        answer = ask(stack, secret, "tokens=5")
        waited = time.monotonic() - started
        assert running.result().status_code == 200
    assert answer.status_code == status
    if status == 429:
        assert answer.json()["error"]["code"] == "budget_reserved"
        assert answer.headers["x-should-retry"] == "true"
        assert int(answer.headers["retry-after"]) >= 1
        assert waited >= 1.9
