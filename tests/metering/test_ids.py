from __future__ import annotations

import os
import threading
import time
import uuid

import pytest

from metering import ids
from metering.ids import id_floor, new_id, new_ids


def test_id_is_a_uuid_of_version_7_with_the_present_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_later_ids_sort_after_earlier_ones_within_one_millisecond_too() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_keep_their_order_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    made = [first, *(new_id() for _ in range(100))]
    assert made == sorted(set(made))


def test_a_full_counter_borrows_the_next_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(ids, "_counter", (1 << 42) - 1)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    second, third = new_id(), new_id()
    assert first < second < third
    assert {uuid.UUID(second).version, uuid.UUID(third).version} == {7}


def test_many_ids_at_once_are_as_many_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id(), *new_ids(1_000), new_id(), *new_ids(1), *new_ids(0), new_id()]
    assert made == sorted(set(made))
    assert len(made) == 1_004
    assert {(each.version, each.variant) for each in map(uuid.UUID, made)} == {(7, uuid.RFC_4122)}
    assert all(before <= uuid.UUID(each).int >> 80 <= time.time_ns() // 1_000_000 for each in made)
    monkeypatch.setattr(ids, "_counter", (1 << 42) - 3)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    several = new_ids(10)
    assert several == sorted(set(several))
    assert made[-1] < several[0]


def test_threads_never_make_one_id_twice() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_id() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({one for each in made for one in each}) == 8_000


def test_what_is_random_in_an_id_is_never_given_twice_nor_to_a_copy_of_the_process() -> None:
    tails = [uuid.UUID(each).int & 0xFFFFFFFF for each in [*new_ids(500), *(new_id() for _ in range(2_000))]]
    assert len(set(tails)) > 2_490  # of 2^32, by chance none is there twice
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, ids._noise.take(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) != ids._noise.take(16)
    os.close(reading)
    os.close(writing)


def test_floor_of_a_moment_divides_earlier_ids_from_later_ones() -> None:
    made = new_id()
    moment_ms = uuid.UUID(made).int >> 80
    assert id_floor(moment_ms) <= made < id_floor(moment_ms + 1)
    assert uuid.UUID(id_floor(moment_ms)).version == 7
