"""What a newcomer does: clone, `./run`, paste the printed line. With nothing but the package index."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

ROOT = Path(__file__).parents[2]
FIRST_START_S = 600.0
SECOND_START_S = 60.0
KEY = re.compile(r"obs_[0-9A-Za-z]{49}")
KEPT = re.compile(r"(PATH|PIP_.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|https?_proxy|no_proxy)", re.IGNORECASE)
"""Of the environment: where programs are, and how the package index is reached."""
PORTS = {
    "TOLLKEEPER_SERVER__PORT": "0",
    "TOLLKEEPER_SERVER__METRICS_PORT": "0",
    "TOLLKEEPER_SIMULATOR__PORT": "0",
}


def clone(target: Path) -> str:
    """The repository as another machine would get it; how it was taken. Raises where git cannot tell."""
    dirty = subprocess.run(
        ["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout
    if not dirty:
        subprocess.run(["git", "clone", "--quiet", ROOT, target], check=True)
        return "clone of HEAD"
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # else deleted, and not committed as such
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return "copy of the working tree"


@contextmanager
def running(place: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`./run` there; asked to stop at the end, and then stopped."""
    process = subprocess.Popen(
        ["./run"],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=(place.parent / "run.log").open("ab"),
        text=True,
        bufsize=1,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def banner(process: subprocess.Popen[str], last: str, within_s: float) -> str:
    """Its standard output up to the line with `last`."""
    assert process.stdout is not None
    deadline, said = monotonic() + within_s, ""
    descriptor = process.stdout.fileno()
    while last not in said:
        ready, _, _ = select.select([descriptor], [], [], deadline - monotonic())
        assert ready, f"nothing more within {within_s} s after: {said}"
        part = os.read(descriptor, 65_536).decode()
        assert part, f"./run ended: {said}"
        said += part
    return said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None or shutil.which("curl") is None, reason="needs git and curl")
def test_fresh_clone_answers_its_own_printed_curl_line(tmp_path: Path) -> None:
    place, home = tmp_path / "clone", tmp_path / "home"
    place.mkdir()
    home.mkdir()
    try:
        taken = clone(place)
    except subprocess.CalledProcessError:
        pytest.skip("this is not a git repository")
    assert not (place / ".venv").exists()
    environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    environment |= {"HOME": str(home), **PORTS}
    began = monotonic()
    with running(place, environment) as process:
        said = banner(process, "events tail", FIRST_START_S)
        first_s = monotonic() - began
        keys = set(KEY.findall(said))
        assert len(keys) == 1
        line = said[said.index("curl -i") : said.index("See what it cost")]
        began = monotonic()
        pasted = subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, check=True, timeout=120, env=environment
        ).stdout.lower()
        answer_s = monotonic() - began
        assert pasted.startswith("http/1.1 200")
        cost = re.search(r"^observe-cost-usd: (0\.\d+)$", pasted.replace("\r", ""), re.MULTILINE)
        assert cost is not None, pasted
        assert float(cost[1]) > 0
        request_id = re.search(r"^x-request-id: (\S+)$", pasted.replace("\r", ""), re.MULTILINE)
        assert request_id is not None
    began = monotonic()
    with running(place, environment) as process:
        said = banner(process, "keys create", SECOND_START_S)
        second_s = monotonic() - began
        assert not KEY.search(said)
        assert "curl" not in said
        (key,) = keys
        base_url = re.search(r"Base URL\s+(http\S+)", said)
        assert base_url is not None
        listing = subprocess.run(
            ["curl", "-sf", f"{base_url[1]}/models", "-H", f"Authorization: Bearer {key}"],
            capture_output=True, text=True, check=True, timeout=120, env=environment,
        ).stdout  # fmt: skip
        assert "gpt-4o-mini" in listing, "the first key holds on"
    shown = subprocess.run(
        [".venv/bin/tollkeeper", "report", "--by", "customer,feature", "--since", "1d"],
        cwd=place, capture_output=True, text=True, check=True, timeout=120, env=environment,
    ).stdout  # fmt: skip
    assert "acme" in shown
    assert "greeting" in shown
    assert list(home.rglob("obs_*")) == []
    print(
        f"{taken}: banner after {first_s:.1f} s, answer after {answer_s:.2f} s at ${cost[1]}, "
        f"second start {second_s:.2f} s"
    )
