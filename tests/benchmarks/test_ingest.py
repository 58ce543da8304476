from __future__ import annotations

import json
import os
import random
import sys
import time

import pytest

from benchmarks.ingest import event, run, single
from benchmarks.stage import Stage
from gateway.ingest.observe import read_observe
from gateway.ingest.platform import read_platform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read Linux's /proc")


def test_the_events_are_such_as_the_endpoints_take_and_of_all_kinds() -> None:
    chance, now_ms = random.Random(1), time.time_ns() // 1_000_000
    # Amounts that are no whole number reach the readers as decimals; here they are texts.
    sent = [json.loads(json.dumps(event(chance, f"e-{n}")), parse_float=str) for n in range(500)]
    read = [read_observe(each, now_ms) for each in sent]
    assert len({each.key for each in read}) == 500
    assert len({each.customer for each in read}) > 20
    for kind in ("model", "cost_nano", "revenue_nano", "properties", "task", "trace", "duration_ms"):
        some = [each for each in read if getattr(each, kind) not in (None, {})]
        assert 0 < len(some) < 500
    for number in range(100):
        one = json.loads(json.dumps(single(chance, f"s-{number}")), parse_float=str)
        assert read_platform(one, now_ms).key == f"s-{number}"


@pytest.mark.slow
def test_a_small_run_stores_each_event_once_and_tells_of_every_process() -> None:
    cores = sorted(os.sched_getaffinity(0))
    with Stage(cores, cores) as stage:
        batches, posts = run(stage, None, batches=1, posts=20, workers=1)
    assert (batches.events, posts.events) == (1_000, 20)
    for lane in (batches, posts):
        assert {"api", "worker", "recorder", "valkey", "supervisor", "client"} <= lane.cpu_ns.keys()
        assert lane.cpu_ns["api"] > 0
        assert lane.name in lane.text()
    assert not stage.scratch.exists()
