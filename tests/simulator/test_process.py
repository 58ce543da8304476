"""The simulator beside other things: threads, processes, signals, the command line."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import openai
import pytest
import trustme

from simulator.process import run_simulator, start_simulator
from simulator.provider import SimulatedProvider

ROOT = Path(__file__).resolve().parents[2]


def test_a_process_of_its_own_serves_and_ends_with_the_context() -> None:
    with start_simulator(own_process=True, tokens=7) as simulator:
        with openai.OpenAI(base_url=simulator.base_url, api_key="sk-test") as client:
            answer = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]
            )
        assert answer.usage.completion_tokens == 7
        # 8 x $2.50/M + 7 x $10/M
        assert simulator.total_nano() == 90_000
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((simulator.host, simulator.port), timeout=1)


def test_a_process_of_its_own_does_not_outlive_a_killed_parent() -> None:
    program = (
        "import time\nfrom simulator.process import start_simulator\n"
        "with start_simulator(own_process=True) as simulator:\n"
        "    simulator.bill()\n    print(simulator.port, flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        try:
            assert parent.stdout
            port = int(parent.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=10) as plug:
                parent.kill()
                assert plug.recv(1) == b""
        finally:
            parent.kill()


def test_a_child_process_serves_an_inherited_listener_until_sigterm() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    child = multiprocessing.get_context("spawn").Process(target=run_simulator, kwargs={"listener": listener})
    child.start()
    listener.close()
    try:
        assert httpx2.get(f"http://127.0.0.1:{port}/_simulator/bill").json()["total_nano"] == 0
        os.kill(child.pid or 0, signal.SIGTERM)
        child.join(10)
        assert child.exitcode == 0
    finally:
        child.kill()


async def test_it_runs_in_an_event_loop_and_stops_with_streams_open() -> None:
    provider = SimulatedProvider(pace_ms=50, tokens=1000)
    port = await provider.start()
    assert provider.base_url == f"http://127.0.0.1:{port}/v1"
    async with httpx2.AsyncClient(headers={"authorization": "Bearer sk-test"}) as client:
        body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        async with client.stream("POST", f"{provider.base_url}/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            await provider.stop()
            with pytest.raises(httpx2.HTTPError):
                async for _ in lines:
                    pass
    await provider.stop()
    (entry,) = provider.bill.document()["requests"]
    assert (entry["status"], entry["complete"]) == (200, False)


async def test_it_speaks_tls() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    provider = SimulatedProvider()
    await provider.start(tls=server)
    try:
        async with httpx2.AsyncClient(verify=trusting) as client:
            answer = await client.get(
                f"{provider.base_url}/models", headers={"authorization": "Bearer sk-test"}
            )
            assert answer.json()["object"] == "list"
    finally:
        await provider.stop()


def test_the_command_prints_an_address_and_a_curl_line_that_works(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from gateway.cli import main; main()",
        "simulate",
        "--port",
        "0",
        "--pace-ms",
        "0",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as child:
        try:
            assert child.stdout
            shown = ""
            while "/_simulator/bill" not in shown:
                line = child.stdout.readline()
                assert line, shown
                shown += line
            found = re.search(r"http://127\.0\.0\.1:\d+/v1", shown)
            assert found
            curl = shown[shown.index("curl -N") : shown.index("Its bill")]
            answer = subprocess.run(
                ["/bin/sh", "-c", curl], capture_output=True, text=True, timeout=10, check=True
            )
            assert answer.stdout.endswith("data: [DONE]\n\n")
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 0
        finally:
            child.kill()


def test_a_taken_port_is_a_sentence_not_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-c",
            "from gateway.cli import main; main()",
            "simulate",
            "--port",
            str(port),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=20
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot listen on 127.0.0.1:{port}")
