"""The simulated provider as settings: all that its server speaks can be asked of it, at a known price."""

from __future__ import annotations

from collections import Counter
from time import time

import pytest

from gateway.dialects.surfaces import operations
from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.upstream import build_upstream
from gateway.settings import ProviderSettings, Settings
from gateway.simulated import NAME, with_simulated
from metering.pricebook import PriceBook
from simulator.table import find
from simulator.wire import Request

PROVIDERS = with_simulated(Settings(providers={}), "http://127.0.0.1:8788").providers


def served(target: bytes) -> bool:
    """Whether the server has a row for this request target, as a client of any family asks."""
    path, _, query = target.decode().partition("?")
    row, _, _ = find(Request("POST", path, query, [], b"", True, False, 0.0))
    return row is not None


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_can_be_asked_what_its_settings_say(name: str) -> None:
    upstream = build_upstream(name, PROVIDERS[name], version="0", board=HealthBoard())
    (endpoint,) = upstream.endpoints
    model = PROVIDERS[name].models[0]
    wrong = {path for path in upstream.operations if not served(endpoint.path(path, model))}
    assert not wrong
    assert endpoint.authority == "127.0.0.1:8788"


def test_together_they_speak_every_dialect_that_clients_may() -> None:
    spoken = {operation for provider in PROVIDERS.values() for operation in provider.paths}
    assert spoken == set(operations())


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_models_price_is_known_and_no_two_offer_the_same_name(name: str) -> None:
    book, at_ms = PriceBook.load(), int(time() * 1_000)
    provider = PROVIDERS[name]
    assert provider.prices is not None
    unpriced = [model for model in provider.models if book.find(provider.prices, model, at_ms) is None]
    assert not unpriced
    offered = Counter(model for each in PROVIDERS.values() for model in each.models)
    assert [model for model, times in offered.items() if times > 1] == []


def test_it_is_there_only_where_no_provider_is() -> None:
    assert NAME in PROVIDERS
    real = Settings(providers={"groq": ProviderSettings(base_url="https://api.groq.com/openai/v1")})
    assert list(with_simulated(real).providers) == ["groq"]
    elsewhere = Settings.model_validate({"providers": {}, "simulator": {"port": 4321}})
    urls = {each.base_url.split("/")[2] for each in with_simulated(elsewhere).providers.values()}
    assert urls == {"127.0.0.1:4321"}
