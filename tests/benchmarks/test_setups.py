"""Gateways as they are measured, with real parts: that a set-up is what its name says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from benchmarks.contest import Contest
from benchmarks.gateway_subject import start_gateway, tollkeeper
from benchmarks.lane import LANES
from benchmarks.nginx_subject import start_nginx
from benchmarks.once import idle_streams, outbox_drained, start_to_ready
from benchmarks.setup import ALLOWANCES, Setup
from benchmarks.stage import Stage
from benchmarks.tls_front import find_nginx, start_tls_front

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read Linux's /proc"),
]


def test_a_request_counts_on_each_limit_and_there_are_as_many_workers_as_it_says(compiler: str) -> None:
    setup = Setup(limits=len(ALLOWANCES), redis="tcp", workers=2)
    with Stage() as stage:
        crew = stage.start_upstream()
        subject = start_gateway(stage, setup)
        contest = Contest([subject], crew, scratch=stage.scratch, tell=lambda _: None)
        (sample,) = contest.run(replace(LANES["nonstream-16"], requests=40), 1)
        groups = subject.groups()
        asked = (stage, stage.scratch / setup.name / "tollkeeper.yaml", sys.executable)
        limits = json.loads(tollkeeper(*asked, "limits", "list", "--json"))
        (of_plan,) = json.loads(tollkeeper(*asked, "customers", "show", "acme", "--json"))["limits"]
    assert (sample.subject, sample.requests) == (setup.name, 40)
    assert (len(groups["gateway"]), len(groups["redis"])) == (2, 1)
    spent = {limit["spent_nano"] for limit in limits} | {of_plan["used_nano"]}
    assert len(limits) + 1 == len(ALLOWANCES)
    assert len(spent) == 1
    assert int(spent.pop()) > 0


def test_a_provider_behind_tls_is_reached_by_the_gateway_and_by_nginx(compiler: str) -> None:
    with Stage() as stage:
        crew = stage.start_upstream()
        front = start_tls_front(stage)
        if front is None or find_nginx() is None:
            pytest.skip("needs nginx and openssl")
        subjects = [*start_nginx(stage, front), start_gateway(stage, Setup(tls=True), front)]
        contest = Contest(subjects, crew, scratch=stage.scratch, tell=lambda _: None)
        samples = contest.run(replace(LANES["nonstream-1"], requests=5), 1)
    assert [sample.subject for sample in samples] == ["nginx", "nginx-tls", "gateway-tls"]


def test_what_is_read_once_is_read(compiler: str) -> None:
    start = {reading.name: reading for reading in start_to_ready(1)}
    for name in ("start.first.wall", "start.first.cpu", "start.next.wall", "start.next.cpu"):
        (value,) = start[name].values
        assert 0 < value < 120
    memory, worker, everything = (reading.values[0] for reading in idle_streams(40, 6, 1.0))
    assert 0 < memory < 1_000
    assert 0 <= worker <= everything < 200
    rate, cpu = outbox_drained(500, 2)
    assert len(rate.values) == 2
    assert min(rate.values + cpu.values) > 0
