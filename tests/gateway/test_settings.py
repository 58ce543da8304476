"""Settings: where each value comes from, and how a fault is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import (
    ConfigError,
    Settings,
    load_settings,
    settings_document,
    settings_from_document,
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("config.yaml")
    path.write_text(text)
    return path


def complaints(text: str | None = None, flags: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(text) if text is not None else None, flags)
    return caught.value.complaints


def test_nothing_configured_gives_defaults_and_the_simulated_provider() -> None:
    settings = load_settings()
    assert settings.server.port == 8787
    assert settings.server.host == "127.0.0.1"
    assert settings.simulated


def test_flag_wins_over_environment_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    written("server: {port: 1, workers: 1, drain_s: 1}")
    monkeypatch.setenv("TOLLKEEPER_SERVER__PORT", "2")
    monkeypatch.setenv("TOLLKEEPER_SERVER__WORKERS", "2")
    settings = load_settings(None, {"server.port": 3, "server.host": None})
    assert (settings.server.port, settings.server.workers, settings.server.drain_s) == (3, 2, 1)
    assert settings.server.host == "127.0.0.1"


def test_openai_key_in_the_environment_is_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    settings = load_settings()
    assert not settings.simulated
    assert settings.providers["openai"].base_url == "http://127.0.0.1:1/v1"
    assert settings.providers["openai"].secret == "sk-x"


def test_all_faults_are_told_at_once_with_file_path_and_value() -> None:
    found = complaints(
        "server: {prot: 1, port: 70000}\nledger: {lease_ms: 300, heartbeat_ms: 200}\nroute: {}\n"
    )
    assert len(found) == 4
    assert "config.yaml: server.prot: unknown name; see config.example.yaml for the known ones" in found
    assert any(
        one.startswith("config.yaml: server.port: ") and one.endswith("(found 70000)") for one in found
    )
    assert any("ledger: lease_ms must be at least twice heartbeat_ms (200)" in one for one in found)
    assert any("route: unknown name" in one for one in found)


def test_fault_of_a_flag_names_the_command_line() -> None:
    (found,) = complaints(flags={"server.workers": -1})
    assert found.startswith("command line: server.workers: ")


def test_fault_of_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLKEEPER_SERVER__PORT", "many")
    (found,) = complaints("server: {port: 1}")
    assert found.startswith("environment variable TOLLKEEPER_SERVER__PORT: server.port: ")
    monkeypatch.delenv("TOLLKEEPER_SERVER__PORT")
    monkeypatch.setenv("TOLLKEEPER_SERVER", "{")
    (found,) = complaints()
    assert found.startswith("environment: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a list", "expected a mapping of sections, found list"),
        ("a: [", "not valid YAML"),
        ("7: {}", "7: expected the name of a section"),
    ],
)
def test_file_that_is_no_configuration_is_told_as_one_fault(text: str, said: str) -> None:
    (found,) = complaints(text)
    assert said in found


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_settings(Path("absent.yaml"))


def test_route_to_a_provider_that_is_not_configured_is_a_fault() -> None:
    found = complaints(
        "providers: {one: {base_url: http://h/v1}}\n"
        "routes: {fast: {targets: [{provider: one, model: m}, {provider: two, model: m}]}}\n"
    )
    assert found == [
        "config.yaml: (whole file): routes.fast.targets[1].provider: 'two' is not configured; known: one"
    ]


def test_plan_in_a_time_zone_that_nobody_knows_is_a_fault_also_without_limits() -> None:
    (found,) = complaints("plans: {pro: {time_zone: Moon/Crater}}")
    assert "plan pro: time zone 'Moon/Crater' is unknown; write an IANA name" in found


@pytest.mark.parametrize("url", ["ftp://h/v1", "http://user:pw@h/v1", "http://h/v1?x=1", "h/v1"])
def test_provider_address_with_anything_unusual_is_a_fault(url: str) -> None:
    (found,) = complaints(f"providers: {{one: {{base_url: '{url}'}}}}")
    assert found.startswith("config.yaml: providers.one.base_url: expected http(s)://host[:port][/path]")


def test_secret_is_never_part_of_a_complaint() -> None:
    found = complaints(
        "providers: {one: {base_url: 'http://h/v1', api_key: [sk-secret]}}\nredis: {url: 'redis+x://u:sk-secret@h'}"
    )
    assert len(found) == 2
    assert "sk-secret" not in "".join(found)


def test_price_as_a_float_is_a_fault_that_says_how_to_write_it() -> None:
    (found,) = complaints("prices: [{provider: p, model: m, usd_per_million: {input_tokens: 0.15}}]")
    assert 'input_tokens: write the rate as a quoted decimal, such as "0.15"' in found


def test_settings_cross_a_pipe_unchanged_and_without_this_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_KEY", "sk-from-environment")
    settings = load_settings(
        written(
            "server: {data_dir: /x}\n"
            "providers:\n"
            "  one: {base_url: 'http://h/v1', api_key: sk-literal, timeouts: {idle_s: 5}}\n"
            "  two: {base_url: 'http://h/v1', api_key_env: A_KEY}\n"
            "routes: {fast: {targets: [{provider: one, model: m}]}}\n"
            "prices: [{provider: p, model: m, effective_from: 2026-02-03, usd_per_million: {input: 1}}]\n"
        ),
        {"server.port": 5},
    )
    document = settings_document(settings)
    monkeypatch.delenv("A_KEY")
    monkeypatch.setenv("TOLLKEEPER_SERVER__PORT", "6")
    again = settings_from_document(document)
    assert isinstance(again, Settings)
    assert again.server == settings.server
    assert again.providers["one"] == settings.providers["one"]
    assert again.providers["two"].secret == "sk-from-environment"
    assert (again.routes, again.prices, again.ledger) == (settings.routes, settings.prices, settings.ledger)


def test_settings_shown_anywhere_hide_their_secrets() -> None:
    settings = load_settings(written("providers: {one: {base_url: 'http://h/v1', api_key: sk-literal}}"))
    assert "sk-literal" not in repr(settings) + str(settings.model_dump(mode="json"))
