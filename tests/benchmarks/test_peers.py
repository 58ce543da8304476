from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contest import Contest, LoadFailed
from benchmarks.lane import LANES
from benchmarks.peers import litellm_subject
from benchmarks.peers.forwarding import NotForwarded, check_forwarding, content_of
from benchmarks.peers.installed import Installed, NotInstalled, default_folder
from benchmarks.peers.litellm_subject import find_litellm
from benchmarks.peers.portkey_subject import find_portkey
from benchmarks.report import peers_table
from benchmarks.stage import Stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read Linux's /proc")


def chunk(content: str | None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": content}}]}).encode() + b"\n\n"


def test_a_stream_and_an_answer_are_read_as_their_text() -> None:
    assert content_of(b'{"choices":[{"message":{"content":"hello"}}]}') == "hello"
    usage = b'data: {"choices":[],"usage":{}}\n\n'
    assert content_of(chunk("hel") + chunk(None) + chunk("lo") + usage + b"data: [DONE]\n\n") == "hello"


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"<html>", chunk("cut off"), b"data: nothing\n\ndata: [DONE]\n\n"]
)
def test_what_is_no_whole_answer_is_told(raw: bytes) -> None:
    with pytest.raises(NotForwarded):
        content_of(raw)


def test_the_direct_way_forwards_and_a_wrong_way_does_not(compiler: str) -> None:
    with Stage() as stage:
        crew = stage.start_upstream()
        check_forwarding(stage.direct(), crew.upstream_port)
        with pytest.raises(NotForwarded, match="HTTP 404"):
            check_forwarding(replace(stage.direct(), path="/v1/elsewhere"), crew.upstream_port)


@pytest.mark.wide
def test_a_guest_that_does_not_answer_is_left_out_and_a_subject_of_ours_is_a_fault(compiler: str) -> None:
    told: list[str] = []
    lane = replace(LANES["nonstream-1"], window_s=0.05)
    with Stage() as stage:
        crew = stage.start_upstream()
        wrong = replace(stage.direct(), name="other", path="/v1/elsewhere", guest=True)
        contest = Contest([stage.direct(), wrong], crew, scratch=stage.scratch, tell=told.append)
        assert [sample.subject for sample in contest.run(lane, 1, without=("other",))] == ["direct"]
        assert not contest.left_out
        samples = contest.run(lane, 2)
        assert [sample.subject for sample in samples] == ["direct", "direct"]
        assert "404" in contest.left_out["nonstream-1"]["other"]
        assert any("is measured again" in each for each in told)
        ours = Contest([replace(wrong, guest=False)], crew, scratch=stage.scratch, tell=told.append)
        with pytest.raises(LoadFailed, match="404"):
            ours.run(lane, 1)


def test_what_is_not_installed_is_told_with_what_would_help(tmp_path: Path) -> None:
    for find in (find_litellm, find_portkey):
        with pytest.raises(NotInstalled, match="benchmarks/peers/install"):
            find(tmp_path)


def test_litellm_without_what_its_authentication_imports_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "litellm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    versions: dict[str, Any] = dict.fromkeys(("python", "litellm", "uvicorn"), "1") | {"httptools": None}
    python.write_text(f"#!/bin/sh\necho '{json.dumps(versions | {'opentelemetry-sdk': None})}'\n")
    python.chmod(0o755)
    with pytest.raises(NotInstalled, match="opentelemetry-sdk"):
        find_litellm(tmp_path)
    python.write_text(f"#!/bin/sh\necho '{json.dumps(versions | {'opentelemetry-sdk': '1'})}'\n")
    assert find_litellm(tmp_path).version == "1, Python 1, uvicorn 1 with h11"
    monkeypatch.setenv("PYTHONPATH", "here")
    assert "PYTHONPATH" not in litellm_subject.own_environment()


def test_a_peer_stands_in_the_table_with_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Installed("other", "1.2", "dances", "sings", "quietly", lambda stage: stage.direct())
    assert peers_table([peer])[-1] == "| other | 1.2 | dances | sings | quietly |"
    monkeypatch.setenv("TOLLKEEPER_PEERS", "/srv/peers")
    assert default_folder() == Path("/srv/peers")
