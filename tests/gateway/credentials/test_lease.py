"""What lasts for a while: fetched once for all who wait, ahead of its end, and kept while fetching fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from gateway.credentials import lease as module
from gateway.credentials.credential import CredentialFault
from gateway.credentials.lease import Lease, Leased, due_in_s

PATIENCE_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Answers fetches as a script says; `gate` holds them up."""

    def __init__(self, *script: Lease[str] | Exception) -> None:
        self._script: Iterator[Lease[str] | Exception] = iter(script)
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Lease[str]:
        self.calls += 1
        answer = next(self._script)
        assert self.gate.wait(PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        return answer


def passing() -> CredentialFault:
    return CredentialFault("the token server is away", refused=False)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)


async def test_all_wait_for_the_first_fetch_which_is_one() -> None:
    source = Source(Lease("one"))
    source.gate.clear()
    leased = Leased("p", source)
    waiting = [asyncio.create_task(leased.get()) for _ in range(20)]
    await until(lambda: source.calls == 1)
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    source.gate.set()
    assert await asyncio.gather(*waiting) == ["one"] * 20
    assert source.calls == 1


async def test_who_stops_waiting_does_not_stop_the_fetch() -> None:
    source = Source(Lease("one"))
    source.gate.clear()
    leased = Leased("p", source)
    first, second = (asyncio.create_task(leased.get()) for _ in range(2))
    await until(lambda: source.calls == 1)
    first.cancel()
    source.gate.set()
    assert await second == "one"
    assert source.calls == 1


async def test_the_next_one_is_fetched_ahead_while_requests_go_on_with_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MARGIN_S", 0.0)
    clock = Clock()
    source = Source(Lease("old", clock.now + 0.2), Lease("new", clock.now + 1_000))
    leased = Leased("p", source, clock=clock)
    assert await leased.get() == "old"
    source.gate.clear()
    await until(lambda: source.calls == 2)
    assert await leased.get() == "old"
    source.gate.set()
    await until(lambda: leased.current == "new")
    assert await leased.get() == "new"
    leased.close()


def test_it_is_due_five_minutes_ahead_or_at_half_of_a_short_life() -> None:
    assert due_in_s(3_600) == 3_300
    assert due_in_s(601) == 301
    assert due_in_s(600) == 300
    assert due_in_s(10) == 5


async def test_while_fetching_fails_the_old_one_is_used_until_its_end_and_no_longer() -> None:
    clock = Clock()
    source = Source(Lease("old", clock.now + 1_000), *[passing()] * 200, Lease("new"))
    leased = Leased("p", source, clock=clock)
    assert await leased.get() == "old"
    with capture_logs() as logs:
        leased.start()
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "credential_not_fetched"
    assert (logs[0]["provider"], logs[0]["refused"], logs[0]["in_force_s"]) == ("p", False, 995)
    assert await leased.get() == "old"
    clock.now += 994
    assert await leased.get() == "old"
    clock.now += 2
    with pytest.raises(CredentialFault, match="the token server is away") as caught:
        await leased.get()
    assert (caught.value.refused, caught.value.request_sent) == (False, False)
    leased.close()


async def test_a_fault_is_told_at_once_and_fetching_goes_on_by_itself() -> None:
    source = Source(passing(), passing(), passing(), Lease("new"))
    leased = Leased("p", source)
    with pytest.raises(CredentialFault):
        await leased.get()
    calls = source.calls
    for _ in range(100):
        with pytest.raises(CredentialFault):
            await leased.get()
    assert source.calls == calls
    await until(lambda: leased.current == "new")
    assert await leased.get() == "new"
    assert source.calls == 4


async def test_the_log_tells_a_failure_once_then_now_and_then_and_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_MAX_S", 0.001)
    clock = Clock()
    other = CredentialFault("it refuses", refused=True)
    source = Source(*[passing()] * 5, *[other] * 5, *[passing()] * 300, Lease("one"))
    leased = Leased("p", source, clock=clock)
    with capture_logs() as logs:
        leased.start()
        await until(lambda: source.calls >= 12)
        assert [line["why"] for line in logs] == [
            "the token server is away",
            "it refuses",
            "the token server is away",
        ]
        clock.now += module.TOLD_EVERY_S
        await until(lambda: len(logs) == 4)
        await until(lambda: leased.current == "one")
    assert logs[-1] == {"event": "credential_fetched_again", "provider": "p", "log_level": "info"}


async def test_what_is_over_when_it_comes_is_a_fault_that_speaks_of_the_clock() -> None:
    clock = Clock()
    leased = Leased("p", Source(Lease("late", clock.now + 1)), clock=clock)
    with pytest.raises(CredentialFault, match="is the clock of this machine right") as caught:
        await leased.get()
    assert caught.value.refused
    leased.close()


async def test_a_rejection_fetches_again_but_not_without_end() -> None:
    clock = Clock()
    source = Source(Lease("one"), Lease("two"), Lease("three"))
    leased = Leased("p", source, clock=clock)
    assert await leased.get() == "one"
    for _ in range(5):
        leased.rejected()
    assert await leased.get() == "one"
    clock.now += module.REJECTED_EVERY_S
    for _ in range(5):
        leased.rejected()
    await until(lambda: leased.current == "two")
    for _ in range(5):
        leased.rejected()
    assert source.calls == 2


async def test_what_nobody_foresaw_is_told_by_its_name_and_place_alone() -> None:
    leased = Leased("p", Source(AttributeError("sk-very-secret")))
    with capture_logs() as logs, pytest.raises(CredentialFault, match="AttributeError") as caught:
        await leased.get()
    leased.close()
    assert caught.value.refused
    assert "test_lease.py" in str(logs)
    assert "sk-very-secret" not in str(logs) + str(caught.value)


async def test_a_fetch_that_does_not_end_lets_requests_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_MAX_S", 0.05)
    source = Source(Lease("one"))
    source.gate.clear()
    leased = Leased("p", source)
    with pytest.raises(CredentialFault, match=r"No credential for p within 0\.05 s") as caught:
        await leased.get()
    assert not caught.value.refused
    leased.close()
    source.gate.set()


async def test_after_closing_nothing_is_fetched() -> None:
    source = Source(passing(), Lease("one"))
    leased = Leased("p", source)
    with pytest.raises(CredentialFault):
        await leased.get()
    leased.close()
    leased.start()
    await asyncio.sleep(0.1)
    assert source.calls == 1


def test_a_loop_may_end_while_a_fetch_still_runs() -> None:
    source = Source(Lease("one"))
    source.gate.clear()

    async def begin() -> Leased[str]:
        leased = Leased("p", source)
        leased.start()
        await until(lambda: source.calls == 1)
        leased.close()
        return leased

    asyncio.run(begin())
    source.gate.set()
    (thread,) = [each for each in threading.enumerate() if each.name == "credential-p"] or [None]
    if thread is not None:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_what_is_held_is_not_shown() -> None:
    assert "secret" not in repr(Lease("secret", 5.0))
