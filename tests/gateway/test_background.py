"""Tasks that nobody waits for, and the waits between attempts."""

from __future__ import annotations

import asyncio
import gc
from itertools import islice

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.background import LONGEST_WAIT_S, Background, waits

LOG = structlog.get_logger("tests")


async def test_a_task_is_kept_though_nothing_else_refers_to_it() -> None:
    background = Background(LOG)

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()  # which only this task knows, and it alone the task

    background.start(wait())
    await asyncio.sleep(0)
    gc.collect()
    assert len(asyncio.all_tasks()) == 2  # and this test's own
    await background.finish(0.0)


async def test_a_failed_task_is_told_with_its_fault_and_a_cancelled_one_is_not() -> None:
    background = Background(LOG)

    async def fail() -> None:
        raise ZeroDivisionError("by nought")

    with capture_logs() as lines:
        background.start(fail(), "tell")
        background.start(asyncio.Event().wait(), "wait")
        await background.finish(0.05)
    (line,) = lines
    assert (line["event"], line["task"], line["log_level"]) == ("background_fault", "tell", "error")
    assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_the_end_waits_for_what_others_start_meanwhile() -> None:
    background, done = Background(LOG), []

    async def second() -> None:
        await asyncio.sleep(0.01)
        done.append("second")

    async def first() -> None:
        background.start(second())
        done.append("first")

    background.start(first())
    await background.finish(20)
    assert done == ["first", "second"]


async def test_what_outlasts_the_patience_is_cancelled_and_has_ended() -> None:
    background, tidied = Background(LOG), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append(True)

    background.start(work())
    await asyncio.sleep(0)
    (task,) = background
    assert task in background
    await background.finish(0.0)
    assert tidied == [True]
    assert task.cancelled()
    assert len(background) == 0


async def test_without_tasks_the_end_is_at_once() -> None:
    await Background(LOG).finish(600)


async def test_waits_double_up_to_the_longest() -> None:
    assert list(islice(waits(None), 8)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_WAIT_S, LONGEST_WAIT_S]


async def test_waits_end_before_the_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, now = asyncio.get_running_loop(), [100.0]
    given = []
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        for wait_s in waits(1.0):
            given.append(wait_s)
            now[0] += wait_s + 0.1  # the attempt takes a while too
    assert given == [0.05, 0.1, 0.2]  # 0.4 more would end 0.05 too late
