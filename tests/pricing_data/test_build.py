"""scripts/build-prices: what is shipped is what it writes, and it changes no shipped price unasked."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from decimal import Decimal
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "build-prices"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("build_prices", str(SCRIPT))
    spec = importlib.util.spec_from_loader("build_prices", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def document(rate: int = 5, *, name: str = "m", **facts: Any) -> dict[str, Any]:
    entry = {"id": f"p/{name}/initial#default", "rates": {"input_tokens": rate}} | facts
    return {"provider": "p", "models": [{"id": name, "match": {"equals": name}, "prices": [entry]}]}


def test_the_shipped_lists_are_what_the_script_writes() -> None:
    run = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "the shipped lists are what this script writes\n")


def test_a_changed_price_is_told_and_gets_a_new_id(script: ModuleType) -> None:
    once = document(6)
    assert script.settle_ids(once, document(5)) == [
        "p/m/initial#default: {'rates': {'input_tokens': 5}} became {'rates': {'input_tokens': 6}}"
    ]
    assert once["models"][0]["prices"][0]["id"] == "p/m/initial#default~2"
    again, same = document(7), document(6)
    script.settle_ids(again, once)
    assert again["models"][0]["prices"][0]["id"] == "p/m/initial#default~3"
    assert script.settle_ids(same, once) == []
    assert same == once


def test_a_vanished_price_is_told(script: ModuleType) -> None:
    assert script.settle_ids(document(name="other"), document()) == ["p/m/initial#default: no longer listed"]


def test_an_appended_price_needs_no_consent(script: ModuleType) -> None:
    later = document()
    later["models"][0]["prices"].append(
        {"id": "p/m/2026-12-01#default", "effective_from": "2026-12-01", "rates": {"input_tokens": 9}}
    )
    assert script.settle_ids(later, document()) == []


def test_entries_typed_by_hand_are_kept_after_the_generated_ones(script: ModuleType) -> None:
    shipped, fresh = document(), document()
    mine = {"id": "p/m/2026-12-01#default", "rates": {"input_tokens": 9}, "by_hand": True}
    shipped["models"][0]["prices"].append(mine)
    shipped["models"] += document(name="mine", by_hand=True)["models"]
    assert script.settle_ids(fresh, copy.deepcopy(shipped)) == []
    assert fresh == shipped


def test_a_rate_finer_than_a_pico_dollar_stops_the_build_unless_it_is_listed(script: ModuleType) -> None:
    with pytest.raises(script.Refused, match="not a whole number"):
        script.pico("openai", "m", "input_mtok", Decimal("0.0833333333"))
    assert script.pico("openrouter", "m", "cache_write_mtok", Decimal("0.0833333333"))[1] == 83_333


def test_prices_per_thousand_and_per_hour_become_whole_rates(script: ModuleType) -> None:
    assert script.pico("p", "m", "web_searches_kcount", Decimal("10")) == ("web_searches", 10**10)
    assert script.pico("p", "m", "audio_hours", Decimal("0.111")) == ("audio_seconds", 111 * 10**9)
    assert script.pico("p", "m", "input_mtok", Decimal("0.15")) == ("input_tokens", 150_000)
