"""The board of targets' health: shared by processes, and cheap where nothing is the matter."""

from __future__ import annotations

import fcntl
import multiprocessing
import time
from pathlib import Path

import pytest

from gateway.forwarding.healthboard import FILE, PLACES, HealthBoard
from routing.circuit import CircuitTerms, State

TERMS = CircuitTerms(failures=5, percent=50, open_ms=5_000, open_max_ms=20_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def test_what_one_worker_learns_the_others_know(tmp_path: Path) -> None:
    one, other = HealthBoard(tmp_path / FILE), HealthBoard(tmp_path / FILE)
    place = one.place("openai/gpt-4o")
    assert other.place("openai/gpt-4o") == place
    assert other.place("openai/gpt-4o-mini") != place
    opened = [one.failed(place, TERMS) for _ in range(5)]
    assert opened == [False] * 4 + [True]
    assert not other.free(place)
    assert other.state(place) is State.ASIDE
    assert other.word(place) == "open"
    one.close()
    other.close()


def test_failures_that_several_workers_met_add_up(tmp_path: Path) -> None:
    boards = [HealthBoard(tmp_path / FILE) for _ in range(5)]
    assert [board.failed(board.place("a/m"), TERMS) for board in boards] == [False] * 4 + [True]


def _hammer(path: Path, times: int) -> None:
    board = HealthBoard(path)
    never = CircuitTerms(failures=1_000, percent=100)
    for _ in range(times):
        board.failed(board.place("a/m"), never)


def test_no_failure_is_lost_between_processes_that_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_hammer, args=(tmp_path / FILE, 200)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    board = HealthBoard(tmp_path / FILE)
    circuit = board._read(board.place("a/m"))
    assert circuit.failed + circuit.failed_before == 800


def test_a_worker_that_was_stopped_with_the_lock_holds_nobody_up(tmp_path: Path) -> None:
    stopped = (tmp_path / FILE).open("wb")
    board = HealthBoard(tmp_path / FILE)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    started = time.monotonic()
    assert [board.failed(board.place("a/m"), TERMS) for _ in range(5)][-1]
    assert time.monotonic() - started < 20
    stopped.close()


def test_answers_are_told_once_a_second_and_keep_a_circuit_closed(tmp_path: Path) -> None:
    one, other = HealthBoard(tmp_path / FILE), HealthBoard(tmp_path / FILE)
    place = one.place("a/m")
    for _ in range(100):
        other.passed(place)
    other.tell()
    assert not any(one.failed(place, TERMS) for _ in range(99))
    assert one.failed(place, TERMS)


def test_an_answer_ends_an_open_circuit_at_once() -> None:
    clock = Clock()
    board = HealthBoard(clock=clock)
    place = board.place("a/m")
    for _ in range(5):
        board.failed(place, TERMS)
    clock.now += 100
    board.passed(place)
    assert board.word(place) == "warming"
    clock.now += 5_000
    assert board.state(place) is State.FREE
    assert board.free(place)


def test_a_trial_is_taken_by_one_worker_alone(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (HealthBoard(tmp_path / FILE, clock=clock) for _ in range(2))
    place = one.place("a/m")
    for _ in range(5):
        one.failed(place, TERMS)
    clock.now += 5_000
    assert one.state(place) is State.TRIAL
    assert other.try_it(place)
    assert not one.try_it(place)


def test_being_left_alone_ends_by_itself() -> None:
    clock = Clock()
    board = HealthBoard(clock=clock)
    place = board.place("key:a#1")
    board.set_aside(place, 500)
    assert board.aside_ms(place) == 500
    assert board.state(place) is State.ASIDE
    clock.now += 500
    assert board.state(place) is State.FREE
    assert board.free(place)


def test_times_are_a_moving_average_for_streams_and_whole_answers_apart() -> None:
    board = HealthBoard()
    place = board.place("a/m")
    assert board.first_byte_s(place, stream=True) is None
    board.timed(place, 1.0, stream=True)
    board.timed(place, 2.0, stream=True)
    assert board.first_byte_s(place, stream=True) == pytest.approx(1.2)
    assert board.first_byte_s(place, stream=False) is None


def test_names_beyond_its_places_share_the_last_one() -> None:
    board = HealthBoard()
    places = [board.place(f"a/{n}") for n in range(PLACES + 10)]
    assert len(set(places)) == PLACES
    assert places[-1] == places[-2]


def test_a_file_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff" * 100)
    board = HealthBoard(tmp_path / FILE)
    assert board.free(board.place("a/m"))
