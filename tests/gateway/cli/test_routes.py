"""`tollkeeper routes explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result

from gateway.forwarding.healthboard import FILE, HealthBoard
from gateway.metrics_files import value_directory
from routing.circuit import CircuitTerms
from tests.gateway.cli.conftest import Run

CONFIG = """
providers:
  one: {base_url: "https://one.example/v1", prices: openai}
  two: {base_url: "https://two.example/v1", prices: openai}
  own: {base_url: "https://own.example/v1", models: []}
routes:
  fast:
    order: %s
    targets:
      - {provider: one, model: gpt-4o}
      - {provider: own, model: in-house}
      - {provider: two, model: gpt-4o-mini, weight: 3}
"""


@pytest.fixture
def explain(run: Run) -> Any:
    def call(order: str, *arguments: str) -> dict[str, Any]:
        Path("config.yaml").write_text(CONFIG % order)
        done: Result = run("routes", "explain", "fast", *arguments, "--json")
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    return call


def order_of(found: dict[str, Any]) -> list[str]:
    return [each["target"] for each in found["targets"]]


def test_listed_targets_stand_as_they_are_configured(explain: Any) -> None:
    found = explain("listed")
    assert order_of(found) == ["one/gpt-4o", "own/in-house", "two/gpt-4o-mini"]
    assert [each["position"] for each in found["targets"]] == [1, 2, 3]
    assert found["targets"][0]["reasons"] == ["as listed"]
    assert "server_error" in found["fallback_on"]


def test_the_cheapest_comes_first_and_what_has_no_price_last(explain: Any) -> None:
    found = explain("cheapest")
    assert order_of(found) == ["two/gpt-4o-mini", "one/gpt-4o", "own/in-house"]
    assert found["targets"][0]["reasons"][0].startswith("likely $0.000")
    assert found["targets"][2]["reasons"] == ["no price, so last"]


def test_a_sticky_route_gives_a_customer_the_same_order_each_time(explain: Any) -> None:
    orders = {tuple(order_of(explain("sticky", "--customer", "acme"))) for _ in range(2)}
    assert len(orders) == 1
    found = explain("sticky", "--customer", "acme")
    assert found["targets"][0]["reasons"][0].startswith("by the hash of customer 'acme'")
    assert "names no customer" in explain("sticky")["targets"][0]["reasons"][0]


def test_under_a_hard_budget_what_has_no_price_is_passed_over(explain: Any, run: Run, serving: Any) -> None:
    assert run("keys", "create", "--name", "app").exit_code == 0
    assert run("limits", "set", "customer:acme", "month", "5.00").exit_code == 0
    found = explain("listed", "--customer", "acme")
    assert found["hard_limits"] == ["customer acme month"]
    assert [each["position"] for each in found["targets"]] == [1, None, 2]
    assert "passed over: its price is not known, and a hard budget applies" in found["targets"][1]["reasons"]
    assert explain("listed", "--customer", "other")["hard_limits"] == []


def test_a_target_in_trouble_is_shown_as_the_running_gateway_knows_it(explain: Any, data_dir: Path) -> None:
    folder = value_directory(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        board = HealthBoard(folder / FILE)
        for _ in range(5):
            board.failed(board.place("one/gpt-4o"), CircuitTerms())
        found = explain("listed")
        assert order_of(found) == ["own/in-house", "two/gpt-4o-mini", "one/gpt-4o"]
        last = found["targets"][2]
        assert last["circuit"] == "open"
        assert last["reasons"] == ["as listed", "its circuit is open", "set aside: behind all that are not"]
    finally:
        (folder / FILE).unlink()
        folder.rmdir()


def test_what_nothing_serves_is_said(run: Run) -> None:
    Path("config.yaml").write_text(CONFIG % "listed")
    done = run("routes", "explain", "nothing")
    assert (done.exit_code, done.stderr) == (1, "nothing here serves 'nothing'\n")


def test_people_get_a_table(run: Run) -> None:
    Path("config.yaml").write_text(CONFIG % "weighted")
    done = run("routes", "explain", "fast", "--stream", "--max-tokens", "100")
    assert done.exit_code == 0
    assert "fast: order weighted" in done.stdout
    assert "drawn by weight 3 this time" in done.stdout
    assert "limits are not known" in done.stderr


def test_without_a_provider_the_simulated_one_is_explained(run: Run) -> None:
    done = run("routes", "explain", "gpt-4o-mini", "--customer", "acme")
    assert done.exit_code == 0, done.stderr
    assert "simulated" in done.stdout


DIALECTS = """
providers:
  one: {base_url: "https://one.example/v1", prices: openai}
  claude: {preset: anthropic, base_url: "https://claude.example/v1", api_key: x}
  vertex: {base_url: "https://vertex.example/v1/projects/p/locations/l", auth: bearer, api_key: x}
