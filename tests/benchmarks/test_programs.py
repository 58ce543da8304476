from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import programs
from benchmarks.programs import CannotBuild, build

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the programs use epoll")


@pytest.fixture
def port(compiler: str) -> Iterator[int]:
    """A running upstream with a pace of 5 ms; its port."""
    with subprocess.Popen(
        [build("upstream"), "--pace-ms", "5"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        word, number = process.stdout.readline().split()
        assert word == "listening"
        yield int(number)
        process.terminate()


def load(port: int, body: dict[str, Any], folder: Path, *words: str) -> dict[str, Any]:
    (folder / "body").write_text(json.dumps(body))
    command = [str(build("load")), "--port", str(port), "--body", str(folder / "body"), *words]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    result: dict[str, Any] = json.loads(outcome.stdout)
    return result


def test_whole_answers_are_counted_and_none_is_lost(port: int, tmp_path: Path) -> None:
    result = load(port, {"model": "bench-1kb"}, tmp_path, "--connections", "8", "--requests", "500")
    assert result["requests"] == 500
    assert sum(result["errors"].values()) == 0
    assert result["status"] == {"200": 500}
    assert result["body_bytes"] == 500 * 1024
    assert 0 < result["latency"]["p50"] <= result["latency"]["p99"] <= result["latency"]["max"]


@pytest.mark.parametrize("kind", ["paced", "unpaced", "burst"])
def test_every_chunk_of_a_stream_arrives(port: int, tmp_path: Path, kind: str) -> None:
    body = {"model": f"bench-{kind}-20", "stream": True}
    result = load(port, body, tmp_path, "--connections", "3", "--requests", "6")
    assert sum(result["errors"].values()) == 0
    assert (result["events"], result["done"]) == (120, 6)
    assert (result["events_min"], result["events_max"]) == (20, 20)
    assert result["body_bytes"] == 6 * (20 * 250 + len("data: [DONE]\n\n"))


def test_a_paced_stream_takes_its_time(port: int, tmp_path: Path) -> None:
    result = load(port, {"model": "bench-paced-20", "stream": True}, tmp_path, "--requests", "1")
    assert result["latency"]["max"] >= 20 * 5 * 1000 * 0.95
    assert 3000 < result["gap"]["p50"] < 10_000


def test_the_usage_chunk_comes_only_when_it_is_asked_for(port: int, tmp_path: Path) -> None:
    body = {"model": "bench-burst-20", "stream": True, "stream_options": {"include_usage": True}}
    assert load(port, body, tmp_path, "--requests", "1")["events_max"] == 21


def test_an_open_loop_sends_at_its_rate(port: int, tmp_path: Path) -> None:
    words = ("--connections", "4", "--rate", "100", "--duration-ms", "300")
    result = load(port, {"model": "bench-1kb"}, tmp_path, *words)
    assert result["requests"] == 30
    assert result["late"] == 0


def test_nobody_listening_is_told_as_errors(compiler: str, tmp_path: Path) -> None:
    result = load(1, {"model": "bench-1kb"}, tmp_path, "--duration-ms", "50")
    assert result["requests"] == 0
    assert result["errors"]["connect"] > 0


def test_a_missing_compiler_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBuild, match="need a C compiler"):
        build("upstream", into=tmp_path)


def test_a_program_is_compiled_once_and_again_when_its_source_changed(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.setattr(programs, "HERE", tmp_path)
    made = build("small", into=tmp_path).stat().st_mtime_ns
    assert build("small", into=tmp_path).stat().st_mtime_ns == made
    (tmp_path / "small.c").write_text("int main(void) { return here; }\n")
    newer = made / 1e9 + 10
    os.utime(tmp_path / "small.c", (newer, newer))
    with pytest.raises(CannotBuild, match=r"refused small\.c"):
        build("small", into=tmp_path)
