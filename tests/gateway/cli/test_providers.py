"""`tollkeeper providers`: what is known, and what a real request does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from simulator.process import Simulator, start_simulator


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with start_simulator() as started:
        yield started


def run(text: str, *words: str) -> Result:
    Path("config.yaml").write_text(text)
    return CliRunner().invoke(main, ["providers", *words], catch_exceptions=False)


def test_both_commands_take_the_options_of_the_other_ones(tmp_path: Path) -> None:
    place = ("--config", "other.yaml", "--data-dir", str(tmp_path / "data"), "--json")
    Path("other.yaml").write_text("providers: {groq: {}}")
    done = run("providers: {xai: {}}", "list", *place)
    rows = {row["name"]: row["configured"] for row in orjson.loads(done.stdout)}
    assert (rows["groq"], rows["xai"]) == (["groq"], [])
    done = run("providers: {xai: {}}", "probe", "xai", *place)
    assert (done.exit_code, done.stderr) == (1, "not configured: xai; configured: groq\n")


@pytest.mark.parametrize("command", ["list", "probe"])
def test_a_configuration_that_cannot_be_used_ends_the_command_with_its_complaints(command: str) -> None:
    done = run("providers: {groq: {base_uri: 'https://x/v1'}}", command)
    assert done.exit_code == 1
    assert "base_uri" in done.stderr


def test_prices_that_cannot_be_used_end_a_probe_with_their_complaints() -> None:
    prices = "prices: [{provider: nobody, model: m, usd_per_million: {input_tokens: '1'}}]"
    done = run(f"providers: {{groq: {{}}}}\n{prices}", "probe")
    assert done.exit_code == 1
    assert "prices[0].provider: 'nobody' is neither configured nor in the price book" in done.stderr


def test_every_known_provider_is_listed_with_what_it_needs() -> None:
    done = run("providers: {groq: {}, fallback: {preset: xai}}", "list", "--json")
    rows = {row["name"]: row for row in orjson.loads(done.stdout)}
    assert {"openai", "azure", "groq", "mistral", "bedrock", "ollama", "vllm"} <= set(rows)
    assert rows["groq"]["configured"] == ["groq"]
    assert rows["xai"]["configured"] == ["fallback"]
    assert rows["xai"]["reports_cost"] == "usage.cost_in_usd_ticks"
    assert rows["azure"]["base_url"] is None
    table = run("providers: {groq: {}}", "list")
    assert "GROQ_API_KEY" in table.stdout


def test_a_probe_shows_both_answers_their_cost_and_the_shape_of_errors(simulator: Simulator) -> None:
    simulator.reset()
    text = f"providers: {{openai: {{base_url: '{simulator.base_url}', api_key: sk-1}}}}"
    done = run(text, "probe", "--model", "gpt-4o-mini", "--json")
    assert done.exit_code == 0, done.stdout
    (found,) = orjson.loads(done.stdout)
    assert found["works"]
    plain, streamed = found["plain"], found["streamed"]
    assert plain["status"] == streamed["status"] == 200
    assert plain["usage"]["input_tokens"] == streamed["usage"]["input_tokens"] > 0
    assert (plain["cost_from"], streamed["done"]) == ("the price list", True)
    assert streamed["events"] > 2
    costs = [round(float(each["cost_usd"]) * 10**9) for each in (plain, streamed)]
    assert sum(costs) == simulator.total_nano()
    assert found["refusal"].startswith("404 no_such_model, OpenAI's shape")
    shown = run(text, "probe", "openai", "--model", "gpt-4o-mini")
    assert shown.exit_code == 0
    assert "[DONE]" in shown.stdout


def test_a_probe_of_a_provider_that_fails_says_how_and_ends_with_1(simulator: Simulator) -> None:
    wrong = f"providers: {{openai: {{base_url: '{simulator.base_url}', api_key: sk-invalid-1}}}}"
    done = run(wrong, "probe", "--model", "gpt-4o-mini", "--json")
    assert done.exit_code == 1
    (found,) = orjson.loads(done.stdout)
    assert found["plain"]["fault"].startswith("credential: ")
    assert "sk-invalid-1" not in done.stdout
    away = run("providers: {openai: {base_url: 'http://127.0.0.1:1/v1'}}", "probe", "--json")
    assert away.exit_code == 1
    assert orjson.loads(away.stdout)[0]["plain"]["fault"].startswith("ConnectFailed")


def test_a_bill_that_the_provider_reports_is_shown_as_such() -> None:
    body = (
        b'{"model":"grok-new","choices":[{"message":{"content":"OK"}}],"usage":{"prompt_tokens":9,'
        b'"completion_tokens":1,"total_tokens":10,"cost_in_usd_ticks":37756000}}'
    )
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                        b"content-length: %d\r\n\r\n%s" % (len(body), body)
                    )

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    done = run(
        f"providers: {{xai: {{base_url: 'http://127.0.0.1:{port}/v1', api_key: x}}}}",
        "probe",
        "--model",
        "grok-new",
        "--json",
    )
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    (found,) = orjson.loads(done.stdout)
    assert (found["plain"]["cost_usd"], found["plain"]["cost_from"]) == ("0.0037756", "the provider's report")
    assert found["refusal"] == "200: it answers for a model that does not exist"


def test_what_is_not_configured_cannot_be_probed() -> None:
    done = run("providers: {groq: {}}", "probe", "nobody")
    assert done.exit_code == 1
    assert done.stderr == "not configured: nobody; configured: groq\n"
