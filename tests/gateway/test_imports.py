"""What a worker loads: it is started again whenever one dies, and its memory counts once for each."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOT_FOR_WORKERS = ("redis", "sqlalchemy", "tiktoken", "typer")


@pytest.mark.parametrize("module", NOT_FOR_WORKERS)
def test_a_worker_loads_nothing_that_serves_others(module: str) -> None:
    """redis: its ledger has a connection of its own. sqlalchemy: it touches no SQL. tiktoken: when needed."""
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, gateway.worker; print({module!r} in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert said.strip() == "False"
