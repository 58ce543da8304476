"""`tollkeeper providers`: what is known, and what a real request does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from simulator.bedrock.signature import ACCESS_KEY, SECRET_KEY
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
    assert "complete" in shown.stdout


BELOW = {
    "openai": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta/openai",
    "vertex": "/v1beta1/projects/ours/locations/here",
    "claudes": "/v1/projects/ours/locations/here",
    "cohere": "",
    "bedrock": "/openai/v1",
}
"""Known provider -> where the simulated one has what it has, below its address."""
NOVA = "amazon.nova-micro-v1:0"
AUTH = {"vertex": ", auth: bearer", "claudes": ", preset: vertex, auth: bearer"}
MESSAGE = "a message alone, as Cohere's and Amazon's"
ASKED = [
    ("openai", "responses", "gpt-4o-mini", "OpenAI's shape"),
    ("openai", "completions", "gpt-3.5-turbo-instruct", "OpenAI's shape"),
    ("anthropic", None, None, "Anthropic's shape"),
    ("gemini", "generateContent", None, "Google's shape"),
    ("vertex", None, None, "Google's shape"),
    ("claudes", "rawPredict", "claude-haiku-4-5", "Anthropic's shape"),
    ("cohere", "cohere.chat", None, MESSAGE),
    ("bedrock", "bedrock.converse", NOVA, MESSAGE),
]


def probe(simulator: Simulator, provider: str, *words: str, auth: str = "") -> tuple[int, dict[str, Any]]:
    """The probe of one provider of the simulated ones: how it exited, and what it found."""
    url = simulator.root + BELOW[provider]
    text = f"providers: {{{provider}: {{base_url: '{url}', api_key: k-1{auth}}}}}"
    done = run(text, "probe", *words, "--json")
    (found,) = orjson.loads(done.stdout)
    return done.exit_code, found


@pytest.mark.parametrize(("provider", "surface", "model", "shape"), ASKED)
def test_each_provider_is_probed_in_a_dialect_that_it_speaks(
    simulator: Simulator, provider: str, surface: str | None, model: str | None, shape: str
) -> None:
    simulator.reset()
    words = [*(["--surface", surface] if surface else []), *(["--model", model] if model else [])]
    code, found = probe(simulator, provider, *words, auth=AUTH.get(provider, ""))
    assert (code, found["works"]) == (0, True), found
    assert found["surface"] == (surface or {"anthropic": "messages", "vertex": "generateContent"}[provider])
    for kind in ("plain", "streamed"):
        assert found[kind]["text"]
        assert found[kind]["usage"]["output_tokens"] > 0
        assert found[kind]["cost_from"] == "the price list"
    assert found["streamed"]["events"] > 2
    costs = [round(float(found[kind]["cost_usd"]) * 10**9) for kind in ("plain", "streamed")]
    assert sum(costs) == simulator.total_nano() > 0
    assert f", {shape}: " in found["refusal"]


def test_a_probe_signs_where_its_provider_wants_a_signature(simulator: Simulator) -> None:
    keys = f"access_key_id: {ACCESS_KEY}, secret_access_key: {SECRET_KEY}"
    signed = f"auth: {{region: us-east-1, {keys}}}, preset: bedrock"
    text = f"providers: {{amazon: {{base_url: '{simulator.root}/openai/v1', {signed}}}}}"
    done = run(text, "probe", "--surface", "bedrock.converse", "--model", NOVA, "--json")
    assert done.exit_code == 0, done.stdout
    names = {name for call in simulator.received()[-3:] for name, _ in call["headers"]}
    assert "x-amz-date" in names
    wrong = text.replace(SECRET_KEY, SECRET_KEY[::-1])
    done = run(wrong, "probe", "--surface", "bedrock.converse", "--model", NOVA, "--json")
    assert done.exit_code == 1
    assert orjson.loads(done.stdout)[0]["plain"]["fault"].startswith("credential: ")


CUT, TOLD = "the stream was cut: ", "an error event: "


@pytest.mark.parametrize(
    ("provider", "wish", "fault"),
    [
        ("anthropic", "no_done", CUT),
        ("anthropic", "error_in_stream=2", TOLD),
        ("anthropic", "close_after_chunks=2", "FramingFault: "),
        ("cohere", "error_in_stream=2", TOLD),
        ("bedrock", "error_in_stream=2", TOLD),
        ("bedrock", "malformed=sse", "an event that cannot be read: "),
    ],
)
def test_a_stream_that_does_not_end_as_those_of_its_dialect_is_told(
    simulator: Simulator, provider: str, wish: str, fault: str
) -> None:
    surface = {"cohere": "cohere.chat", "bedrock": "bedrock.converse", "anthropic": "messages"}[provider]
    model = ["--model", NOVA] if provider == "bedrock" else []
    words = ["--surface", surface, *model, "--prompt", f"[[simulate: tokens=20 {wish}]]"]
    code, found = probe(simulator, provider, *words)
    assert (code, found["works"]) == (1, False)
    assert found["streamed"]["fault"].startswith(fault)


def test_an_event_that_cannot_be_read_is_told(simulator: Simulator) -> None:
    code, found = probe(simulator, "anthropic", "--prompt", "[[simulate: malformed=sse]]")
    assert code == 1
    assert found["streamed"]["fault"].startswith("an event that cannot be read: ")


def test_an_answer_of_another_dialect_is_none(simulator: Simulator) -> None:
    paths = ", paths: {messages: /chat/completions}"
    code, found = probe(simulator, "anthropic", "--model", "gpt-4o-mini", auth=f", auth: bearer{paths}")
    assert code == 1
    assert found["plain"]["fault"].startswith("not an answer of messages: ")


def test_who_cannot_be_asked_for_a_word_is_said_so(simulator: Simulator) -> None:
    text = (
        f"providers: {{cohere: {{base_url: '{simulator.root}', api_key: k, paths: {{rerank: /v2/rerank}}}}}}"
    )
    done = run(text, "probe", "--json")
    assert (done.exit_code, orjson.loads(done.stdout)[0]["surface"]) == (1, "")
    assert "it has no path to be asked for a word" in run(text, "probe").stdout
    _, found = probe(simulator, "anthropic", "--surface", "generateContent")
    assert (found["works"], found["plain"]) == (False, None)


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
