"""The limit of open files, in processes of their own: a hard limit that was lowered stays so."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from gateway.serve.openfiles import provide_files
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
said = provide_files(connections)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], said)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "given", "said"),
    [
        (256, 4_096, 500, 2_024, "None"),
        (3_000, 4_096, 500, 3_000, "None"),
        (
            256,
            4_096,
            8_192,
            4_096,
            "8192 connections of a worker may take 17408 open files, and this process may",
        ),
        (4_096, 4_096, 8_192, 4_096, "may have 4096; raise its limit"),
    ],
)
def test_as_many_as_connections_may_take(
    soft: int, hard: int, connections: int, given: int, said: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, *map(str, (soft, hard, connections))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    limit, _, sentence = told.strip().partition(" ")
    assert int(limit) == given
    assert said in sentence
