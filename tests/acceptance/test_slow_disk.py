"""A disk that takes its time to sync: what was acknowledged survives a killed Valkey all the same.

A server that syncs each second by itself holds its writes back while a sync runs, for up to two seconds, and
acknowledges them; on a quick disk that hardly shows.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from .audit import audit
from .conftest import Install
from .installation import Installation, servers_on, until
from .load import LIMIT_NANO, STREAMS, Load, kill

KILLS = 3
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static int slowly(const char *name, int fd) {
    struct timespec nap = {0, 400000000};
    nanosleep(&nap, 0);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fdatasync(int fd) { return slowly("fdatasync", fd); }
int fsync(int fd) { return slowly("fsync", fd); }
"""


@pytest.fixture
def slow_sync(tmp_path: Path) -> Path:
    """A library that makes every sync of a file take 0.4 s."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def replaced(one: Installation, former: int) -> bool:
    """Does another server run in this one's place?"""
    return servers_on(one.data_dir) not in ([former], [])


@pytest.mark.slow
async def test_no_event_is_lost_when_valkey_is_killed_while_its_disk_syncs(
    install: Install, slow_sync: Path
) -> None:
    one = await install(
        ledger="{reap_every_ms: 200, timeout_ms: 5000}", environment={"LD_PRELOAD": str(slow_sync)}
    )
    key = one.key(LIMIT_NANO)
    load = Load(one, key)
    for _ in range(KILLS):
        await load.begin()
        former = one.valkey_pid
        await load.until_just_finished()
        kill(former)
        one.forget_connection()
        await until(partial(replaced, one, former))
        assert sum(answer.done for answer in await load.rest_ends()) == STREAMS
        await load.hurry(5)
    await one.settled()
    figures = audit(one, key, load.answers)
    assert figures.statuses["succeeded"] >= KILLS * (STREAMS + 5)
    assert await one.stop() == 0
    print(figures)
