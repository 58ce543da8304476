"""What the tests of the benchmarks share: samples made by hand, and the compiled programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from benchmarks.figures import Sample

MakeSample = Callable[..., Sample]


@pytest.fixture
def make_sample() -> MakeSample:
    """A sample with the CPU figures given and everything else plausible."""

    def make(subject: str, number: int, lane: str = "nonstream-64", **cpu_us: float) -> Sample:
        quantiles = dict.fromkeys(("mean", "p50", "p90", "p99", "p999", "max"), 100.0)
        return Sample(
            lane=lane,
            subject=subject,
            round=number,
            units=1000,
            requests=1000,
            wall_s=0.5,
            drain_s=0.1,
            cpu_us=cpu_us,
            rss_bytes=dict.fromkeys(cpu_us, 50 * 2**20),
            busy=dict.fromkeys(cpu_us, 0.9),
            latency_us=quantiles,
            first_byte_us=quantiles,
            gap_us={},
            events_per_response=(0, 0),
        )

    return make


@pytest.fixture
def compiler() -> str:
    """A C compiler, or the test is skipped with a word."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("no C compiler")
    return found
