"""config.example.yaml is loaded, is complete, and says of each default what the code says."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway.serve.validation import complaints
from gateway.settings import (
    AuthSettings,
    FeatureSettings,
    PlanLimitSettings,
    PlanSettings,
    PriceOverride,
    ProviderSettings,
    RouteSettings,
    Section,
    Settings,
    TargetSettings,
    load_settings,
)
from gateway.settings.planprices import PlanPriceSettings, RateSettings, TierSettings

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"
# What the example must show with a value, since a null would say nothing.
SHOWN_AS: dict[str, Any] = {
    "providers.openai.api_key_env": "OPENAI_API_KEY",
    "providers.openai.base_url": "https://api.openai.com/v1",
    "features.summarize.name": "Summaries",
    "plans.pro.name": "Pro",
    "plans.pro.features": ["summarize"],
    "plans.pro.limits[0].feature": "summarize",
    "plans.pro.price.amount": "29.00",
    "plans.pro.price.rates[0].feature": "summarize",
    "plans.pro.price.rates[0].model": "graduated",
    "plans.pro.price.rates[0].tiers[1].price": "1.50",
    "plans.pro.price.rates[0].tiers[1].per": 1_000_000,
}
SHOWN_WHOLE = {
    "plans.pro.limits",
    "plans.pro.price",
    "plans.pro.price.rates",
    "plans.pro.price.rates[0].tiers",
}
"""What has parts that are looked at one by one."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def document() -> dict[str, Any]:
    loaded = yaml.safe_load(EXAMPLE.read_text())
    assert isinstance(loaded, dict)
    return loaded


def parts() -> Iterator[tuple[str, type[BaseModel], dict[str, Any]]]:
    """Every section of the example with the model behind it."""
    example = document()
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation, example[name]
    provider = example["providers"]["openai"]
    yield "providers.openai", ProviderSettings, provider
    yield "providers.openai.auth", AuthSettings, provider["auth"]
    yield "routes.fast", RouteSettings, example["routes"]["fast"]
    yield "routes.fast.targets[0]", TargetSettings, example["routes"]["fast"]["targets"][0]
    yield "prices[0]", PriceOverride, example["prices"][0]
    yield "features.summarize", FeatureSettings, example["features"]["summarize"]
    yield "plans.pro", PlanSettings, example["plans"]["pro"]
    yield "plans.pro.limits[0]", PlanLimitSettings, example["plans"]["pro"]["limits"][0]
    price = example["plans"]["pro"]["price"]
    yield "plans.pro.price", PlanPriceSettings, price
    yield "plans.pro.price.rates[0]", RateSettings, price["rates"][0]
    yield "plans.pro.price.rates[0].tiers[1]", TierSettings, price["rates"][0]["tiers"][1]


def plain(value: Any) -> Any:
    """A default as YAML would show it."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    return str(value) if isinstance(value, Path) else value


def test_example_is_loaded_without_a_complaint() -> None:
    settings = load_settings(EXAMPLE)
    assert complaints(settings) == []
    assert settings.routes["fast"].targets[0].provider == "openai"


def test_every_setting_is_in_the_example() -> None:
    assert set(document()) == set(Settings.model_fields)
    for path, model, shown in parts():
        assert set(shown) == set(model.model_fields), path


def test_each_documented_default_is_the_one_in_force() -> None:
    for path, model, shown in parts():
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if default is PydanticUndefined:
                continue  # must be given; the example gives one
            if f"{path}.{name}" in SHOWN_WHOLE:
                continue
            expected = SHOWN_AS.get(f"{path}.{name}", plain(default))
            assert shown[name] == expected, f"{path}.{name}"
            assert type(shown[name]) is type(expected), f"{path}.{name}"


def test_every_setting_has_a_comment_in_its_section() -> None:
    """A section's first line, or the setting, or the one above it in the same breath, is explained."""
    lines = EXAMPLE.read_text().splitlines()
    for section in Settings.model_fields:
        assert lines[lines.index(f"{section}:") - 1].startswith("#"), section


def test_no_section_is_of_a_kind_that_this_test_would_overlook() -> None:
    """A new kind of container in Settings must be added to `parts` above."""
    for name, field in Settings.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        known = {ProviderSettings, RouteSettings, PriceOverride, FeatureSettings, PlanSettings, str}
        assert all(kind in known or issubclass(kind, Section) for kind in kinds), name
        assert not isinstance(field.annotation, types.UnionType), name
