"""The `prices` section of the settings, and the command that shows what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.prices import price_book
from gateway.settings import ConfigError, Settings
from metering.usage import Usage

NOW = 1_795_219_200_000  # 2026-11-21T00:00Z


def settings(*prices: dict[str, Any], **sections: Any) -> Settings:
    return Settings(prices=list(prices), **sections)


def override(**changes: Any) -> dict[str, Any]:
    return {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "usd_per_million": {"input_tokens": "0.1"},
    } | changes


def test_configured_dollars_per_million_become_exact_rates() -> None:
    book = price_book(settings(override(effective_from="2026-11-01", max_output_tokens=99)))
    price = book.find("openai", "gpt-4o-mini", NOW)
    assert price is not None
    assert price.cost_of(Usage(input_tokens=1_000, output_tokens=10)).nano == 100_000 + 6_000
    assert price.max_output_tokens == 99


def test_seconds_are_configured_by_the_million_too() -> None:
    book = price_book(settings(override(usd_per_million={"input_audio_seconds": "100"})))
    price = book.find("openai", "gpt-4o-mini", NOW)
    assert price is not None
    assert price.cost_of(Usage(extra=(("input_audio_seconds", 50),))).nano == 5_000_000


def test_a_price_may_hold_for_one_account_or_one_tier_only() -> None:
    book = price_book(
        settings(
            override(account="acme"),
            override(usd_per_million={"input_tokens": "0.05"}, service_tier="flex"),
            override(usd_per_million={"output_images:1024x1024:high": "40000"}),
        )
    )
    usage = Usage(input_tokens=1_000)
    ours, theirs = book.find("openai", "gpt-4o-mini", NOW), book.find("openai", "gpt-4o-mini", NOW, "acme")
    assert ours is not None
    assert theirs is not None
    assert [price.cost_of(usage).nano for price in (ours, theirs)] == [150_000, 100_000]
    assert ours.cost_of(usage, service_tier="flex").nano == 50_000
    assert ours.cost_of(Usage(extra=(("output_images:1024x1024:high", 2),))).nano == 80_000_000


@pytest.mark.parametrize(
    ("model", "provider", "fact"),
    [
        ("claude-opus-4-8", "anthropic", "tokens x 1.1 in us"),
        ("gpt-5.4", "openai", "tokens x 1.1 in any region that is named"),
        ("openai/gpt-4o-mini", "openrouter", "what the provider reports is the bill"),
    ],
)
def test_what_changes_a_cost_beside_its_rates_is_shown(model: str, provider: str, fact: str) -> None:
    assert fact in run(model, "--provider", provider)[1]


def test_a_configured_provider_stands_for_its_price_list() -> None:
    chosen = settings(
        override(provider="mine"),
        providers={"mine": {"base_url": "https://a.example/v1", "prices": "openai"}},
    )
    price = price_book(chosen).find("openai", "gpt-4o-mini", NOW)
    assert price is not None
    assert price.cost_of(Usage(input_tokens=1_000)).nano == 100_000


def test_every_wrong_price_is_complained_about_at_once() -> None:
    wrong = settings(
        override(usd_per_million={"input_token": "1", "output_tokens": "cheap"}),
        override(provider="opnai"),
        override(model="a", usd_per_million={"input_tokens": "0.0000001"}),
        override(model="b", usd_per_million={"input_tokens": "-1"}),
        override(model="c", usd_per_million={}),
        override(),
    )
    with pytest.raises(ConfigError) as raised:
        price_book(wrong)
    complaints = raised.value.complaints
    assert [complaint.split(": ")[0] for complaint in complaints] == [
        "prices[0].usd_per_million.input_token",
        "prices[0].usd_per_million.output_tokens",
        "prices[1].provider",
        "prices[2].usd_per_million.input_tokens",
        "prices[3].usd_per_million.input_tokens",
        "prices[4].usd_per_million",
        "prices[5]",
    ]
    assert "unknown unit; known units: input_tokens, cache_read_input_tokens" in complaints[0]
    assert "known: anthropic, arcee" in complaints[2]


def run(*words: str, config: Path | None = None) -> tuple[int, str, str]:
    options = ("--config", str(config)) if config else ()
    result = CliRunner().invoke(main, ["prices", "show", *words, *options])
    return result.exit_code, result.stdout, result.stderr


def test_show_prints_rates_tiers_and_their_origin() -> None:
    code, out, _ = run("gpt-5", "--provider", "openai", "--at", "2026-11-01")
    assert code == 0
    assert "openai/gpt-5 at 2026-11-01 00:00 UTC, context 400,000, output at most 128,000, reasoning" in out
    assert "openai/gpt-5/2026-10-12#service_tier=flex: from 2026-10-12; https://" in out
    assert "checked 2026-11-10" in out
    for fact in ("1.25", "0.625", "priority", "web_searches", "thousand"):
        assert fact in out


def test_show_tells_daily_windows_and_context_tiers() -> None:
    _, out, _ = run("deepseek-chat", "--provider", "deepseek", "--at", "2026-11-01T02:00")
    assert "daily 00:30 to 16:30 UTC" in out
    assert "other hours" in out
    _, out, _ = run("gemini-2.5-pro", "--provider", "google")
    assert "above 200,000" in out


def test_show_finds_who_makes_a_model_before_who_resells_it() -> None:
    _, out, err = run("gpt-4o-mini")
    assert out.startswith("openai/gpt-4o-mini")
    assert "azure" in err


def test_show_as_json_carries_every_rate() -> None:
    code, out, _ = run("gemini-2.5-pro", "--provider", "google", "--at", "2026-11-21", "--json")
    document = orjson.loads(out)
    assert code == 0
    assert (document["provider"], document["at"]) == ("google", "2026-11-21T00:00:00Z")
    assert {
        "tier": "default",
        "in_force": True,
        "unit": "input_tokens",
        "above_input_tokens": 200_000,
        "usd": "2.50",
        "per": "million",
        "pico_usd": 2_500_000,
        "entry_id": "google/gemini-2.5-pro/initial#default",
        "effective_from": None,
        "hours_utc": None,
        "source": "https://ai.google.dev/gemini-api/docs/pricing",
        "checked": "2026-11-10",
    } in document["rates"]


def test_show_prints_what_the_configuration_overrides(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "prices:\n- {provider: openai, model: gpt-4o-mini, effective_from: 2026-11-01,"
        " usd_per_million: {input_tokens: '0.1'}, source: contract 7}\n"
    )
    code, out, _ = run("gpt-4o-mini", "--provider", "openai", config=config)
    assert code == 0
    assert "override:openai/gpt-4o-mini/" in out
    assert "from 2026-11-01; contract 7" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no-such-model",), "no price of 'no-such-model' is known"),
        (("gpt-5", "--provider", "opnai"), "unknown provider 'opnai'; known: anthropic"),
        (("gpt-5", "--at", "yesterday"), "'yesterday' is no date; write such as 2026-12-31"),
    ],
)
def test_show_says_what_it_could_not_find(words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert code != 0
    assert out == ""
    assert message in err
