"""The simulated loop: time jumps, processes die and freeze, and blocking ones take their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.loop import START_S, Process, SimulatedLoop, Stuck
from tests.simulation.threads import BlockingProcess


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.seal()


def test_a_day_passes_at_once(loop: SimulatedLoop) -> None:
    loop.run_until_complete(asyncio.sleep(86_400))
    assert loop.time() == START_S + 86_400


def test_a_dead_process_does_nothing_more_not_even_its_finally(loop: SimulatedLoop) -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
            told.append("first")
            await asyncio.sleep(1)
        finally:
            told.append("finally")

    process = Process(loop, "p")
    process.spawn(work())
    loop.call_later(1.5, process.kill)
    loop.run_until_complete(asyncio.sleep(10))
    assert told == ["first"]


def test_a_frozen_process_goes_on_where_it_was_and_finds_its_time_gone(loop: SimulatedLoop) -> None:
    told: list[float] = []

    async def work() -> None:
        while True:
            await asyncio.sleep(1)
            told.append(loop.time() - START_S)

    process = Process(loop, "p")
    process.spawn(work())
    loop.call_later(1.5, process.freeze)
    loop.call_later(5.5, process.thaw)
    loop.run_until_complete(asyncio.sleep(7))
    assert told == [1.0, 5.5, 6.5]


def test_blocking_processes_take_turns_in_the_order_of_time(loop: SimulatedLoop) -> None:
    told: list[str] = []

    def body(process: BlockingProcess) -> None:
        for _ in range(3):
            process.sleep(1.0)
            told.append(process.name)

    processes = [BlockingProcess(loop, name, body) for name in "ab"]
    processes[0].start(0.5)
    processes[1].start(0.0)
    loop.run_until_complete(asyncio.sleep(10))
    assert told == ["b", "a"] * 3
    assert all(process.ended for process in processes)


def test_a_blocking_process_that_is_killed_unwinds_without_doing_anything(loop: SimulatedLoop) -> None:
    told: list[str] = []

    def body(process: BlockingProcess) -> None:
        try:
            process.sleep(5.0)
            told.append("slept")
        finally:
            process.sleep(1.0)
            told.append("cleaned up")

    process = BlockingProcess(loop, "p", body)
    process.start()
    loop.call_later(2, process.kill)
    loop.run_until_complete(asyncio.sleep(10))
    assert process.ended
    assert told == []


def test_a_task_that_spins_is_told_and_not_waited_for(loop: SimulatedLoop) -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="spins"):
        loop.run_until_complete(spin())