routes:
  mixed:
    targets:
      - {provider: claude, model: claude-haiku-4-5}
      - {provider: one, model: gpt-4o}
      - {provider: vertex, model: claude-haiku-4-5}
"""


OFFERED_TWICE = """
providers:
  reseller: {base_url: "https://reseller.example/v1", prices: anthropic}
  claude: {preset: anthropic, base_url: "https://claude.example/v1", api_key: x}
"""


def explained(run: Run, *words: str) -> dict[str, Any]:
    Path("config.yaml").write_text(DIALECTS)
    done = run("routes", "explain", *words, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def test_targets_that_do_not_speak_the_dialect_are_passed_over(run: Run) -> None:
    chat = explained(run, "mixed")
    assert (chat["surface"], order_of(chat)[0]) == ("chat.completions", "one/gpt-4o")
    assert [each["position"] for each in chat["targets"]] == [1, None, None]
    assert chat["targets"][1]["reasons"] == ["passed over: its provider does not speak chat.completions"]
    messages = explained(run, "mixed", "--surface", "messages", "--stream")
    order = ["claude/claude-haiku-4-5", "vertex/claude-haiku-4-5", "one/gpt-4o"]
    assert order_of(messages) == order
    assert [each["position"] for each in messages["targets"]] == [1, 2, None]


def test_targets_that_a_key_may_not_use_are_passed_over(run: Run, serving: Any) -> None:
    made = run("keys", "create", "--name", "app", "--models", "vertex/*", "--routes", "mixed")
    assert made.exit_code == 0, made.stderr
    barred = "passed over: the key may not use it"
    for stream in ((), ("--stream",)):
        found = explained(run, "mixed", "--surface", "messages", "--key", "app", *stream)["targets"]
        assert [each["position"] for each in found] == [None, 1, None]
        assert [barred in each["reasons"] for each in found] == [True, False, False]
    chat = explained(run, "mixed", "--key", "app")["targets"]
    assert [each["position"] for each in chat] == [None, None, None]
    assert barred in chat[0]["reasons"]
    refused = run("routes", "explain", "claude/claude-haiku-4-5", "--key", "app")
    assert refused.exit_code == 1
    assert "may not ask for 'claude/claude-haiku-4-5'" in refused.stderr


def test_a_model_that_a_later_provider_serves_in_the_dialect_is_explained_there(run: Run) -> None:
    Path("config.yaml").write_text(OFFERED_TWICE)
    for surface, served in (("chat.completions", "reseller"), ("messages", "claude")):
        done = run("routes", "explain", "claude-haiku-4-5", "--surface", surface, "--json")
        assert done.exit_code == 0, done.stderr
        found = orjson.loads(done.stdout)["targets"][0]
        assert (found["target"], found["position"]) == (f"{served}/claude-haiku-4-5", 1)


def test_a_model_is_explained_in_a_dialect_that_its_provider_speaks(run: Run) -> None:
    found = explained(run, "claude/claude-haiku-4-5", "--max-tokens", "100")
    assert (found["surface"], found["targets"][0]["position"]) == ("messages", 1)
    assert found["targets"][0]["price"].startswith("$0.00")
    done = run("routes", "explain", "claude/claude-haiku-4-5", "--surface", "generateContent")
    assert done.exit_code == 1
    assert "does not speak this dialect (generateContent)" in done.stderr


@pytest.mark.parametrize(
    ("model", "surface"),
    [
        ("gpt-4o-mini", "chat.completions"),
        ("claude-haiku-4-5", "messages"),
        ("gemini-2.5-flash", "generateContent"),
        ("command-r7b-12-2024", "cohere.chat"),
        ("amazon.nova-micro-v1:0", "bedrock.converse"),
    ],
)
def test_each_simulated_provider_is_explained_in_its_dialect(run: Run, model: str, surface: str) -> None:
    found = orjson.loads(run("routes", "explain", model, "--json").stdout)
    assert (found["surface"], [each["position"] for each in found["targets"]]) == (surface, [1])
    assert "at most $" in found["targets"][0]["price"]
