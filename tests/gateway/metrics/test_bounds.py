"""However many models are asked for and workers die, series and scrapes stay small, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import MODELS_MAX
from gateway.serve.exposition import collect
from tests.stack import Stack

SERIES_MAX = 5_000
SCRAPE_S = 0.250


def write(directory: Path, owner: str, requests: int, seed: int = 0) -> None:
    """A process that counts and is killed."""
    command = [sys.executable, "-m", "tests.gateway.metrics.writer", str(directory), owner]
    done = subprocess.run([*command, str(requests), str(seed)], check=False, timeout=300)
    assert done.returncode == -9


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series and its value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def cheapest_scrape_s(directory: Path) -> float:
    """CPU time of a scrape: the least of several, since other programs share the caches."""
    times = []
    for _ in range(5):
        began = time.thread_time()
        collect(directory)
        times.append(time.thread_time() - began)
    return min(times)


def test_files_are_added_up_as_the_librarys_own_collector_does(tmp_path: Path) -> None:
    write(tmp_path, "worker-0", 400, seed=1)
    write(tmp_path, "worker-1", 400, seed=2)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    theirs, ours = generate_latest(registry), collect(tmp_path)
    assert samples(ours) == samples(theirs)
    headings = {line for line in theirs.splitlines() if line.startswith(b"#")}
    assert {line for line in ours.splitlines() if line.startswith(b"#")} == headings
    total = sum(v for (name, _), v in samples(ours).items() if name == "tollkeeper_requests_total")
    assert total == 800


def test_a_file_that_is_cut_or_empty_spoils_nothing(tmp_path: Path) -> None:
    write(tmp_path, "worker-0", 10)
    whole = samples(collect(tmp_path))
    (tmp_path / "counter_worker-1.db").write_bytes(b"")
    (tmp_path / "counter_worker-2.db").write_bytes(b"\0" * 1_048_576)
    assert samples(collect(tmp_path)) == whole


@pytest.mark.parametrize(
    ("requests", "deaths"), [(8_000, 4), pytest.param(100_000, 1_000, marks=pytest.mark.slow)]
)
def test_series_and_scrapes_stay_small(tmp_path: Path, requests: int, deaths: int) -> None:
    """So many requests of random models in two workers' files, by workers that died so often."""
    each, used = requests // deaths, 0
    for number in range(deaths):
        write(tmp_path, f"worker-{number % 2}", each, seed=number)
        used += each
    found = samples(collect(tmp_path))
    scrape_s = cheapest_scrape_s(tmp_path)
    models = {dict(labels).get("model") for _, labels in found} - {None}
    print(
        f"{used} requests, {deaths} deaths: {len(found)} series, {len(models)} models, "
        f"{len(list(tmp_path.iterdir()))} files, scrape {scrape_s * 1000:.1f} ms of CPU"
    )
    assert found["tollkeeper_accepted_requests_total", ()] == used, "nothing is lost with a worker"
    assert "other" in models
    assert len(list(tmp_path.iterdir())) <= 6
    assert scrape_s <= SCRAPE_S
    assert len(models) <= MODELS_MAX + 1
    assert len(found) < SERIES_MAX


@pytest.mark.parametrize("requests", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_random_models_and_paths_over_the_wire_make_no_series(stack: Stack, requests: int) -> None:
    secret = stack.key()
    before = len(samples(generate_latest()))
    with httpx2.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        for number in range(requests):
            body = {"model": f"m-{number}", "messages": [{"role": "user", "content": "x"}]}
            if number % 2:
                answer = client.post(f"{stack.base_url}/chat/completions", json=body)
            else:
                answer = client.post(f"{stack.base_url}/{number}/random", json=body)
            assert answer.status_code == 404
    assert len(samples(generate_latest())) - before <= 4
