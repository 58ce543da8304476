"""The shipped price lists: their shape, their names, and the promises that arithmetic relies on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from metering.pricelist import PriceList, listed_providers
from metering.units import UNITS, join_of

DATA = Path(str(files("pricing_data")))
LISTS: dict[str, dict[str, Any]] = {
    provider: json.loads((DATA / "providers" / f"{provider}.json").read_text())
    for provider in listed_providers()
}


def entries() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for document in LISTS.values():
        for model in document["models"]:
            for entry in [*model["prices"], *model.get("variants", ())]:
                yield model, entry


def test_every_list_keeps_the_schema() -> None:
    schema = json.loads((DATA / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    faults = [
        f"{provider}: {fault.json_path}: {fault.message}"
        for provider, document in LISTS.items()
        for fault in validator.iter_errors(document)
    ]
    assert not faults


@pytest.mark.parametrize(
    "change",
    [
        {"rates": {"input_tokens": 0.15}},
        {"rates": {"input_tokens": -1}},
        {"effective_from": "21.11.2026"},
        {"when": {"service_tier": "flex"}},
        {"prise": 1},
        {"weekdays": ["someday"]},
        {"graduated": False},
        {"rates": {"output_images:": 1}},
    ],
)
def test_the_schema_refuses_a_wrong_price(change: dict[str, Any]) -> None:
    validator = Draft202012Validator(json.loads((DATA / "schema.json").read_text()))
    entry = {"id": "p/m/initial#default", "rates": {"input_tokens": 1}} | change
    model = {"id": "m", "match": {"equals": "m"}, "prices": [entry]}
    document = LISTS["openai"] | {"models": [model]}
    assert not validator.is_valid(document)


def test_a_list_is_named_after_its_provider() -> None:
    assert all(document["provider"] == provider for provider, document in LISTS.items())
    assert len(LISTS) >= 47


def test_entry_ids_are_unique_over_all_lists() -> None:
    ids = [entry["id"] for _, entry in entries()]
    assert len(ids) == len(set(ids)) > 2_500


def test_rates_and_minimums_name_known_units() -> None:
    named: set[str] = set()
    for model, entry in entries():
        named |= entry["rates"].keys() | entry.get("minimums", {}).keys()
        named |= model.get("billed_as", {}).keys() | set(model.get("billed_as", {}).values())
        named |= set(model.get("billed_once", ()))
        for tier in entry.get("context_tiers", ()):
            named |= tier["rates"].keys()
    assert named <= UNITS.keys()


def test_what_costs_nothing_says_that_it_is_free() -> None:
    silent = [
        entry["id"]
        for _, entry in entries()
        if "when" not in entry
        and entry["rates"]
        and not any(entry["rates"].values())
        and not entry.get("free")
    ]
    assert not silent
    assert not [e["id"] for _, e in entries() if e.get("free") and any(e["rates"].values())]


def test_context_tiers_ascend_and_only_step_units_with_a_base_rate() -> None:
    for _, entry in entries():
        thresholds = [tier["above"] for tier in entry.get("context_tiers", ())]
        assert thresholds == sorted(set(thresholds)), entry["id"]
        for tier in entry.get("context_tiers", ()):
            assert tier["rates"].keys() <= entry["rates"].keys(), entry["id"]


def test_dates_ascend_so_that_the_last_active_entry_is_the_newest() -> None:
    for document in LISTS.values():
        for model in document["models"]:
            starts = [
                entry.get("effective_from", "") for entry in model["prices"] if "hours_utc" not in entry
            ]
            assert starts == sorted(starts), model["id"]
            assert starts[0] == "", model["id"]


def test_overlapping_rates_have_a_rate_for_what_is_in_both() -> None:
    """Cached and image input both priced: cached images must be too, or they would be charged as either."""
    missing = [
        (entry["id"], join)
        for _, entry in entries()
        if "when" not in entry
        for first in entry["rates"]
        for second in entry["rates"]
        if first < second and (join := join_of(first, second)) is not None and join not in entry["rates"]
    ]
    assert not missing


def test_every_list_can_be_read() -> None:
    for document in LISTS.values():
        assert len(PriceList(document).models) == len(document["models"])


def test_well_known_models_have_limits_and_families_are_marked() -> None:
    listed = {model.id: model for model in PriceList(LISTS["openai"]).models}
    assert listed["gpt-4o-mini"].max_output_tokens == 16_384
    assert listed["gpt-4o-mini"].context_window == 128_000
    assert not listed["gpt-4o-mini"].reasoning
    assert all(listed[name].reasoning for name in ("o1", "o3-mini", "o4-mini", "gpt-5", "gpt-6-sol"))
    assert all(
        model.max_output_tokens <= model.context_window
        for document in LISTS.values()
        for model in PriceList(document).models
        if model.max_output_tokens and model.context_window
    )
