"""Finding the price in force: names, dates, daily windows, resellers, overrides."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from metering.price import ModelPrice
from metering.pricebook import Override, PriceBook
from metering.usage import Usage
from tests.metering.conftest import moment

PriceOf = Callable[..., ModelPrice]
MILLION = Usage(input_tokens=1_000_000)
NOW = moment("2026-11-21")


def laid(*overrides: Override) -> PriceBook:
    return PriceBook.load(overrides)


def mini(rates: dict[str, int], start: str = "2026-11-01", model: str = "gpt-4o-mini") -> Override:
    return Override("openai", model, moment(start), rates)


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini", "GPT-4o-Mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-20240718"]
)
def test_every_name_of_a_model_finds_its_canonical_price(price_of: PriceOf, name: str) -> None:
    price = price_of("openai", name)
    assert (price.provider, price.model) == ("openai", "gpt-4o-mini")
    assert (price.context_window, price.max_output_tokens, price.reasoning) == (128_000, 16_384, False)
    cost = price.cost_of(Usage(input_tokens=1_000, cache_read_input_tokens=400, output_tokens=100))
    assert cost.nano == 600 * 150 + 400 * 75 + 100 * 600
    assert cost.entry_ids == ("openai/gpt-4o-mini/initial#default",)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("openai", "x" * 100_000),
        ("nobody", "gpt-4o-mini"),
        ("../openai", "gpt-4o-mini"),
        ("cerebras", "qwen-3-coder-480b"),
    ],
)
def test_what_has_no_price_is_none(book: PriceBook, provider: str, model: str) -> None:
    assert book.find(provider, model, NOW) is None


def test_a_price_changes_at_midnight_utc_of_its_day(price_of: PriceOf) -> None:
    before = price_of("openai", "o3", "2025-06-09T23:59:59.999").cost_of(MILLION)
    after = price_of("openai", "o3", "2025-06-10").cost_of(MILLION)
    assert (before.nano, after.nano) == (10_000_000_000, 2_000_000_000)
    assert after.entry_ids == ("openai/o3/2025-06-10#default",)


@pytest.mark.parametrize(
    ("at", "dollars"),
    [
        ("2025-08-01T00:29:59.999", 0.135),
        ("2025-08-01T00:30", 0.27),
        ("2025-08-01T16:29:59.999", 0.27),
        ("2025-08-01T16:30", 0.135),
        ("2025-08-01T23:59:59.999", 0.135),
        ("2025-08-02T00:00", 0.135),
    ],
)
def test_a_daily_window_changes_the_price_at_its_edges(price_of: PriceOf, at: str, dollars: float) -> None:
    assert price_of("deepseek", "deepseek-chat", at).cost_of(MILLION).nano == round(dollars * 10**9)


def test_looking_back_and_forth_in_time_finds_the_same_prices(book: PriceBook) -> None:
    for _ in range(3):
        for at, nano in (("2025-06-09", 10_000_000_000), ("2026-11-21", 2_000_000_000)):
            price = book.find("openai", "o3", moment(at))
            assert price is not None
            assert price.cost_of(MILLION).nano == nano


def test_a_price_is_built_once_while_nothing_changes(book: PriceBook) -> None:
    first = book.find("deepseek", "deepseek-chat", moment("2026-11-20T01:00"))
    assert book.find("deepseek", "deepseek-chat", moment("2026-11-20T15:30")) is first
    assert book.find("deepseek", "deepseek-chat", moment("2026-11-20T16:30")) is not first
    assert book.find("deepseek", "deepseek-chat", moment("2026-11-21T02:00")) is first


def test_the_ceiling_bounds_the_price_of_an_attempt_that_starts_within_the_hour(price_of: PriceOf) -> None:
    """Off-peak ends at 00:30: from 23:30 on, a request may be tried again at twice the price."""
    before = price_of("deepseek", "deepseek-chat", "2025-08-01T23:30")
    soon = price_of("deepseek", "deepseek-chat", "2025-08-01T23:30:00.001")
    late = price_of("deepseek", "deepseek-chat", "2025-08-02T00:29:59.999")
    assert [price.cost_of(MILLION).nano for price in (before, soon, late)] == [135_000_000] * 3
    assert [price.ceiling_rates().input_pico for price in (before, soon, late)] == [135_000, 270_000, 270_000]
    assert price_of("deepseek", "deepseek-chat", "2025-08-02T00:30").later == ()


def test_a_price_that_ends_within_the_hour_no_longer_counts_after_it() -> None:
    book = laid(mini({"output_tokens": 9_000_000}, "2026-11-10"))
    at = moment("2026-11-10")
    found = [book.find("openai", "gpt-4o-mini", ms) for ms in (at - 3_600_000, at - 3_599_999, at - 1, at)]
    assert [price and price.ceiling_rates(media=False).output_pico for price in found] == [
        1_000_000,  # the priority tier
        9_000_000,
        9_000_000,
        9_000_000,
    ]
    assert [price and price.cost_of(Usage(output_tokens=1)).nano for price in found] == [600, 600, 600, 9_000]


def test_an_account_pays_its_own_price_and_nobody_else_does() -> None:
    book = laid(
        mini({"input_tokens": 100_000, "output_tokens": 400_000}),
        Override("openai", "gpt-4o-mini", moment("2026-10-01"), {"input_tokens": 90_000}, account="acme"),
    )
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    costs = {
        account: price.cost_of(usage)
        for account in (None, "acme", "other")
        if (price := book.find("openai", "gpt-4o-mini", NOW, account)) is not None
    }
    assert {account: cost.nano for account, cost in costs.items()} == {
        None: 100_000 + 400_000,
        "acme": 90_000 + 400_000,
        "other": 100_000 + 400_000,
    }
    assert costs["acme"].entry_ids[0] == f"override:openai/gpt-4o-mini/{moment('2026-10-01')}@acme"
    early = book.find("openai", "gpt-4o-mini", moment("2026-09-30T23:59:59.999"), "acme")
    assert early is not None
    assert early.cost_of(usage).nano == 150_000 + 600_000


def test_an_override_may_hold_in_one_tier_only() -> None:
    book = laid(
        Override("openai", "gpt-5", 0, {"input_tokens": 500_000}, service_tier="flex"),
        Override("openai", "gpt-5", 0, {"input_tokens": 700_000}, service_tier="scale"),
    )
    price = book.find("openai", "gpt-5", NOW)
    assert price is not None
    costs = {tier: price.cost_of(MILLION, service_tier=tier).nano for tier in (None, "flex", "scale")}
    assert costs == {None: 1_250_000_000, "flex": 500_000_000, "scale": 700_000_000}


def test_a_reseller_falls_back_to_the_list_of_who_makes_the_model(price_of: PriceOf) -> None:
    price = price_of("azure", "gpt-4o-mini")
    assert (price.provider, price.model) == ("azure", "gpt-4o-mini")
    assert price.cost_of(MILLION).entry_ids == ("openai/gpt-4o-mini/initial#default",)


def test_a_free_variant_is_free_and_says_so(price_of: PriceOf) -> None:
    cost = price_of("openrouter", "openai/gpt-oss-20b:free").cost_of(MILLION)
    assert (cost.nano, cost.status) == (0, "free")


def test_models_and_providers_are_listed_with_their_limits(book: PriceBook) -> None:
    assert {"openai", "anthropic", "google", "openrouter"} <= set(book.providers())
    models = {model.id: model for model in book.models("openai")}
    assert models["gpt-5"].reasoning
    assert models["gpt-4o"].max_output_tokens == 16_384
    assert "qwen-3-coder-480b" not in {model.id for model in book.models("cerebras")}
    assert book.models("nobody") == []


def test_an_override_wins_from_its_date_on_unit_by_unit() -> None:
    book = laid(mini({"input_tokens": 100_000}))
    usage = Usage(input_tokens=1_000, cache_read_input_tokens=500, output_tokens=10)
    before = book.find("openai", "gpt-4o-mini", moment("2026-10-31T23:59:59.999"))
    after = book.find("openai", "gpt-4o-mini-2024-07-18", moment("2026-11-01"))
    assert before is not None
    assert after is not None
    assert before.cost_of(usage).nano == 500 * 150 + 500 * 75 + 10 * 600
    cost = after.cost_of(usage)
    assert cost.nano == 500 * 100 + 500 * 75 + 10 * 600
    assert cost.entry_ids == (
        f"override:openai/gpt-4o-mini/{moment('2026-11-01')}",
        "openai/gpt-4o-mini/initial#default",
    )


def test_an_override_holds_in_every_tier_and_at_every_length() -> None:
    book = laid(
        Override("google", "gemini-2.5-pro", 0, {"input_tokens": 1_000_000}),
        Override("openai", "gpt-5", 0, {"input_tokens": 1_000_000}),
    )
    gemini, gpt5 = book.find("google", "gemini-2.5-pro", NOW), book.find("openai", "gpt-5", NOW)
    assert gemini is not None
    assert gpt5 is not None
    assert gemini.cost_of(MILLION).nano == 10**9
    assert gpt5.cost_of(MILLION, service_tier="priority").nano == 10**9
    assert gpt5.ceiling_rates().output_pico == 20_000_000


def test_later_overrides_are_laid_over_earlier_ones() -> None:
    book = laid(
        mini({"output_tokens": 3_000_000}, "2026-11-10"),
        mini({"input_tokens": 1_000_000, "output_tokens": 2_000_000}, "2026-11-01"),
    )
    usage = Usage(input_tokens=1, output_tokens=1)
    found = [book.find("openai", "gpt-4o-mini", moment(at)) for at in ("2026-11-09", "2026-11-10")]
    assert [price and price.cost_of(usage).nano for price in found] == [3_000, 4_000]


def test_an_override_prices_a_model_and_a_provider_that_no_list_has() -> None:
    book = laid(
        Override(
            "local",
            "my-llama",
            moment("2026-01-01"),
            {"input_tokens": 50_000},
            context_window=8_192,
            max_output_tokens=2_048,
        )
    )
    price = book.find("local", "My-Llama", NOW)
    assert price is not None
    assert (price.model, price.context_window, price.max_output_tokens) == ("my-llama", 8_192, 2_048)
    assert price.cost_of(MILLION).nano == 50_000_000
    assert book.find("local", "my-llama", moment("2025-12-31")) is None
    assert [model.id for model in book.models("local")] == ["my-llama"]
    assert "local" in book.providers()


def test_an_override_may_change_the_limits_alone() -> None:
    book = laid(Override("openai", "gpt-4o-mini", 0, {}, max_output_tokens=1_000))
    price = book.find("openai", "gpt-4o-mini", NOW)
    assert price is not None
    assert (price.max_output_tokens, price.context_window) == (1_000, 128_000)
    assert price.cost_of(MILLION).nano == 150_000_000


def test_an_override_of_zero_is_free() -> None:
    book = laid(Override("local", "llama", 0, {"input_tokens": 0, "output_tokens": 0}))
    price = book.find("local", "llama", NOW)
    assert price is not None
    assert price.cost_of(MILLION).status == "free"


def test_rows_tell_every_rate_with_its_origin_and_the_other_hours(book: PriceBook) -> None:
    rows = book.rows("deepseek", "deepseek-chat", moment("2026-11-21T02:00"))
    assert [(row.unit, row.pico, row.in_force) for row in rows if row.unit == "input_tokens"] == [
        ("input_tokens", 270_000, True),
        ("input_tokens", 135_000, False),
    ]
    assert all(row.source.startswith("https://") and row.checked for row in rows)
    tiers = {row.variant for row in book.rows("openai", "gpt-5", NOW)}
    assert tiers == {None, "flex", "priority", "fast", "batch"}
    assert book.rows("openai", "no-such-model", NOW) == []


def test_invented_names_do_not_fill_memory(book: PriceBook) -> None:
    flooded = PriceBook.load()
    for number in range(10_050):
        flooded.find("cohere", f"model-{number}", NOW)
    assert len(flooded._found) <= 10_000


def test_finding_and_pricing_fit_the_hot_path(book: PriceBook) -> None:
    """Budgets with room for a busy machine; on a quiet one both take a fraction (0.2 us and 8 us)."""
    usage = Usage(
        input_tokens=1_000, cache_read_input_tokens=400, output_tokens=100, reasoning_output_tokens=7
    )
    price = book.find("openai", "gpt-4o-mini", NOW)
    assert price is not None
    price.cost_of(usage)
    best_find = best_cost = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            book.find("openai", "gpt-4o-mini", NOW)
        middle = time.perf_counter()
        for _ in range(200):
            price.cost_of(usage)
        best_find = min(best_find, (middle - start) / 200)
        best_cost = min(best_cost, (time.perf_counter() - middle) / 200)
    assert best_find < 20e-6
    assert best_cost < 200e-6
