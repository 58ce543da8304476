from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.process import command_line, started_at
from benchmarks.runner import read_peers
from benchmarks.stage import Stage, clean_environment, end_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read Linux's /proc")

DEAF_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = '''import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)'''
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_processes_that_ignore_the_signal_are_ended_with_their_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.stage.END_PATIENCE_S", 0.2)
    process = subprocess.Popen([sys.executable, "-c", DEAF_FAMILY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    end_tree(process)
    assert process.returncode is not None
    assert command_line(child) == ""  # gone, or a zombie that init has yet to collect


def test_an_error_on_the_stage_leaves_nothing_behind(compiler: str) -> None:
    cores = os.sched_getaffinity(0)
    stage = Stage()
    pid = 0

    def fail() -> None:
        nonlocal pid
        with stage:
            pid = stage.start_upstream().upstream_pid
            assert started_at(pid) is not None
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert started_at(pid) is None
    assert not stage.scratch.exists()
    assert os.sched_getaffinity(0) == cores


def test_what_would_change_the_measurement_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("TOLLKEEPER_SERVER__WORKERS", "9")
    handed = clean_environment()
    assert "PYTHONDONTWRITEBYTECODE" not in handed
    assert "OPENAI_API_KEY" not in handed
    assert not [name for name in handed if name.startswith("TOLLKEEPER_")]


def test_peers_are_read_with_their_headers() -> None:
    peer, plain = read_peers(
        ["other=http://127.0.0.1:4000", "plain=http://127.0.0.1:5000/v1"], ["other=Authorization: Bearer x=y"]
    )
    assert (peer.name, peer.headers) == ("other", (("Authorization", "Bearer x=y"),))
    assert plain.headers == ()


@pytest.mark.parametrize(
    ("urls", "headers", "complaint"),
    [
        (["nameless"], [], "expected NAME=URL"),
        (["a=http://x:1"], ["b=H: v"], "no --peer is called b"),
        (["a=http://x:1"], ["a=broken"], "expected NAME=HEADER: VALUE"),
    ],
)
def test_a_peer_that_is_not_understood_is_told(urls: list[str], headers: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_peers(urls, headers)
