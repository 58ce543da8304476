from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.process import (
    ProcessGone,
    command_line,
    cpu_ns,
    descendants,
    listeners,
    name_of,
    pin,
    rss_bytes,
    started_at,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read Linux's /proc")

PARENT = """
import socket, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
listener = socket.create_server(("127.0.0.1", 0))
print(child.pid, listener.getsockname()[1], flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""
BURN = "import sys\nfor word in sys.stdin:\n    sum(range(3_000_000))\n    print('done', flush=True)"


@pytest.fixture
def family() -> Iterator[tuple[int, int, int]]:
    """(pid of a process, pid of its child, port it listens on)."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child, port = map(int, parent.stdout.readline().split())
        yield parent.pid, child, port


def test_the_clock_of_another_process_counts_its_work_and_nothing_else() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        words, answers = process.stdin, process.stdout
        assert words is not None
        assert answers is not None

        def burn() -> int:
            before = cpu_ns(process.pid)
            words.write("go\n")
            words.flush()
            answers.readline()
            return cpu_ns(process.pid) - before

        burn()
        assert burn() > 5_000_000
        idle_from = cpu_ns(process.pid)
        sum(range(1_000_000))
        assert cpu_ns(process.pid) - idle_from < 5_000_000


def test_a_process_that_ended_is_no_zero_but_a_fault() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessGone, match=str(process.pid)):
        cpu_ns(process.pid)
    assert started_at(process.pid) is None
    assert rss_bytes(process.pid) == 0
    assert (command_line(process.pid), name_of(process.pid)) == ("", "")


def test_children_and_listening_sockets_are_found_by_their_process(family: tuple[int, int, int]) -> None:
    parent, child, port = family
    assert descendants(parent) == [child]
    assert child in descendants(os.getpid())
    assert parent in listeners(port)
    assert name_of(child) == "sleep"
    assert command_line(child) == "sleep 60"
    assert started_at(child) is not None
    assert rss_bytes(parent) > 2**20


def test_a_pinned_process_stays_on_its_core(family: tuple[int, int, int]) -> None:
    parent, _, _ = family
    core = min(os.sched_getaffinity(parent))
    pin([parent], [core])
    assert os.sched_getaffinity(parent) == {core}
